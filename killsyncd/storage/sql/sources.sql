-- name: all
SELECT s.id, s.kind, s.subject_id, s.paused, s.trouble, s.via_user_id, s.last_sync_at, s.last_killmail_id,
       s.unbroken_at, s.vouched_at, s.closed_at, s.created_at, {of_zkillboard}, n.name, u.id AS user_id, u.character_id, u.character_name,
       u.state AS user_state, u.state_reason, u.paused AS user_paused, w.attempts, w.last_error,
       COALESCE(p.pending, 0) AS pending
FROM sources s
LEFT JOIN users u ON {own_list}
LEFT JOIN names n ON n.id = s.subject_id
LEFT JOIN wants w ON w.source_id = s.id
LEFT JOIN users v ON v.id = s.via_user_id
LEFT JOIN zkillboard_subjects z ON z.source_id = s.id
LEFT JOIN zkillboard_stream t ON t.id = 1
LEFT JOIN (SELECT rs.source_id, COUNT(*) AS pending FROM ref_sources rs
           JOIN refs r ON r.killmail_id = rs.killmail_id WHERE r.state = 'pending'
           GROUP BY rs.source_id) p ON p.source_id = s.id
WHERE :kind = '' OR s.kind = :kind
ORDER BY s.kind, s.id;

-- name: some
SELECT s.id, s.kind, s.subject_id, s.paused, s.trouble, s.via_user_id, s.last_sync_at, s.last_killmail_id,
       s.unbroken_at, s.vouched_at, s.closed_at, s.created_at, {of_zkillboard}, n.name, u.id AS user_id, u.character_id, u.character_name,
       u.state AS user_state, u.state_reason, u.paused AS user_paused, w.attempts, w.last_error,
       (SELECT COUNT(*) FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
        WHERE rs.source_id = s.id AND r.state = 'pending') AS pending
FROM sources s
LEFT JOIN users u ON {own_list}
LEFT JOIN names n ON n.id = s.subject_id
LEFT JOIN wants w ON w.source_id = s.id
LEFT JOIN users v ON v.id = s.via_user_id
LEFT JOIN zkillboard_subjects z ON z.source_id = s.id
LEFT JOIN zkillboard_stream t ON t.id = 1
WHERE s.id {in_ids}
ORDER BY s.kind, s.id;

-- name: members
-- Our pilots in each corporation that is a source.
SELECT s.id AS source_id, u.id AS user_id, u.character_id, u.character_name, u.state, u.paused,
       CASE WHEN g.refresh_token IS NULL THEN 0 ELSE 1 END AS granted,
       CASE WHEN ' ' || u.scopes || ' ' LIKE '% ' || :scope || ' %' THEN 1 ELSE 0 END AS scoped,
       l.accepted_at, l.refusal, l.words, l.refusals, l.refused_since, l.refused_at, l.believed, l.not_before
FROM sources s
JOIN users u ON u.corporation_id = s.subject_id
LEFT JOIN grants g ON g.user_id = u.id
LEFT JOIN lenders l ON l.source_id = s.id AND l.user_id = u.id
WHERE s.kind = {a_corporation}
ORDER BY s.id, u.character_name, u.id;

-- name: members_of
SELECT s.id AS source_id, u.id AS user_id, u.character_id, u.character_name, u.state, u.paused,
       CASE WHEN g.refresh_token IS NULL THEN 0 ELSE 1 END AS granted,
       CASE WHEN ' ' || u.scopes || ' ' LIKE '% ' || :scope || ' %' THEN 1 ELSE 0 END AS scoped,
       l.accepted_at, l.refusal, l.words, l.refusals, l.refused_since, l.refused_at, l.believed, l.not_before
FROM sources s
JOIN users u ON u.corporation_id = s.subject_id
LEFT JOIN grants g ON g.user_id = u.id
LEFT JOIN lenders l ON l.source_id = s.id AND l.user_id = u.id
WHERE s.id {in_ids} AND s.kind = {a_corporation}
ORDER BY s.id, u.character_name, u.id;

