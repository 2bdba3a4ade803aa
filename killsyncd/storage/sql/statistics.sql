-- name: characters
SELECT character_id FROM users ORDER BY character_id;

-- name: pilots
SELECT u.character_id, g.name, COALESCE('g' || g.name, 'c' || CAST(u.character_id AS TEXT)) AS subject
FROM users u LEFT JOIN pilot_groups g ON g.character_id = u.character_id ORDER BY u.character_name, u.character_id;

-- CROSS JOIN: SQLite takes the tables in this order.
-- name: kills
SELECT x.subject, COUNT(*) AS n, SUM(CASE WHEN k.solo = {true} THEN 1 ELSE 0 END) AS solo, SUM(x.blow) AS blows,
       COALESCE(SUM(CAST(w.total AS {real})), 0) AS isk
FROM (
    SELECT COALESCE('g' || g.name, 'c' || CAST(u.character_id AS TEXT)) AS subject, a.killmail_id,
           MAX(CASE WHEN a.final_blow = {true} THEN 1 ELSE 0 END) AS blow
    FROM users u LEFT JOIN pilot_groups g ON g.character_id = u.character_id CROSS JOIN attackers a
    WHERE a.character_id = u.character_id AND a.killed_at >= :since AND a.killed_at < :until
    GROUP BY 1, 2
) x JOIN killmails k ON k.killmail_id = x.killmail_id
LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id GROUP BY 1;

-- name: losses
SELECT x.subject, COUNT(*) AS n, COALESCE(SUM(CAST(w.total AS {real})), 0) AS isk
FROM (
    SELECT COALESCE('g' || g.name, 'c' || CAST(u.character_id AS TEXT)) AS subject, v.killmail_id
    FROM users u LEFT JOIN pilot_groups g ON g.character_id = u.character_id CROSS JOIN victims v
    WHERE v.character_id = u.character_id AND v.killed_at >= :since AND v.killed_at < :until
) x LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id GROUP BY 1;

-- name: group_put
INSERT INTO pilot_groups (character_id, name) VALUES (:character_id, :name)
ON CONFLICT (character_id) DO UPDATE SET name = excluded.name;

-- name: group_gone
DELETE FROM pilot_groups WHERE name = :name RETURNING character_id;

-- name: groups
SELECT g.name, g.character_id, u.character_name FROM pilot_groups g
LEFT JOIN users u ON u.character_id = g.character_id ORDER BY g.name, u.character_name, g.character_id;
