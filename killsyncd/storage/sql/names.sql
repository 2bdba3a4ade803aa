-- name: unresolved
SELECT id FROM names WHERE name IS NULL AND not_before <= {now} ORDER BY not_before LIMIT :limit;

-- name: next_due
SELECT MIN(not_before) AS due FROM names WHERE name IS NULL;

-- name: resolved
UPDATE names SET name = :name, category = :category WHERE id = :id;

-- name: unknown
UPDATE names SET attempts = attempts + 1, not_before = {now} + CAST(:wait AS {real}) WHERE id = :id;
