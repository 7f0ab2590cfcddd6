-- Lists show the newest first. Each index here is read in that order, and has all that a filter asks
-- for, so that a page costs its own rows and a count no look at the table.
-- `parent_node` is there for what is no sub-dispatch: it is NULL then.
CREATE INDEX dispatches_by_age ON dispatches (created_at, id, parent_node);
CREATE INDEX dispatches_by_name ON dispatches (name, created_at, id, status, parent_node);
DROP INDEX dispatches_by_status;
CREATE INDEX dispatches_by_status ON dispatches (status, created_at, id, parent_node);
