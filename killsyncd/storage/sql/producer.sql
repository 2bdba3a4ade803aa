-- name: begin
UPDATE producer SET holder = :holder, last_run_at = {now}
WHERE id = 1 AND (holder IS NULL OR holder = :holder)
  AND (next_run_at <= {now} OR next_run_at > {now} + CAST(:longest AS {real})) RETURNING id;

-- name: heal_wants
UPDATE wants SET not_before = 0 WHERE not_before > {now} + CAST(:longest AS {real});

-- name: heal_refs
UPDATE refs SET not_before = 0 WHERE state = 'pending' AND not_before > {now} + CAST(:longest AS {real});

-- name: finish
UPDATE producer SET holder = NULL, last_finished_at = {now}, last_queued = :queued,
    next_run_at = {now} + CAST(:wait AS {real})
WHERE id = 1 AND holder = :holder RETURNING next_run_at;

-- name: state
SELECT last_run_at, last_finished_at, last_queued, next_run_at, holder, {now} AS now FROM producer WHERE id = 1;
