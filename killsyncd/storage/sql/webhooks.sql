-- name: register
INSERT INTO webhooks (name, kind, position, created_at, address_mark)
SELECT CAST(:name AS TEXT), CAST(:kind AS TEXT), position, {now}, CAST(:mark AS {int}) FROM feed WHERE id = 1
ON CONFLICT (name) DO NOTHING RETURNING name;

-- Another address: what was learnt of the one before says nothing of it, and it is tried at once. A pause stays.
-- name: readdress
UPDATE webhooks SET kind = :kind, address_mark = :mark, channel = NULL, stopped_at = NULL, not_before = 0, attempts = 0,
    error = NULL, failing_at = NULL
WHERE name = :name;

-- name: others
SELECT name, (SELECT position FROM feed WHERE id = 1) - position AS waiting FROM webhooks
WHERE holder IS NULL AND (leased_at IS NULL OR leased_at < {now} - CAST(:seconds AS {real}));

-- name: forget
DELETE FROM webhooks WHERE name = :name AND holder IS NULL;

-- name: claim
UPDATE webhooks SET holder = :holder, leased_at = {now}
WHERE name = :name AND (holder IS NULL OR holder = :holder OR leased_at < {now} - CAST(:seconds AS {real}))
RETURNING name;

-- name: renew
UPDATE webhooks SET leased_at = {now} WHERE holder = :holder RETURNING name;

-- name: release
UPDATE webhooks SET holder = NULL WHERE holder = :holder AND name = :name RETURNING name;

-- name: one
SELECT w.*, {now} AS now, (SELECT position FROM feed WHERE id = 1) AS feed_end FROM webhooks w WHERE w.name = :name;

-- name: all
SELECT w.*, {now} AS now, (SELECT position FROM feed WHERE id = 1) AS feed_end FROM webhooks w ORDER BY w.name;

-- The row of one that is sending, locked, so that whoever takes it over waits for the end of this.
-- name: held
SELECT w.*, {now} AS now, (SELECT position FROM feed WHERE id = 1) AS feed_end
FROM webhooks w WHERE w.name = :name AND w.holder = :holder {for_update};

-- Two daemons with webhooks of one channel count one after the other.
-- name: count_alone
SELECT name FROM webhooks WHERE kind = :kind ORDER BY name {for_update};

-- name: recent
SELECT w.name, r.sent_at, {now} AS now FROM webhooks me
JOIN webhooks w ON w.kind = me.kind
    AND (w.name = me.name OR w.channel = me.channel OR w.channel IS NULL OR me.channel IS NULL)
JOIN webhook_requests r ON r.name = w.name
WHERE me.name = :name AND r.sent_at > {now} - CAST(:seconds AS {real}) ORDER BY r.sent_at DESC;

-- name: requested
INSERT INTO webhook_requests (name, sent_at)
SELECT name, sending_at FROM webhooks WHERE name = :name AND sending_at IS NOT NULL
ON CONFLICT (name, sent_at) DO NOTHING;

-- name: counted
INSERT INTO webhook_requests (name, sent_at) SELECT name, {now} FROM webhooks WHERE name = :name
ON CONFLICT (name, sent_at) DO NOTHING;

-- name: answered
UPDATE webhook_requests SET sent_at = {now}
WHERE name = :name AND sent_at = (SELECT sending_at FROM webhooks w WHERE w.name = :name);

-- name: forget_requests
DELETE FROM webhook_requests WHERE name = :name AND sent_at < {now} - CAST(:seconds AS {real});

-- By way of the ids, which grow with time: the oldest are found without an index of their own. Two for each that
-- is written, so that it comes down again.
-- name: forget_deliveries
DELETE FROM webhook_deliveries WHERE name = :name AND delivered_at < {now} - CAST(:seconds AS {real})
  AND killmail_id IN (SELECT killmail_id FROM webhook_deliveries WHERE name = :name ORDER BY killmail_id LIMIT 2);

-- name: sending
UPDATE webhooks SET sending_id = :killmail_id, sending_at = {now}, position = :position,
    left_out = left_out + CAST(:left_out AS {int})
WHERE name = :name;

-- Not where a replay put the position back meanwhile.
-- name: advance
UPDATE webhooks SET position = :position, sending_id = NULL, sending_at = NULL, left_out = left_out + CAST(:left_out AS {int})
WHERE name = :name AND holder = :holder AND position = :before RETURNING name;

-- name: deliver
INSERT INTO webhook_deliveries (name, killmail_id, delivered_at, message_id, refused)
VALUES (:name, :killmail_id, {now}, :message_id, :refused)
ON CONFLICT (name, killmail_id) DO UPDATE SET delivered_at = excluded.delivered_at,
    message_id = excluded.message_id, refused = excluded.refused;

