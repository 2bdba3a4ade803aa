-- name: version
SELECT (SELECT COUNT(*) FROM esi_prices) AS esi,
       (SELECT COALESCE(MAX(fetched_at), 0) FROM esi_prices) AS esi_at,
       (SELECT COUNT(*) FROM market_history WHERE prices IS NOT NULL) AS history,
       (SELECT COALESCE(MAX(fetched_at), 0) FROM market_history WHERE prices IS NOT NULL) AS history_at;

-- name: esi_days
SELECT day FROM esi_prices ORDER BY day;

-- name: history_days
SELECT day FROM market_history WHERE prices IS NOT NULL ORDER BY day;

-- name: priced_types
SELECT type_id, first_day, last_day FROM priced_types ORDER BY type_id;

-- name: esi_day
SELECT prices FROM esi_prices WHERE day = :day;

-- name: history_day
SELECT prices FROM market_history WHERE day = :day;

-- name: latest
SELECT day, expires_at, types FROM esi_prices ORDER BY day DESC LIMIT 1;

-- name: put_esi
INSERT INTO esi_prices (day, prices, types, fetched_at, expires_at, applied)
VALUES (:day, :prices, :types, {now}, :expires_at, :applied) ON CONFLICT (day) DO NOTHING RETURNING day;

-- name: carry
-- Not {now} as the time: it is the same answer.
INSERT INTO esi_prices (day, prices, types, fetched_at, expires_at)
SELECT CAST(:day AS {int}), prices, types, {now}, expires_at FROM esi_prices WHERE day = :latest
ON CONFLICT (day) DO NOTHING;

-- name: types_priced [sqlite]
INSERT INTO priced_types (type_id, first_day, last_day) SELECT value, :day, :day FROM json_each(:ids) WHERE true
ON CONFLICT (type_id) DO UPDATE SET first_day = MIN(first_day, excluded.first_day),
    last_day = MAX(last_day, excluded.last_day)
WHERE excluded.first_day < priced_types.first_day OR excluded.last_day > priced_types.last_day;

-- name: types_priced [postgres]
INSERT INTO priced_types (type_id, first_day, last_day)
SELECT id, :day::bigint, :day::bigint FROM unnest(:ids::bigint[]) AS t (id)
ON CONFLICT (type_id) DO UPDATE SET first_day = LEAST(priced_types.first_day, excluded.first_day),
    last_day = GREATEST(priced_types.last_day, excluded.last_day)
WHERE excluded.first_day < priced_types.first_day OR excluded.last_day > priced_types.last_day;

-- name: carried_types
UPDATE priced_types SET last_day = :day WHERE last_day = :latest;

-- name: put_history
INSERT INTO market_history (day, prices, types, fetched_at, attempts, not_before, applied)
VALUES (:day, :prices, :types, {now}, 0, 0, {false})
ON CONFLICT (day) DO UPDATE SET prices = excluded.prices, types = excluded.types, fetched_at = excluded.fetched_at,
    attempts = 0, not_before = 0, applied = {false};

-- name: no_history
INSERT INTO market_history (day, fetched_at, attempts, not_before)
VALUES (:day, {now}, 1, {now} + CAST(:wait AS {real}))
ON CONFLICT (day) DO UPDATE SET attempts = market_history.attempts + 1, not_before = excluded.not_before
WHERE market_history.prices IS NULL;

-- name: attempts
SELECT attempts FROM market_history WHERE day = :day;

-- name: have_days
SELECT day FROM esi_prices UNION SELECT day FROM market_history WHERE prices IS NOT NULL OR not_before > {now};

-- name: kill_before
SELECT MAX(killmail_time) AS latest FROM killmails WHERE killmail_time < :before;

-- name: unapplied_esi
SELECT e.day,
       (SELECT MAX(p.day) FROM esi_prices p WHERE p.day < e.day) AS esi_before,
       (SELECT MAX(h.day) FROM market_history h WHERE h.day < e.day AND h.prices IS NOT NULL) AS history_before
FROM esi_prices e WHERE e.applied = {false} ORDER BY e.day;

-- name: unapplied_history
SELECT day FROM market_history WHERE applied = {false} AND prices IS NOT NULL ORDER BY day DESC LIMIT 50;

-- name: applied_esi
UPDATE esi_prices SET applied = {true} WHERE day = :day;

-- name: applied_history
UPDATE market_history SET applied = {true} WHERE day = :day;
