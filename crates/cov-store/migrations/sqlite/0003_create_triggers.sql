-- What changes of a trigger, and what lists show of it. Rewritten with every decision.
-- States: 1 active, 2 paused, 3 stopped.
CREATE TABLE triggers (
    id INTEGER PRIMARY KEY,
    trigger_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    dispatch_id TEXT NOT NULL,
    state INTEGER NOT NULL,
    note TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    decided_until INTEGER NOT NULL,
    has_observed INTEGER NOT NULL,
    fired_count INTEGER NOT NULL,
    history_count INTEGER NOT NULL,
    trouble TEXT,
    trouble_since INTEGER,
    trouble_next_try INTEGER,
    CHECK ((trouble IS NULL) = (trouble_since IS NULL))
) STRICT;
CREATE INDEX triggers_by_dispatch ON triggers (dispatch_id);

-- What never changes of a trigger: how it was registered, as JSON.
CREATE TABLE trigger_settings (
    trigger INTEGER PRIMARY KEY,
    settings TEXT NOT NULL
) STRICT;

-- What an observer has seen.
CREATE TABLE trigger_marks (
    trigger INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (trigger, name)
) STRICT, WITHOUT ROWID;

-- One row a decision, in the order in which they were first made.
-- Outcomes: 1 fired, 2 queued, 3 skipped, 4 failed.
CREATE TABLE trigger_firings (
    number INTEGER PRIMARY KEY,
    trigger INTEGER NOT NULL,
    event_key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    reason TEXT NOT NULL,
    dispatch_id TEXT,
    next_try INTEGER,
    UNIQUE (trigger, event_key)
) STRICT;
CREATE INDEX trigger_firings_by_trigger ON trigger_firings (trigger);
CREATE INDEX trigger_firings_by_dispatch ON trigger_firings (dispatch_id)
    WHERE dispatch_id IS NOT NULL;
CREATE INDEX trigger_firings_waiting ON trigger_firings (trigger)
    WHERE outcome = 2 OR (outcome = 4 AND next_try IS NOT NULL);

-- What came with an event. Apart, so that a history is read without it.
CREATE TABLE trigger_payloads (
    firing INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Kept by the database, so that no statement can forget it.
CREATE TRIGGER trigger_firings_added AFTER INSERT ON trigger_firings
BEGIN
    UPDATE triggers SET history_count = history_count + 1,
        fired_count = fired_count + (NEW.outcome = 1) WHERE id = NEW.trigger;
END;
CREATE TRIGGER trigger_firings_decided AFTER UPDATE OF outcome ON trigger_firings
    WHEN NEW.outcome = 1 AND OLD.outcome <> 1
BEGIN
    UPDATE triggers SET fired_count = fired_count + 1 WHERE id = NEW.trigger;
END;
CREATE TRIGGER trigger_firings_removed AFTER DELETE ON trigger_firings
BEGIN
    UPDATE triggers SET history_count = history_count - 1 WHERE id = OLD.trigger;
    DELETE FROM trigger_payloads WHERE firing = OLD.number;
END;