-- name: of_kind
SELECT id FROM sources WHERE kind = :kind ORDER BY id;

-- name: npcs
-- NPC corporations that pilots of ours are in.
SELECT u.corporation_id, n.name, u.character_name, u.corporation_at FROM users u LEFT JOIN names n ON n.id = u.corporation_id
WHERE u.corporation_id <= :last_npc AND u.state <> 'left' ORDER BY u.corporation_id, u.character_name;

-- name: by_subject
SELECT id FROM sources WHERE subject_id = :subject_id AND (:kind = '' OR kind = :kind) ORDER BY kind;

-- name: by_name
-- Of corporations and such; a pilot's list is found by the pilot's name.
SELECT s.id FROM sources s LEFT JOIN names n ON n.id = s.subject_id LEFT JOIN users u ON {own_list}
WHERE (:kind = '' OR s.kind = :kind) AND LOWER(COALESCE(u.character_name, n.name)) = LOWER(:name)
ORDER BY s.kind, s.id;

-- name: of_killmails
SELECT g.killmail_id, g.source_id FROM sightings g WHERE g.killmail_id {in_ids} ORDER BY g.killmail_id, g.source_id;

-- name: pause
UPDATE sources SET paused = :paused WHERE id = :source_id AND kind <> {a_character} AND paused <> :paused
RETURNING id;

-- name: due
-- Lists of ESI's that can be read, were not since, and do not wait already. Synced in the future: written while
-- the clock stood wrong.
SELECT s.id FROM sources s
JOIN users u ON u.id = s.via_user_id
JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
WHERE {of_esi:s} AND {readable}
  AND (s.last_sync_at IS NULL OR s.last_sync_at < :before OR s.last_sync_at > {now_time})
  AND NOT EXISTS (SELECT 1 FROM wants w WHERE w.source_id = s.id AND w.origin <> :active)
ORDER BY s.last_sync_at NULLS FIRST, s.id;

-- name: queue_facts
SELECT s.id, s.kind, s.subject_id, s.paused, s.last_sync_at, s.unbroken_at, COALESCE(own.character_name, n.name) AS name,
       u.character_name AS via, u.state, u.state_since, u.paused AS user_paused,
       COALESCE(p.expires_at, 0) AS expires_at, COALESCE(p.answered_at, 0) AS answered_at,
       CASE WHEN g.user_id IS NULL THEN 0 ELSE 1 END AS granted, {now} AS now
FROM sources s LEFT JOIN users u ON u.id = s.via_user_id
LEFT JOIN users own ON s.kind = {a_character} AND own.character_id = s.subject_id
LEFT JOIN names n ON n.id = s.subject_id
LEFT JOIN pages p ON p.source_id = s.id AND p.page = 1
LEFT JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
WHERE s.id = :source_id;

-- name: active
-- Lists that showed a fresh kill lately, whose answer is not cached any more, and that nobody has asked for yet.
SELECT s.id FROM sources s
JOIN users u ON u.id = s.via_user_id
JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
JOIN pages p ON p.source_id = s.id AND p.page = 1
WHERE s.last_fresh_at > {now} - CAST(:active_for AS {real}) AND {of_esi:s} AND {readable}
  AND p.answered_at >= p.asked_at AND p.expires_at <= :expired_by
  AND NOT EXISTS (SELECT 1 FROM wants w WHERE w.source_id = s.id)
ORDER BY p.expires_at LIMIT :limit;

-- name: next_active
SELECT MIN(p.expires_at) AS due FROM sources s
JOIN users u ON u.id = s.via_user_id
JOIN pages p ON p.source_id = s.id AND p.page = 1
WHERE s.last_fresh_at > {now} - CAST(:active_for AS {real}) AND {of_esi:s} AND {readable}
  AND p.answered_at >= p.asked_at
  AND NOT EXISTS (SELECT 1 FROM wants w WHERE w.source_id = s.id);
