-- Times that a wall clock wrote and that only say when to look again. Whatever the law forbids to ask is refused
-- elsewhere, on ESI's clock.

-- name: wants_sooner
UPDATE wants SET not_before = CASE WHEN not_before - CAST(:seconds AS {real}) > {now}
    THEN not_before - CAST(:seconds AS {real}) ELSE {now} END
WHERE not_before > {now};

-- name: refs_sooner
UPDATE refs SET not_before = CASE WHEN not_before - CAST(:seconds AS {real}) > {now}
    THEN not_before - CAST(:seconds AS {real}) ELSE {now} END
WHERE state = 'pending' AND not_before > {now};

-- name: names_sooner
UPDATE names SET not_before = CASE WHEN not_before - CAST(:seconds AS {real}) > {now}
    THEN not_before - CAST(:seconds AS {real}) ELSE {now} END
WHERE name IS NULL AND not_before > {now};

-- name: grants_sooner
UPDATE grants SET not_before = CASE WHEN not_before - CAST(:seconds AS {real}) > {now}
    THEN not_before - CAST(:seconds AS {real}) ELSE {now} END
WHERE not_before > {now};

-- name: tokens_sooner
-- Their end and renewal: a token that was got while the clock was an hour fast does not live an hour longer.
UPDATE grants SET renew_at = renew_at - CAST(:seconds AS {real}), expires_at = expires_at - CAST(:seconds AS {real})
WHERE renew_at > {now};

-- name: revocations_sooner
UPDATE revocations SET not_before = CASE WHEN not_before - CAST(:seconds AS {real}) > {now}
    THEN not_before - CAST(:seconds AS {real}) ELSE {now} END
WHERE not_before > {now};

-- name: wants_anew
UPDATE wants SET not_before = {now}
WHERE holder IS NULL AND not_before > {now} AND (attempts = 0 OR not_before > {now} + CAST(:longest AS {real}));

-- Of webhooks, whose other side keeps its rules by a clock of its own: exactly as much as ours was set.
-- name: webhooks_shifted
UPDATE webhooks SET not_before = not_before + CAST(:seconds AS {real}) WHERE not_before > 0;

-- In two steps, so that no row stands for a moment where another one still does.
-- name: webhook_requests_lifted
UPDATE webhook_requests SET sent_at = - (sent_at + CAST(:seconds AS {real}));

-- name: webhook_requests_shifted
UPDATE webhook_requests SET sent_at = - sent_at WHERE sent_at < 0;
