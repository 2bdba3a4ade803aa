-- The read side of mails: each statement answers a whole page of ids.

-- name: mails
SELECT k.killmail_id, k.killmail_hash, k.killmail_time, k.solar_system_id, k.war_id, k.moon_id, k.attacker_count,
       k.feed_position, k.fresh, k.solo, k.npc, k.created_at
FROM killmails k WHERE k.killmail_id {in_ids};

-- name: victims
SELECT killmail_id, character_id, corporation_id, alliance_id, faction_id, ship_type_id, damage_taken,
       position_x, position_y, position_z
FROM victims WHERE killmail_id {in_ids};

-- name: attackers
SELECT killmail_id, character_id, corporation_id, alliance_id, faction_id, ship_type_id, weapon_type_id,
       damage_done, final_blow, security_status
FROM attackers WHERE killmail_id {in_ids}
ORDER BY killmail_id, position LIMIT :limit;

-- name: final_blows
SELECT killmail_id, character_id, corporation_id, alliance_id, faction_id, ship_type_id, weapon_type_id,
       damage_done, final_blow, security_status
FROM attackers WHERE killmail_id {in_ids} AND final_blow = {true}
ORDER BY killmail_id, position DESC;

-- name: items
SELECT killmail_id, position, parent, item_type_id, flag, quantity_dropped, quantity_destroyed, singleton
FROM killmail_items WHERE killmail_id {in_ids}
ORDER BY killmail_id, position LIMIT :limit;

-- name: documents
SELECT killmail_id, document, size FROM killmail_documents WHERE killmail_id {in_ids};

-- What items and documents of mails will cost, before they are read: of documents the JSON, not what is stored of it.
-- name: sizes [sqlite]
SELECT k.killmail_id, (SELECT COUNT(*) FROM killmail_items i WHERE i.killmail_id = k.killmail_id) AS items,
       (SELECT COALESCE(d.size, LENGTH(d.document)) FROM killmail_documents d WHERE d.killmail_id = k.killmail_id) AS bytes
FROM killmails k WHERE k.killmail_id {in_ids};

-- name: sizes [postgres]
SELECT k.killmail_id, (SELECT COUNT(*) FROM killmail_items i WHERE i.killmail_id = k.killmail_id) AS items,
       (SELECT COALESCE(d.size, OCTET_LENGTH(d.document)) FROM killmail_documents d WHERE d.killmail_id = k.killmail_id) AS bytes
FROM killmails k WHERE k.killmail_id {in_ids};

-- name: names
SELECT id, name FROM names WHERE id {in_ids} AND name IS NOT NULL;

-- name: involved
SELECT x.killmail_id, x.role, u.character_id FROM (
    SELECT killmail_id, character_id, 'VICTIM' AS role FROM victims WHERE killmail_id {in_ids}
    UNION
    SELECT killmail_id, character_id, 'ATTACKER' AS role FROM attackers WHERE killmail_id {in_ids}
) x JOIN users u ON u.character_id = x.character_id
ORDER BY x.killmail_id, x.role DESC, u.character_name, u.character_id;

-- name: characters
SELECT killmail_id, character_id FROM victims
WHERE killmail_id {in_ids} AND character_id IS NOT NULL
UNION
SELECT killmail_id, character_id FROM attackers
WHERE killmail_id {in_ids} AND character_id IS NOT NULL;

-- name: users
SELECT u.id, u.character_id, u.character_name, u.state, u.state_reason, u.paused,
       u.last_killmail_sync_at, u.last_killmail_id, u.expires_at, u.created_at, s.id AS source_id,
       (SELECT COUNT(*) FROM ref_sources rs JOIN refs r ON r.killmail_id = rs.killmail_id
        WHERE rs.source_id = s.id AND r.state = 'pending') AS pending
FROM users u LEFT JOIN sources s ON {own_list}
WHERE u.character_id {in_ids};

-- The newest mails of several characters at once: for each, a limit of both sides.
-- CROSS JOIN keeps SQLite from walking all killmails for every character.
-- name: of_characters [sqlite]
SELECT c.value AS of_character, k.killmail_id, k.killmail_hash, k.killmail_time, k.solar_system_id, k.war_id,
       k.moon_id, k.attacker_count, k.feed_position, k.fresh, k.solo, k.npc, k.created_at
FROM (SELECT value FROM json_each(:ids)) c CROSS JOIN killmails k
WHERE k.killmail_id IN (
    SELECT killmail_id FROM (
        SELECT killmail_id FROM victims
        WHERE character_id = c.value AND (killed_at, killmail_id) < (:after_at, :after_id)
        ORDER BY killed_at DESC, killmail_id DESC LIMIT :limit) lost
    UNION ALL SELECT killmail_id FROM (
        SELECT DISTINCT killed_at, killmail_id FROM attackers
        WHERE character_id = c.value AND (killed_at, killmail_id) < (:after_at, :after_id)
        ORDER BY killed_at DESC, killmail_id DESC LIMIT :limit) shot
) ORDER BY c.value, k.killmail_time DESC, k.killmail_id DESC;

