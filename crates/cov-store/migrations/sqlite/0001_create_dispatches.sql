-- One row, so that the number of starts cannot be lost with anything else.
CREATE TABLE server (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO server (only_row, epoch) VALUES (1, 0);

-- What changes of a dispatch, and what lists show of it. Kept narrow: it is rewritten often.
-- Times are microseconds since 1970 in UTC; states are the codes of cov_core::status.
CREATE TABLE dispatches (
    id INTEGER PRIMARY KEY,
    dispatch_id TEXT NOT NULL UNIQUE,
    root_id TEXT NOT NULL,
    parent_id TEXT,
    parent_node INTEGER,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    node_count INTEGER NOT NULL,
    completed_node_count INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    CHECK ((parent_id IS NULL) = (parent_node IS NULL))
) STRICT;

-- A node has one sub-dispatch at most.
CREATE UNIQUE INDEX dispatches_by_parent ON dispatches (parent_id, parent_node)
    WHERE parent_id IS NOT NULL;
CREATE INDEX dispatches_by_status ON dispatches (status);

-- What never changes of a dispatch: the nodes as registered and the edges, encoded.
CREATE TABLE plans (
    dispatch INTEGER PRIMARY KEY,
    lattice TEXT NOT NULL,
    executors TEXT NOT NULL,
    graph BLOB NOT NULL
) STRICT;

-- The state of each node that ever left the first one. A node without a row is as it was
-- registered, so that a registration writes no rows for nodes.
CREATE TABLE nodes (
    dispatch INTEGER NOT NULL,
    node INTEGER NOT NULL,
    status INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    attempt INTEGER,
    fault TEXT,
    started_at INTEGER,
    ended_at INTEGER,
    PRIMARY KEY (dispatch, node)
) STRICT, WITHOUT ROWID;

-- 7 is COMPLETED. Kept by the database, so that no statement can forget it.
CREATE TRIGGER nodes_first_state AFTER INSERT ON nodes WHEN NEW.status = 7
BEGIN
    UPDATE dispatches SET completed_node_count = completed_node_count + 1
        WHERE id = NEW.dispatch;
END;
CREATE TRIGGER nodes_next_state AFTER UPDATE OF status ON nodes
    WHEN (NEW.status = 7) <> (OLD.status = 7)
BEGIN
    UPDATE dispatches
        SET completed_node_count = completed_node_count + iif(NEW.status = 7, 1, -1)
        WHERE id = NEW.dispatch;
END;

-- The bytes of contents, or NULL for those in a file. Assets refer to `number`: shorter than the id.
CREATE TABLE contents (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    sha1 BLOB NOT NULL,
    data BLOB
) STRICT;
CREATE INDEX contents_by_sha1 ON contents (sha1, size);

-- Node -1 stands for the dispatch and its lattice. Present assets have a content, awaited ones
-- the size and, maybe, the digest that was announced.
CREATE TABLE assets (
    dispatch INTEGER NOT NULL,
    node INTEGER NOT NULL,
    key INTEGER NOT NULL,
    content INTEGER,
    size INTEGER,
    sha1 BLOB,
    PRIMARY KEY (dispatch, node, key),
    CHECK ((content IS NULL) <> (size IS NULL))
) STRICT, WITHOUT ROWID;
