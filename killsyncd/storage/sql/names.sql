-- name: unresolved
-- New ones first: ids that ESI refused before would fail the batch of those it knows.
SELECT id, attempts FROM names WHERE name IS NULL AND not_before <= {now}
ORDER BY CASE WHEN attempts = 0 THEN 0 ELSE 1 END, not_before LIMIT :limit;

-- name: next_due
SELECT MIN(not_before) AS due FROM names WHERE name IS NULL;

-- name: resolved
UPDATE names SET name = :name, category = :category WHERE id = :id;

-- name: unknown
UPDATE names SET attempts = attempts + 1, not_before = {now} + CASE attempts
    WHEN 0 THEN CAST(:wait1 AS {real}) WHEN 1 THEN CAST(:wait2 AS {real}) WHEN 2 THEN CAST(:wait3 AS {real})
    WHEN 3 THEN CAST(:wait4 AS {real}) ELSE CAST(:wait5 AS {real}) END
WHERE id = :id;

-- name: retry
UPDATE names SET attempts = 0, not_before = 0 WHERE name IS NULL RETURNING id;
