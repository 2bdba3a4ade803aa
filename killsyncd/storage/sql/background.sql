-- name: claim
INSERT INTO background_tasks (name, holder, tried_at) VALUES (:name, :holder, {now})
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, tried_at = excluded.tried_at
WHERE (background_tasks.holder IS NULL OR background_tasks.holder = :holder)
  AND (background_tasks.next_at <= {now} OR background_tasks.next_at > {now} + CAST(:longest AS {real}))
RETURNING name, position, until, validator, tried_at, succeeded_at, next_at, failures, problem, remedy;

-- name: due_in
SELECT next_at - {now} AS seconds FROM background_tasks WHERE name = :name;

-- name: postpone
UPDATE background_tasks SET next_at = {now} + CAST(:seconds AS {real}) WHERE name = :name AND holder = :holder;

-- name: done
UPDATE background_tasks SET holder = NULL, position = :position, validator = :validator, succeeded_at = {now},
    next_at = {now} + CAST(:wait AS {real}), failures = 0, problem = NULL, remedy = NULL
WHERE name = :name AND holder = :holder;

-- name: failed
UPDATE background_tasks SET holder = NULL, problem = :problem, remedy = :remedy, failures = :failures,
    next_at = {now} + CAST(:wait AS {real})
WHERE name = :name AND holder = :holder;

-- name: release
UPDATE background_tasks SET holder = NULL WHERE name = :name AND holder = :holder;

-- name: all
SELECT name, position, until, validator, tried_at, succeeded_at, next_at, failures, problem, remedy
FROM background_tasks ORDER BY name;
