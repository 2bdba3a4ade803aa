-- name: all
SELECT u.id, u.character_id, u.character_name, u.state, u.state_reason, u.state_since, u.paused,
       u.last_killmail_sync_at, u.last_killmail_id, u.expires_at, u.created_at, s.id AS source_id,
       COALESCE(p.pending, 0) AS pending
FROM users u
LEFT JOIN sources s ON {own_list}
LEFT JOIN (SELECT rs.source_id, COUNT(*) AS pending FROM ref_sources rs
           JOIN refs r ON r.killmail_id = rs.killmail_id WHERE r.state = 'pending'
           GROUP BY rs.source_id) p ON p.source_id = s.id
ORDER BY u.character_name, u.id;

-- name: by_id
SELECT u.id, u.character_id, u.character_name, u.state, u.state_reason, u.state_since, u.paused,
       u.last_killmail_sync_at, u.last_killmail_id, u.expires_at, u.created_at, s.id AS source_id,
       (SELECT COUNT(*) FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
        WHERE rs.source_id = s.id AND r.state = 'pending') AS pending
FROM users u LEFT JOIN sources s ON {own_list}
WHERE u.id = :user_id;

-- name: by_character
SELECT u.id, u.character_id, u.character_name, u.state, u.state_reason, u.state_since, u.paused,
       u.last_killmail_sync_at, u.last_killmail_id, u.expires_at, u.created_at, s.id AS source_id,
       (SELECT COUNT(*) FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
        WHERE rs.source_id = s.id AND r.state = 'pending') AS pending
FROM users u LEFT JOIN sources s ON {own_list}
WHERE u.character_id = :character_id;

-- name: by_name
SELECT u.id, u.character_id, u.character_name, u.state, u.state_reason, u.state_since, u.paused,
       u.last_killmail_sync_at, u.last_killmail_id, u.expires_at, u.created_at, s.id AS source_id,
       (SELECT COUNT(*) FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
        WHERE rs.source_id = s.id AND r.state = 'pending') AS pending
FROM users u LEFT JOIN sources s ON {own_list}
WHERE LOWER(u.character_name) = LOWER(:name) ORDER BY u.id;

-- name: by_states
SELECT CASE WHEN paused = {true} AND state = 'ok' THEN 'paused' ELSE state END AS shown, COUNT(*) AS n
FROM users GROUP BY 1;

-- name: queue_facts
SELECT u.id, u.state, u.state_reason, u.state_since, u.paused, u.last_killmail_sync_at, s.id AS source_id,
       s.unbroken_at,
       COALESCE(p.expires_at, 0) AS expires_at, COALESCE(p.answered_at, 0) AS answered_at,
       CASE WHEN g.user_id IS NULL THEN 0 ELSE 1 END AS granted, {now} AS now
FROM users u LEFT JOIN sources s ON {own_list}
LEFT JOIN pages p ON p.source_id = s.id AND p.page = 1
LEFT JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
WHERE u.id = :user_id;

-- name: pause
UPDATE users SET paused = :paused WHERE id = :user_id RETURNING id;

-- name: mark
UPDATE users SET state = :state, state_reason = :reason,
    state_since = CASE WHEN state = :state THEN state_since ELSE {now} END
WHERE id = :user_id AND (state <> :state OR COALESCE(state_reason, '') <> COALESCE(:reason, '')) RETURNING id;

-- name: insert
INSERT INTO users (id, character_id, character_name, owner_hash, scopes, state, state_reason, state_since,
                   expires_at, created_at)
VALUES (:user_id, :character_id, :character_name, :owner_hash, :scopes, :state, :reason, {now},
        :expires_at, {now_time})
ON CONFLICT (character_id) DO UPDATE SET character_name = excluded.character_name,
    owner_hash = excluded.owner_hash, scopes = excluded.scopes, state = excluded.state,
    state_reason = excluded.state_reason, expires_at = excluded.expires_at,
    state_since = CASE WHEN users.state = excluded.state THEN users.state_since ELSE excluded.state_since END
RETURNING id;

-- name: source
INSERT INTO sources (kind, subject_id, via_user_id, created_at) VALUES (:kind, :subject_id, :user_id, {now})
ON CONFLICT (kind, subject_id) DO UPDATE SET via_user_id = excluded.via_user_id
RETURNING id;