-- A pause that another webhook of the channel was asked for meanwhile stays; so for those that failed.
-- name: settled
UPDATE webhooks SET position = CASE WHEN position = :before THEN :position ELSE position END, sending_id = NULL, sending_at = NULL, attempts = 0, failing_at = NULL,
    stopped_at = NULL, error = NULL, not_before = CASE WHEN not_before > {now} + CAST(:wait AS {real})
        THEN not_before ELSE {now} + CAST(:wait AS {real}) END, channel = COALESCE(:channel, channel),
    delivered = delivered + CAST(:delivered AS {int}), set_aside = set_aside + CAST(:set_aside AS {int}),
    delivered_at = CASE WHEN CAST(:delivered AS {int}) > 0 THEN {now} ELSE delivered_at END
WHERE name = :name AND holder = :holder RETURNING name;

-- name: failed
UPDATE webhooks SET attempts = CASE WHEN CAST(:counts AS {int}) > 0 THEN attempts + 1 ELSE 0 END, error = :error,
    stopped_at = NULL, failing_at = COALESCE(failing_at, {now}),
    not_before = CASE WHEN not_before > {now} + CAST(:wait AS {real}) THEN not_before ELSE {now} + CAST(:wait AS {real}) END,
    sending_id = CASE WHEN CAST(:doubtful AS {int}) > 0 THEN sending_id END,
    sending_at = CASE WHEN CAST(:doubtful AS {int}) > 0 THEN sending_at END
WHERE name = :name AND holder = :holder RETURNING name;

-- What the other side asked of all webhooks of its kind, or of the channel.
-- name: hold_up
UPDATE webhooks SET not_before = {now} + CAST(:wait AS {real})
WHERE kind = :kind AND stopped_at IS NULL AND not_before < {now} + CAST(:wait AS {real})
  AND (CAST(:everybody AS {int}) > 0 OR channel IS NULL
       OR EXISTS (SELECT 1 FROM webhooks o WHERE o.name = :name AND (o.channel IS NULL OR o.channel = webhooks.channel)));

-- What a request beside the deliveries was told.
-- name: noted
UPDATE webhooks SET channel = COALESCE(:channel, channel),
    not_before = CASE WHEN stopped_at IS NULL AND not_before < {now} + CAST(:wait AS {real})
        THEN {now} + CAST(:wait AS {real}) ELSE not_before END
WHERE name = :name;

-- name: counted_answered
UPDATE webhook_requests SET sent_at = {now}
WHERE name = :name AND sent_at = (SELECT MAX(sent_at) FROM webhook_requests r WHERE r.name = :name);

-- not_before: when it is tried once more; 0 where the answer was for good.
-- name: stop
UPDATE webhooks SET stopped_at = COALESCE(stopped_at, {now}), error = :error,
    not_before = CASE WHEN CAST(:wait AS {real}) > 0 THEN {now} + CAST(:wait AS {real}) ELSE 0 END,
    sending_id = CASE WHEN CAST(:doubtful AS {int}) > 0 THEN sending_id END,
    sending_at = CASE WHEN CAST(:doubtful AS {int}) > 0 THEN sending_at END
WHERE name = :name AND holder = :holder RETURNING name;

-- name: pause
UPDATE webhooks SET paused_at = {now} WHERE name = :name AND paused_at IS NULL RETURNING name;

-- A pause that the other side asked for (429) holds all the same.
-- name: resume
UPDATE webhooks SET paused_at = NULL, stopped_at = NULL, attempts = 0, error = NULL, failing_at = NULL,
    not_before = CASE WHEN attempts > 0 OR stopped_at IS NOT NULL THEN 0 ELSE not_before END
WHERE name = :name AND (paused_at IS NOT NULL OR stopped_at IS NOT NULL OR failing_at IS NOT NULL)
RETURNING name;

-- name: replay
UPDATE webhooks SET position = :position, replay_since = :since,
    replay_to = CASE WHEN replay_to > position THEN replay_to ELSE position END
WHERE name = :name RETURNING name;

-- name: replay_from
SELECT MIN(feed_position) - 1 AS position, COUNT(*) AS mails FROM killmails
WHERE killmail_time >= :since AND feed_position <= :before;

-- name: deliveries
SELECT killmail_id, delivered_at, message_id, refused FROM webhook_deliveries
WHERE name = :name AND killmail_id {in_ids};

-- name: set_aside
SELECT killmail_id, delivered_at, message_id, refused FROM webhook_deliveries
WHERE name = :name AND refused IS NOT NULL ORDER BY delivered_at DESC LIMIT :limit;

-- Mails set aside of late, by webhook, with the newest's reason.
-- name: set_aside_since
SELECT d.name, COUNT(*) AS mails,
    (SELECT n.refused FROM webhook_deliveries n WHERE n.name = d.name AND n.refused IS NOT NULL
     ORDER BY n.delivered_at DESC LIMIT 1) AS refused
FROM webhook_deliveries d
WHERE d.refused IS NOT NULL AND d.delivered_at > {now} - CAST(:seconds AS {real}) GROUP BY d.name;

-- name: last_settled
SELECT killmail_id FROM killmails WHERE feed_position <= :position ORDER BY feed_position DESC LIMIT :limit;

