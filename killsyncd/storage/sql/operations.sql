-- name: user_counts
SELECT COALESCE(SUM(CASE WHEN u.state <> 'left' THEN 1 ELSE 0 END), 0) AS users, MIN(u.created_at) AS first_user_at, {now} AS now,
       COALESCE(SUM(CASE WHEN u.state = 'ok' AND u.paused = {false} AND g.refresh_token IS NOT NULL THEN 1 ELSE 0 END), 0)
           AS ready,
       COALESCE(SUM(CASE WHEN u.state = 'ok' AND u.paused = {false} AND g.expires_at > {now} THEN 1 ELSE 0 END), 0)
           AS holding
FROM users u LEFT JOIN grants g ON g.user_id = u.id;

-- name: troubled
SELECT character_id, character_name, state, state_reason, state_since FROM users
WHERE state NOT IN ('ok', 'left') ORDER BY state_since DESC LIMIT :limit;

-- name: failing
SELECT s.kind, s.subject_id, u.character_id, u.character_name, u.state, w.last_error, w.queued_at, w.attempts,
       n.name AS subject_name
FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
LEFT JOIN names n ON n.id = s.subject_id
WHERE w.attempts >= :attempts AND {readable}
ORDER BY w.attempts DESC LIMIT :limit;

-- name: waiting
-- Lists that wait, those that wait longest first: they are what somebody asks about.
SELECT s.kind, s.subject_id, u.character_id, u.character_name, w.waits_for, w.last_error, w.not_before,
       n.name AS subject_name
FROM wants w JOIN sources s ON s.id = w.source_id JOIN users u ON u.id = s.via_user_id
LEFT JOIN names n ON n.id = s.subject_id
WHERE w.holder IS NULL AND w.waits_for IS NOT NULL AND w.not_before > {now} AND {readable}
ORDER BY w.not_before DESC LIMIT :limit;

-- name: retrying
SELECT COUNT(*) AS n, MIN(not_before) AS not_before FROM refs WHERE state = 'pending' AND not_before > {now};

-- name: doubted
SELECT u.character_id, u.character_name, g.refused_since, g.not_before, {now} AS now
FROM grants g JOIN users u ON u.id = g.user_id
WHERE g.doubtful > 0 AND u.state = 'ok' AND u.paused = {false}
ORDER BY g.not_before LIMIT :limit;

-- name: refs_by_state
SELECT state, COUNT(*) AS n, MIN(first_listed_at) AS first_listed_at, MIN(changed_at) AS changed_at
FROM refs GROUP BY state;

-- name: revocations_open
SELECT COUNT(*) AS n FROM revocations;

-- name: producer
SELECT last_run_at, last_finished_at, last_queued, next_run_at, holder FROM producer WHERE id = 1;

-- name: feed
SELECT f.position, m.value AS epoch FROM feed f, meta m WHERE f.id = 1 AND m.key = 'feed_epoch';

-- name: daemons
SELECT COUNT(*) AS n FROM daemons WHERE alive_until >= {now};

-- name: switch_on
INSERT INTO switches (name, since) VALUES (:name, {now}) ON CONFLICT (name) DO NOTHING RETURNING name;

-- name: switch_off
DELETE FROM switches WHERE name = :name RETURNING name;

-- name: failed
SELECT killmail_id, reason, attempts, refusals, first_listed_at, changed_at FROM refs
WHERE state = 'quarantined' ORDER BY killmail_id DESC LIMIT :limit;

-- name: wanted_by
SELECT rs.killmail_id, s.subject_id, COALESCE(u.character_name, n.name) AS character_name
FROM ref_sources rs JOIN sources s ON s.id = rs.source_id
LEFT JOIN users u ON {own_list} LEFT JOIN names n ON n.id = s.subject_id
WHERE rs.killmail_id {in_ids} ORDER BY rs.killmail_id, rs.source_id;

