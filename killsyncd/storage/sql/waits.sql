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