-- Who is on mails, by corporation; attackers' are many, and few of them differ.
-- name: corporations
SELECT killmail_id, corporation_id, 'VICTIM' AS role FROM victims
WHERE killmail_id {in_ids} AND corporation_id IS NOT NULL
UNION
SELECT killmail_id, corporation_id, 'ATTACKER' AS role FROM attackers
WHERE killmail_id {in_ids} AND corporation_id IS NOT NULL;

-- name: characters
SELECT killmail_id, character_id, 'VICTIM' AS role FROM victims
WHERE killmail_id {in_ids} AND character_id IS NOT NULL
UNION
SELECT killmail_id, character_id, 'ATTACKER' AS role FROM attackers
WHERE killmail_id {in_ids} AND character_id IS NOT NULL;

-- name: our_pilots
SELECT character_id AS id FROM users WHERE state <> 'left';

-- name: our_corporations
SELECT subject_id AS id FROM sources WHERE kind = :kind;

-- What is known of the places of mails.
-- name: places
SELECT s.system_id, s.security, s.region_id, s.name, r.name AS region
FROM solar_systems s LEFT JOIN regions r ON r.region_id = s.region_id WHERE s.system_id {in_ids};

-- name: ships
SELECT t.type_id, t.group_id, t.name FROM types t WHERE t.type_id {in_ids};

-- name: worth
SELECT killmail_id, total FROM killmail_values WHERE killmail_id {in_ids};

-- How many ids of a mail still wait for a name.
-- name: nameless
SELECT COUNT(*) AS n FROM names n WHERE n.name IS NULL AND n.attempts = 0 AND n.id IN (
    SELECT character_id FROM victims WHERE killmail_id = :killmail_id
    UNION SELECT corporation_id FROM victims WHERE killmail_id = :killmail_id
    UNION SELECT alliance_id FROM victims WHERE killmail_id = :killmail_id
    UNION SELECT ship_type_id FROM victims WHERE killmail_id = :killmail_id
    UNION SELECT character_id FROM attackers WHERE killmail_id = :killmail_id
    UNION SELECT corporation_id FROM attackers WHERE killmail_id = :killmail_id
    UNION SELECT alliance_id FROM attackers WHERE killmail_id = :killmail_id
    UNION SELECT ship_type_id FROM attackers WHERE killmail_id = :killmail_id
    UNION SELECT solar_system_id FROM killmails WHERE killmail_id = :killmail_id
    UNION SELECT item_type_id FROM killmail_items WHERE killmail_id = :killmail_id
);

-- Without any price no mail gets a value, and none waits for one.
-- name: prices
SELECT EXISTS (SELECT 1 FROM esi_prices) AS known;

-- name: static_data
SELECT EXISTS (SELECT 1 FROM solar_systems) AS known;

-- Names that filters are given with, and their ids. An id that is asked for by its number is itself.
-- name: find_regions
SELECT region_id AS id FROM regions WHERE LOWER(name) = LOWER(:word) OR region_id = :id;

-- name: find_systems
SELECT system_id AS id FROM solar_systems WHERE LOWER(name) = LOWER(:word) OR system_id = :id
UNION SELECT id FROM names WHERE category = 'solar_system' AND (LOWER(name) = LOWER(:word) OR id = :id);

-- name: find_ship_groups
SELECT group_id AS id FROM type_groups WHERE LOWER(name) = LOWER(:word) OR group_id = :id;

-- name: find_ship_types
SELECT type_id AS id FROM types WHERE LOWER(name) = LOWER(:word) OR type_id = :id
UNION SELECT id FROM names WHERE category = 'inventory_type' AND (LOWER(name) = LOWER(:word) OR id = :id);

-- name: find_pilots
SELECT character_id AS id FROM users WHERE LOWER(character_name) = LOWER(:word)
UNION SELECT id FROM names WHERE category = :category AND LOWER(name) = LOWER(:word);

-- name: find_corporations
SELECT id FROM names WHERE category = :category AND LOWER(name) = LOWER(:word);

-- Names of which the nearest is told for one that is not known.
-- name: names_of_regions
SELECT name FROM regions;

-- name: names_of_systems
SELECT name FROM solar_systems UNION SELECT name FROM names WHERE category = 'solar_system' AND name IS NOT NULL;

-- name: names_of_ship_groups
SELECT name FROM type_groups;

-- Ships, structures, deployables, starbases, drones and fighters: what can be lost.
-- name: names_of_ship_types
SELECT t.name FROM types t JOIN type_groups g ON g.group_id = t.group_id WHERE g.category_id IN (6, 18, 22, 23, 65, 87)
UNION SELECT name FROM names WHERE category = 'inventory_type' AND name IS NOT NULL;

-- name: names_of_pilots
SELECT character_name AS name FROM users;

-- name: names_of_corporations
SELECT name FROM (SELECT id, name FROM names WHERE category = :category AND name IS NOT NULL
                  ORDER BY id DESC LIMIT 5000) AS known;
