-- What zKillboard, a third party, knows of our pilots and corporations: a source of kind 'zkillboard' each. Its list is
-- read page by page (walk_at: when the walk that is under way began; whole_at: when the last one did that came to
-- its end; full_at: the last one that read every page), then its live stream tells what is new (watched_at:
-- since when it is looked for there; NULL: it is not). All empty: [zkillboard] was never on.
CREATE TABLE zkillboard_subjects (
    source_id {int} PRIMARY KEY REFERENCES sources (id) ON DELETE CASCADE,
    entity TEXT NOT NULL CHECK (entity IN ('character', 'corporation')),
    next_page {int} NOT NULL DEFAULT 1,
    walk_at {real},
    whole_at {real},
    full_at {real},
    watched_at {real},
    asked_at {real} NOT NULL DEFAULT 0,
    due_at {real} NOT NULL DEFAULT 0,
    failures {int} NOT NULL DEFAULT 0,
    bad_entries {int} NOT NULL DEFAULT 0
) {strict};
CREATE INDEX zkillboard_subjects_by_due ON zkillboard_subjects (due_at);

-- One row: which file of the stream was read last, since when it was read without a gap, and when it was last read
-- to its end.
CREATE TABLE zkillboard_stream (
    id {int} PRIMARY KEY CHECK (id = 1),
    sequence {int},
    unbroken_at {real},
    read_at {real}
) {strict};
INSERT INTO zkillboard_stream (id) VALUES (1);
