-- name: load
SELECT u.id AS user_id, u.character_id, u.character_name, u.owner_hash, u.state, u.state_reason, u.scopes,
       g.access_token, g.refresh_token, g.expires_at, g.renew_at, g.version, g.unanswered, g.doubtful,
       g.failures, g.not_before, g.refused_since, g.holder,
       EXISTS (SELECT 1 FROM list_refusals r WHERE r.user_id = u.id) AS list_refused
FROM users u LEFT JOIN grants g ON g.user_id = u.id WHERE u.id = :user_id;

-- name: begin_attempt
UPDATE grants SET holder = :holder, unanswered = unanswered + 1
WHERE user_id = :user_id AND version = :version AND refresh_token IS NOT NULL
  AND (holder IS NULL OR holder = :holder)
  AND EXISTS (SELECT 1 FROM users u WHERE u.id = grants.user_id
              AND u.state IN ('ok', 'needs_login', 'scope_missing'))
RETURNING user_id;

-- name: store_tokens
UPDATE grants SET access_token = :access_token, refresh_token = :refresh_token, expires_at = :expires_at,
    renew_at = :renew_at, version = version + 1, unanswered = 0, doubtful = 0, failures = 0, not_before = 0,
    refused_since = NULL, holder = CASE WHEN holder = :holder THEN NULL ELSE holder END
WHERE user_id = :user_id AND version = :version RETURNING user_id;

-- name: user_expiry
UPDATE users SET expires_at = :expires_at WHERE id = :user_id;

-- name: works_again
UPDATE users SET state = 'ok', state_reason = NULL, state_since = {now}
WHERE id = :user_id AND state = 'needs_login' RETURNING id;

-- name: rename
UPDATE users SET character_name = :name WHERE id = :user_id;

-- name: own
UPDATE users SET owner_hash = :owner_hash WHERE id = :user_id AND COALESCE(owner_hash, '') = '';

-- name: record_failure
UPDATE grants SET failures = failures + 1,
    unanswered = CASE WHEN :unanswered = 1 OR unanswered = 0 THEN unanswered ELSE unanswered - 1 END,
    doubtful = doubtful + CAST(:refused AS {int}), not_before = :not_before,
    refused_since = CASE WHEN :refused = 1 AND (refused_since IS NULL OR refused_since > :at) THEN :at
                         ELSE refused_since END,
    holder = CASE WHEN holder = :holder THEN NULL ELSE holder END
WHERE user_id = :user_id AND version = :version RETURNING user_id;

-- name: release
UPDATE grants SET holder = NULL WHERE user_id = :user_id AND holder = :holder;

-- name: mark
UPDATE grants SET version = version + 1, not_before = :not_before, holder = NULL
WHERE user_id = :user_id AND version = :version RETURNING user_id;

-- name: list_refusals
SELECT COALESCE(r.refusals, 0) AS refusals, COALESCE(r.first_refused_at, 0) AS first_refused_at,
       COALESCE(r.refused_at, 0) AS refused_at, {now} AS now
FROM grants g JOIN sources s ON s.id = :source_id
LEFT JOIN list_refusals r ON r.user_id = g.user_id AND r.source_id = s.id
WHERE g.user_id = :user_id AND g.version = :version;

-- name: list_refused
INSERT INTO list_refusals (source_id, user_id, refusals, first_refused_at, refused_at)
VALUES (:source_id, :user_id, :refusals, :since, :refused_at)
ON CONFLICT (source_id, user_id) DO UPDATE SET refusals = excluded.refusals,
    first_refused_at = excluded.first_refused_at, refused_at = excluded.refused_at;

-- name: other_lists
-- What ESI said to other lists of this kind meanwhile. Most say nothing, and all were asked: seldom run.
SELECT EXISTS (SELECT 1 FROM sources o JOIN sources s ON s.kind = o.kind
               WHERE s.id = :source_id AND o.id <> s.id AND o.accepted_at > :last) AS accepted,
       EXISTS (SELECT 1 FROM list_refusals r JOIN sources o ON o.id = r.source_id JOIN sources s ON s.kind = o.kind
               WHERE s.id = :source_id AND o.id <> s.id AND r.refused_at >= :since) AS refused;

-- name: list_accepted
DELETE FROM list_refusals WHERE user_id = :user_id AND source_id = :source_id;

-- name: lists_anew
DELETE FROM list_refusals WHERE user_id = :user_id;

-- name: ask_soon
-- Not at once: somebody who asks again and again must not use up the questions that are left.
UPDATE grants SET not_before = CASE WHEN not_before > {now} + 60 THEN {now} + 60 ELSE not_before END,
    renew_at = CASE WHEN renew_at > {now} THEN {now} ELSE renew_at END
WHERE user_id = :user_id AND refresh_token IS NOT NULL;

-- name: drop_tokens
UPDATE grants SET access_token = NULL, refresh_token = NULL WHERE user_id = :user_id;

-- name: register
INSERT INTO grants (user_id, access_token, refresh_token, expires_at, renew_at, version)
VALUES (:user_id, :access_token, :refresh_token, :expires_at, :renew_at, CAST({now} * 1000 AS {int}))
ON CONFLICT (user_id) DO UPDATE SET access_token = excluded.access_token,
    refresh_token = excluded.refresh_token, expires_at = excluded.expires_at, renew_at = excluded.renew_at,
    version = CASE WHEN grants.version >= excluded.version THEN grants.version + 1 ELSE excluded.version END,
    unanswered = 0, doubtful = 0, failures = 0, not_before = 0, refused_since = NULL, holder = NULL;

-- name: due
-- Further ahead than anything of ours: written while the clock stood wrong.
SELECT g.user_id FROM grants g JOIN users u ON u.id = g.user_id
WHERE u.state IN ('ok', 'needs_login', 'scope_missing') AND g.refresh_token IS NOT NULL AND g.holder IS NULL
  AND (g.renew_at <= :now OR g.renew_at > :now + :longest_life)
  AND (g.not_before <= :now OR g.not_before > :now + :longest_wait)
ORDER BY g.renew_at LIMIT :limit;

-- name: next_due
SELECT MIN(CASE WHEN g.not_before > g.renew_at THEN g.not_before ELSE g.renew_at END) AS due
FROM grants g JOIN users u ON u.id = g.user_id
WHERE u.state IN ('ok', 'needs_login', 'scope_missing') AND g.refresh_token IS NOT NULL;

-- name: login_put
INSERT INTO login_states (state_hash, door, verifier, cookie_hash, created_at, expires_at)
VALUES (:state_hash, :door, :verifier, :cookie_hash, :created_at, :expires_at);

-- name: login_forget
DELETE FROM login_states WHERE expires_at < :before;

-- name: login_load
SELECT state_hash, door, verifier, cookie_hash, created_at, expires_at, status, user_id, message
FROM login_states WHERE state_hash = :state_hash {for_update};

-- name: login_take
UPDATE login_states SET status = 'working', verifier = :nothing
WHERE state_hash = :state_hash AND status = 'pending' RETURNING state_hash;

-- name: login_finish
UPDATE login_states SET status = :status, user_id = :user_id, message = :message
WHERE state_hash = :state_hash AND status = 'working';