-- name: stored_mail
SELECT killmail_time, origin, listed_at, fetched_at, created_at, fresh FROM killmails WHERE killmail_id = :killmail_id;

-- name: wanted_mail
SELECT state, reason, attempts, refusals, not_before, first_listed_at, {now} AS now FROM refs
WHERE killmail_id = :killmail_id;

-- name: seen_through
SELECT s.kind, s.subject_id, u.character_name, n.name, g.listed_at,
       CASE WHEN s.kind = {a_character} THEN s.subject_id ELSE u.character_id END AS character_id
FROM sightings g JOIN sources s ON s.id = g.source_id
LEFT JOIN users u ON u.character_id = s.subject_id AND s.kind IN ({a_character}, {a_zkillboard})
LEFT JOIN names n ON n.id = s.subject_id
WHERE g.killmail_id = :killmail_id ORDER BY g.listed_at, s.id;

-- name: source_of
SELECT s.id, s.unbroken_at, s.full_walk_at, s.vouched_at FROM users u JOIN sources s ON {own_list}
WHERE u.id = :user_id;

-- name: source_times
SELECT id, unbroken_at, full_walk_at, vouched_at FROM sources WHERE id = :source_id;

-- name: walks_by_state
SELECT state, COUNT(*) AS n FROM walks WHERE source_id = :source_id GROUP BY state;

-- name: last_walk
SELECT state, next_page, pages, mode, doubt FROM walks WHERE source_id = :source_id AND state <> 'abandoned'
ORDER BY id DESC LIMIT 1;

-- name: wanted_of
SELECT r.state, COUNT(*) AS n FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
WHERE rs.source_id = :source_id GROUP BY r.state;

-- name: listed_of
SELECT COUNT(*) AS n FROM sightings WHERE source_id = :source_id;

-- name: missing_of
SELECT COUNT(*) AS n FROM sightings g WHERE g.source_id = :source_id
AND NOT EXISTS (SELECT 1 FROM killmails k WHERE k.killmail_id = g.killmail_id)
AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.killmail_id = g.killmail_id);

-- name: unreadable_of
SELECT COUNT(*) AS n FROM unreadable WHERE source_id = :source_id;

-- name: unreadable
SELECT x.entry, x.reason, x.listed_at, s.subject_id, COALESCE(u.character_name, n.name) AS character_name
FROM unreadable x JOIN sources s ON s.id = x.source_id
LEFT JOIN users u ON {own_list} LEFT JOIN names n ON n.id = s.subject_id
ORDER BY x.listed_at DESC, x.source_id, x.entry LIMIT :limit;

-- name: oldest_of
SELECT k.killmail_time FROM sightings g JOIN killmails k ON k.killmail_id = g.killmail_id
WHERE g.source_id = :source_id ORDER BY g.killmail_id LIMIT 1;

-- name: feed_after
SELECT k.feed_position, k.killmail_id, k.killmail_time, k.created_at, k.fresh, k.solar_system_id, k.attacker_count,
       v.character_id AS victim_id, v.corporation_id, v.ship_type_id,
       (SELECT a.character_id FROM attackers a WHERE a.killmail_id = k.killmail_id AND a.final_blow = {true}
        ORDER BY a.position LIMIT 1) AS final_blow_id
FROM killmails k JOIN victims v ON v.killmail_id = k.killmail_id
WHERE k.feed_position > :position AND (:fresh_only = 0 OR k.fresh = {true})
ORDER BY k.feed_position LIMIT :limit;

-- name: named
SELECT id, name FROM names WHERE name IS NOT NULL AND id {in_ids};

-- name: ours_on
SELECT v.killmail_id, u.character_name FROM victims v JOIN users u ON u.character_id = v.character_id
WHERE v.killmail_id {in_ids}
UNION
SELECT a.killmail_id, u.character_name FROM attackers a JOIN users u ON u.character_id = a.character_id
WHERE a.killmail_id {in_ids} ORDER BY 1, 2;
