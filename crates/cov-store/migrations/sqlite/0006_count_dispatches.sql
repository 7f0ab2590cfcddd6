-- How many dispatches are in each state, those without a parent apart. A total is shown with every
-- page of a list, and to count a million entries of an index takes longer than the page.
CREATE TABLE dispatch_totals (
    status INTEGER NOT NULL,
    is_root INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (status, is_root)
) STRICT, WITHOUT ROWID;
INSERT INTO dispatch_totals (status, is_root, total)
    SELECT status, parent_node IS NULL, count(*) FROM dispatches GROUP BY 1, 2;

-- Kept by the database, so that no statement can forget it.
CREATE TRIGGER dispatches_added AFTER INSERT ON dispatches
BEGIN
    INSERT INTO dispatch_totals (status, is_root, total)
        VALUES (NEW.status, NEW.parent_node IS NULL, 1)
        ON CONFLICT (status, is_root) DO UPDATE SET total = total + 1;
END;
CREATE TRIGGER dispatches_removed AFTER DELETE ON dispatches
BEGIN
    UPDATE dispatch_totals SET total = total - 1
        WHERE status = OLD.status AND is_root = (OLD.parent_node IS NULL);
END;
CREATE TRIGGER dispatches_moved AFTER UPDATE OF status, parent_node ON dispatches
    WHEN NEW.status <> OLD.status OR (NEW.parent_node IS NULL) <> (OLD.parent_node IS NULL)
BEGIN
    UPDATE dispatch_totals SET total = total - 1
        WHERE status = OLD.status AND is_root = (OLD.parent_node IS NULL);
    INSERT INTO dispatch_totals (status, is_root, total)
        VALUES (NEW.status, NEW.parent_node IS NULL, 1)
        ON CONFLICT (status, is_root) DO UPDATE SET total = total + 1;
END;
