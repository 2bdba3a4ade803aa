-- name: holder
SELECT holder FROM background_tasks WHERE name = :name;

-- name: feed_end
SELECT position FROM feed WHERE id = 1;

-- name: kills_after
SELECT k.killmail_id, k.feed_position, k.killmail_time, v.ship_type_id, v.killed_at,
       w.total, w.destroyed, w.dropped, w.ship, w.fitted, w.cargo, w.method, w.priced_on, w.unpriced, w.unknown
FROM killmails k JOIN victims v ON v.killmail_id = k.killmail_id
LEFT JOIN killmail_values w ON w.killmail_id = k.killmail_id
WHERE k.feed_position > :position AND k.feed_position <= :until
  AND (:every OR (:later AND w.method = 'LATER') OR (:unknown AND w.unknown > 0))
ORDER BY k.feed_position LIMIT :limit;

-- name: kills_of
SELECT k.killmail_id, k.feed_position, k.killmail_time, v.ship_type_id, v.killed_at,
       w.total, w.destroyed, w.dropped, w.ship, w.fitted, w.cargo, w.method, w.priced_on, w.unpriced, w.unknown
FROM killmails k JOIN victims v ON v.killmail_id = k.killmail_id
LEFT JOIN killmail_values w ON w.killmail_id = k.killmail_id
WHERE k.killmail_time < :end AND (k.killmail_time, k.killmail_id) > (:after, :after_id)
ORDER BY k.killmail_time, k.killmail_id LIMIT :limit;

-- name: item_counts
SELECT killmail_id, COUNT(*) AS items FROM killmail_items WHERE killmail_id {in_ids} GROUP BY killmail_id;

-- name: items [sqlite]
-- One row a mail: fetching a row costs Python as much as SQLite needs for three of them.
SELECT killmail_id, json_group_array(json_array(item_type_id, CASE WHEN parent IS NULL THEN flag END, singleton,
    quantity_dropped, quantity_destroyed)) AS items
FROM killmail_items WHERE killmail_id {in_ids} GROUP BY killmail_id;

-- name: items [postgres]
SELECT killmail_id, json_agg(json_build_array(item_type_id, CASE WHEN parent IS NULL THEN flag END, singleton,
    quantity_dropped, quantity_destroyed))::text AS items
FROM killmail_items WHERE killmail_id {in_ids} GROUP BY killmail_id;

-- name: keep
INSERT INTO killmail_values (killmail_id, killed_at, total, destroyed, dropped, ship, fitted, cargo, method,
    priced_on, unpriced, unknown, valued_at)
VALUES (:killmail_id, :killed_at, :total, :destroyed, :dropped, :ship, :fitted, :cargo, :method, :priced_on,
    :unpriced, :unknown, {now})
ON CONFLICT (killmail_id) DO UPDATE SET
    earlier_total = CASE WHEN killmail_values.total <> excluded.total OR killmail_values.method <> excluded.method
        OR killmail_values.priced_on <> excluded.priced_on
        THEN killmail_values.total ELSE killmail_values.earlier_total END,
    earlier_method = CASE WHEN killmail_values.total <> excluded.total OR killmail_values.method <> excluded.method
        OR killmail_values.priced_on <> excluded.priced_on
        THEN killmail_values.method ELSE killmail_values.earlier_method END,
    earlier_priced_on = CASE WHEN killmail_values.total <> excluded.total OR killmail_values.method <> excluded.method
        OR killmail_values.priced_on <> excluded.priced_on
        THEN killmail_values.priced_on ELSE killmail_values.earlier_priced_on END,
    changes = killmail_values.changes + CASE WHEN killmail_values.total <> excluded.total
        OR killmail_values.method <> excluded.method OR killmail_values.priced_on <> excluded.priced_on
        THEN 1 ELSE 0 END,
    total = excluded.total, destroyed = excluded.destroyed, dropped = excluded.dropped, ship = excluded.ship,
    fitted = excluded.fitted, cargo = excluded.cargo, method = excluded.method, priced_on = excluded.priced_on,
    unpriced = excluded.unpriced, unknown = excluded.unknown, valued_at = excluded.valued_at;

-- name: moved
UPDATE background_tasks SET position = :position, succeeded_at = {now} WHERE name = :name AND holder = :holder
RETURNING name;

-- name: pass_moved
UPDATE background_tasks SET position = :position, succeeded_at = {now},
    until = CASE WHEN until <= CAST(:position AS {int}) THEN NULL ELSE until END
WHERE name = :name;

-- name: start_pass
INSERT INTO background_tasks (name, position, until, validator)
VALUES (:name, 0, (SELECT CASE WHEN position > 0 THEN position ELSE NULL END FROM feed WHERE id = 1), :validator)
ON CONFLICT (name) DO UPDATE SET position = 0, until = excluded.until, validator = excluded.validator;

-- name: explained
SELECT total, destroyed, dropped, method, priced_on, unpriced, unknown, valued_at, changes,
       earlier_total, earlier_method, earlier_priced_on
FROM killmail_values WHERE killmail_id = :killmail_id;