-- name: of_characters [postgres]
SELECT c.value AS of_character, k.killmail_id, k.killmail_hash, k.killmail_time, k.solar_system_id, k.war_id,
       k.moon_id, k.attacker_count, k.feed_position, k.fresh, k.solo, k.npc, k.created_at
FROM unnest(:ids::bigint[]) AS c(value) CROSS JOIN LATERAL (
    (SELECT killmail_id FROM victims
     WHERE character_id = c.value AND (killed_at, killmail_id) < (:after_at, :after_id)
     ORDER BY killed_at DESC, killmail_id DESC LIMIT :limit)
    UNION SELECT killmail_id FROM (
        SELECT DISTINCT killed_at, killmail_id FROM attackers
        WHERE character_id = c.value AND (killed_at, killmail_id) < (:after_at, :after_id)
        ORDER BY killed_at DESC, killmail_id DESC LIMIT :limit) shot
) newest JOIN killmails k ON k.killmail_id = newest.killmail_id
ORDER BY c.value, k.killmail_time DESC, k.killmail_id DESC;

-- name: counts_of_characters [sqlite]
SELECT c.value AS of_character, (
    SELECT COUNT(*) FROM (
        SELECT killmail_id FROM (
            SELECT killmail_id FROM victims WHERE character_id = c.value LIMIT :limit) lost
        UNION SELECT killmail_id FROM (
            SELECT DISTINCT killed_at, killmail_id FROM attackers WHERE character_id = c.value LIMIT :limit) shot
        LIMIT :limit
    ) one
) AS n FROM (SELECT value FROM json_each(:ids)) c;

-- name: counts_of_characters [postgres]
SELECT c.value AS of_character, (
    SELECT COUNT(*) FROM (
        SELECT killmail_id FROM (
            SELECT killmail_id FROM victims WHERE character_id = c.value LIMIT :limit) lost
        UNION SELECT killmail_id FROM (
            SELECT DISTINCT killed_at, killmail_id FROM attackers WHERE character_id = c.value LIMIT :limit) shot
        LIMIT :limit
    ) one
) AS n FROM unnest(:ids::bigint[]) AS c(value);

-- name: feed_position
SELECT position FROM feed WHERE id = 1;

-- name: activity [sqlite]
SELECT x.day, SUM(x.kill) AS kills, SUM(x.loss) AS losses,
       COALESCE(SUM(CASE WHEN x.kill = 1 THEN CAST(w.total AS {real}) END), 0) AS destroyed,
       COALESCE(SUM(CASE WHEN x.loss = 1 THEN CAST(w.total AS {real}) END), 0) AS lost
FROM (
    SELECT k.killmail_id, substr(k.killmail_time, 1, 10) AS day,
           CASE WHEN EXISTS (SELECT 1 FROM attackers a JOIN users u ON u.character_id = a.character_id
                             WHERE a.killmail_id = k.killmail_id) THEN 1 ELSE 0 END AS kill,
           CASE WHEN EXISTS (SELECT 1 FROM victims v JOIN users u ON u.character_id = v.character_id
                             WHERE v.killmail_id = k.killmail_id) THEN 1 ELSE 0 END AS loss
    FROM killmails k WHERE k.killmail_time >= :since AND k.killmail_time < :until
) x LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id GROUP BY 1;

-- name: activity [postgres]
SELECT x.day, SUM(x.kill) AS kills, SUM(x.loss) AS losses,
       COALESCE(SUM(CASE WHEN x.kill = 1 THEN CAST(w.total AS {real}) END), 0) AS destroyed,
       COALESCE(SUM(CASE WHEN x.loss = 1 THEN CAST(w.total AS {real}) END), 0) AS lost
FROM (
    SELECT k.killmail_id, to_char(k.killmail_time AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
           CASE WHEN EXISTS (SELECT 1 FROM attackers a JOIN users u ON u.character_id = a.character_id
                             WHERE a.killmail_id = k.killmail_id) THEN 1 ELSE 0 END AS kill,
           CASE WHEN EXISTS (SELECT 1 FROM victims v JOIN users u ON u.character_id = v.character_id
                             WHERE v.killmail_id = k.killmail_id) THEN 1 ELSE 0 END AS loss
    FROM killmails k WHERE k.killmail_time >= :since AND k.killmail_time < :until
) x LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id GROUP BY 1;
