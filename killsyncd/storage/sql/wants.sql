-- name: of_source
SELECT source_id, mode, priority, origin, not_before, holder, version FROM wants WHERE source_id = :source_id {for_update};

-- name: insert
INSERT INTO wants (source_id, mode, priority, origin, queued_at, not_before)
VALUES (:source_id, :mode, :priority, :origin, {now}, :not_before)
ON CONFLICT (source_id) DO NOTHING RETURNING source_id;

-- name: widen
UPDATE wants SET mode = :mode, priority = :priority, origin = :origin, not_before = :not_before,
       version = version + 1
WHERE source_id = :source_id;

-- name: weigh_source
UPDATE sources SET weight = :priority WHERE id = :source_id AND weight <> :priority;

-- name: claim
UPDATE wants SET holder = :holder WHERE source_id = (
    SELECT w.source_id FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
    WHERE w.holder IS NULL AND w.not_before <= {now} AND {readable}
    ORDER BY w.priority DESC, w.queued_at LIMIT 1 {skip_locked_w}
) AND holder IS NULL RETURNING source_id;

-- name: claim_source
UPDATE wants SET holder = :holder WHERE source_id = (
    SELECT w.source_id FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
    WHERE w.source_id = :source_id AND w.holder IS NULL AND w.not_before <= {now} AND {readable} {skip_locked_w}
) AND holder IS NULL RETURNING source_id;

-- name: job
SELECT w.source_id, w.mode, w.priority, w.origin, w.queued_at, w.attempts, w.version,
       s.kind, s.subject_id, u.id AS user_id, u.character_id, u.character_name, s.last_killmail_id, n.name AS subject_name
FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
LEFT JOIN names n ON n.id = s.subject_id
WHERE w.source_id = :source_id;

-- name: finish
DELETE FROM wants WHERE source_id = :source_id AND holder = :holder AND version = :version RETURNING source_id;

-- name: let_go
UPDATE wants SET holder = NULL, message_at = 0 WHERE source_id = :source_id AND holder = :holder RETURNING source_id;

-- name: postpone
UPDATE wants SET holder = NULL, attempts = :attempts, last_error = :last_error, message_at = 0,
       waits_for = :waits_for, not_before = CASE WHEN version = :version
           THEN :not_before + COALESCE({now} - CAST(:by AS {real}), 0) ELSE not_before END
WHERE source_id = :source_id AND holder = :holder;

-- name: drop
DELETE FROM wants WHERE source_id = :source_id;

-- name: next_due
SELECT MIN(w.not_before) AS due FROM wants w
JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
WHERE w.holder IS NULL AND {readable};

-- name: depth
SELECT s.kind, w.priority, COUNT(*) AS jobs, SUM(CASE WHEN w.holder IS NULL THEN 0 ELSE 1 END) AS working
FROM wants w JOIN sources s ON s.id = w.source_id GROUP BY s.kind, w.priority;

-- name: unannounced
SELECT w.source_id, w.mode, w.priority, w.queued_at, u.id AS user_id, u.character_id, u.character_name,
       s.kind, s.subject_id, s.last_killmail_id, u.expires_at, n.name AS subject_name
FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
LEFT JOIN names n ON n.id = s.subject_id
WHERE s.kind = :kind AND w.holder IS NULL AND w.not_before <= {now} AND {readable}
  AND (w.message_at < {now} - :stale OR w.message_priority < w.priority)
ORDER BY w.priority DESC, w.queued_at LIMIT :limit {skip_locked_w};

-- name: announced
UPDATE wants SET message_at = {now}, message_priority = :priority WHERE source_id = :source_id;

-- name: unannounce
UPDATE wants SET message_at = 0, message_priority = -1 WHERE source_id = :source_id AND holder IS NULL;

-- name: due
SELECT COUNT(*) AS n FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
WHERE s.kind = :kind AND w.holder IS NULL AND w.not_before <= {now} AND {readable};

-- name: summoned
SELECT id AS source_id, last_sync_at, full_walk_at FROM sources WHERE kind = :kind AND subject_id = :subject_id;
