-- name: jobs
SELECT w.priority,
       CASE WHEN w.holder IS NOT NULL THEN 'working'
            WHEN u.id IS NULL OR u.state <> 'ok' OR u.paused = {true} OR s.paused = {true} THEN 'held'
            WHEN w.not_before > {now} THEN 'postponed'
            ELSE 'waiting' END AS state,
       COUNT(*) AS n,
       MIN(CASE WHEN w.not_before > w.queued_at THEN w.not_before ELSE w.queued_at END) AS since
FROM wants w JOIN sources s ON s.id = w.source_id LEFT JOIN users u ON u.id = s.via_user_id
GROUP BY 1, 2;

-- name: readable_since
SELECT p.expires_at, u.created_at
FROM users u JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
JOIN sources s ON {own_list}
LEFT JOIN pages p ON p.source_id = s.id AND p.page = 1
WHERE u.state = 'ok' AND u.paused = {false};

-- name: corporations_since
-- Corporations' lists that somebody reads; one that was never read: since it is known.
SELECT COALESCE(p.expires_at, s.created_at) AS since
FROM sources s JOIN users u ON u.id = s.via_user_id JOIN grants g ON g.user_id = u.id AND g.refresh_token IS NOT NULL
LEFT JOIN pages p ON p.source_id = s.id AND p.page = 1
WHERE s.kind = {a_corporation} AND {readable};

-- name: access_tokens
-- A token of somebody who cannot be synced anyway may end.
SELECT CASE WHEN u.state <> 'ok' OR g.refresh_token IS NULL OR g.access_token IS NULL THEN 'none'
            WHEN g.expires_at <= {now} THEN 'expired'
            WHEN g.renew_at <= {now} THEN 'due'
            ELSE 'valid' END AS state,
       COUNT(*) AS n
FROM grants g JOIN users u ON u.id = g.user_id GROUP BY 1;

-- name: last_day
-- CROSS JOIN: SQLite takes the tables in this order.
SELECT 'kills' AS side, COUNT(*) AS n, COALESCE(SUM(CAST(w.total AS {real})), 0) AS isk FROM (
    SELECT DISTINCT a.killmail_id FROM users u CROSS JOIN attackers a
    WHERE a.character_id = u.character_id AND a.killed_at >= :since
) x LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id
UNION ALL
SELECT 'losses', COUNT(*), COALESCE(SUM(CAST(w.total AS {real})), 0) FROM (
    SELECT v.killmail_id FROM users u CROSS JOIN victims v
    WHERE v.character_id = u.character_id AND v.killed_at >= :since
) x LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id;

-- name: size [sqlite]
SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size();

-- name: size [postgres]
SELECT pg_database_size(current_database()) AS bytes;
