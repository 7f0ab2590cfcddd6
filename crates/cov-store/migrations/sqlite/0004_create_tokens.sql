-- Who may call. `id` is the public part of the token, `hash` is of the whole of it.
-- Scopes: 1 read, 2 dispatch, 3 admin. A revoked token stays, so that its name keeps its meaning.
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    scope INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- Keys of the server's own, such as the one that signs addresses.
CREATE TABLE server_keys (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a change that somebody asked for.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    origin TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    status INTEGER NOT NULL,
    request TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
