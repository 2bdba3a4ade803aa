-- A source has its own times, its own trouble and its own switch: a corporation's list is nobody's own, and what
-- keeps it from being read is not the trouble of the pilot whose token reads it.
ALTER TABLE sources ADD COLUMN last_sync_at {time};
ALTER TABLE sources ADD COLUMN last_killmail_id {int};
ALTER TABLE sources ADD COLUMN paused {bool} NOT NULL DEFAULT {false};
-- Why it cannot be read just now, for kinds that nobody's grant and no sync request tell of; NULL: it can.
ALTER TABLE sources ADD COLUMN trouble TEXT;
ALTER TABLE sources ADD COLUMN trouble_since {real};
-- When the newest kill happened that it brought while that was fresh; seconds since 1970.
ALTER TABLE sources ADD COLUMN last_fresh_at {real};
UPDATE sources SET
    last_sync_at = (SELECT u.last_killmail_sync_at FROM users u WHERE u.character_id = sources.subject_id),
    last_killmail_id = (SELECT u.last_killmail_id FROM users u WHERE u.character_id = sources.subject_id)
WHERE kind = 'character';
CREATE INDEX sources_by_fresh ON sources (last_fresh_at) WHERE last_fresh_at IS NOT NULL;

-- The corporation that ESI says a pilot is in (NULL: not known), when it said so, and when to ask again.
ALTER TABLE users ADD COLUMN corporation_id {int};
ALTER TABLE users ADD COLUMN corporation_at {real};
ALTER TABLE users ADD COLUMN corporation_due_at {real} NOT NULL DEFAULT 0;
CREATE INDEX users_by_corporation ON users (corporation_id) WHERE corporation_id IS NOT NULL;

-- What came of asking for a corporation's list with a pilot's token. A refusal is remembered, so that it is
-- asked for again when its time has come and not in a loop.
CREATE TABLE lenders (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    accepted_at {real},
    refusal TEXT,
    words TEXT,
    refusals {int} NOT NULL DEFAULT 0,
    refused_since {real},
    believed {bool} NOT NULL DEFAULT {false},
    not_before {real} NOT NULL DEFAULT 0,
    PRIMARY KEY (source_id, user_id)
) {strict_clustered};
CREATE INDEX lenders_by_user ON lenders (user_id);
