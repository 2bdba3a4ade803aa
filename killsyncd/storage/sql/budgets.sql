-- name: purge
DELETE FROM spends WHERE returns_at <= :before;

-- name: bucket
INSERT INTO budgets (grp, subject) VALUES (:grp, :subject) ON CONFLICT (grp, subject) DO NOTHING;

-- name: lock
-- One daemon at a time decides over a bucket.
SELECT blocked_until FROM budgets WHERE grp = :grp AND subject = :subject {for_update};

-- name: standing
-- After `lock`, in a statement of its own: what others spent before they let go of the bucket is seen.
SELECT (SELECT MAX(value) FROM gates WHERE name IN (:every, :gate)) AS shut_until,
       (SELECT MIN(token_limit) FROM esi_routes WHERE grp = :grp) AS token_limit,
       (SELECT MAX(window_seconds) FROM esi_routes WHERE grp = :grp) AS window_seconds,
       (SELECT COALESCE(SUM(tokens), 0) FROM spends
        WHERE grp = :grp AND subject = :subject AND returns_at > :after) AS tokens;

-- name: known
-- What we know of as spent, and how many of these reservations were never settled and are over.
SELECT COALESCE(SUM(tokens), 0) AS tokens, COUNT(CASE WHEN open_until > 0 AND open_until <= :by THEN 1 END) AS ended
FROM spends WHERE grp = :grp AND subject = :subject AND returns_at > :after;

-- name: spends
SELECT returns_at, tokens FROM spends WHERE grp = :grp AND subject = :subject AND returns_at > :after
ORDER BY returns_at, id;

-- name: spend
INSERT INTO spends (grp, subject, tokens, returns_at, open_until)
VALUES (:grp, :subject, :tokens, :returns_at, :open_until) RETURNING id;

-- name: bill
-- The row may be gone when a settlement comes very late: what was spent is written down all the same.
INSERT INTO spends (id, grp, subject, tokens, returns_at) VALUES (:id, :grp, :subject, :tokens, :returns_at)
ON CONFLICT (id) DO UPDATE SET tokens = excluded.tokens, returns_at = excluded.returns_at, open_until = NULL;

-- name: ended
-- Never settled, and over for certain: what was really spent of it ESI knows alone. The last to return first.
SELECT id, tokens FROM spends
WHERE grp = :grp AND subject = :subject AND returns_at > :after AND open_until > 0 AND open_until <= :by
ORDER BY returns_at DESC, id DESC;

-- name: certain
-- Settled, charged by then, and certainly not returned yet: ESI counts it.
SELECT COALESCE(SUM(tokens), 0) AS tokens FROM spends
WHERE grp = :grp AND subject = :subject AND open_until IS NULL AND returns_at > :after AND returns_at <= :by;

-- name: open
SELECT COUNT(*) AS n FROM spends
WHERE grp = :grp AND subject = :subject AND returns_at > :at AND open_until > :at;

-- name: lower
UPDATE spends SET tokens = :tokens WHERE id = :id;

-- name: cancel
DELETE FROM spends WHERE id = :id;

-- name: block
INSERT INTO budgets (grp, subject, blocked_until) VALUES (:grp, :subject, :until)
ON CONFLICT (grp, subject) DO UPDATE SET blocked_until = excluded.blocked_until
WHERE budgets.blocked_until < excluded.blocked_until;

-- name: lists_open
-- Gates of lists that are long open: a day, because this machine's clock may have been wrong.
DELETE FROM gates WHERE value <= :before - 86400 AND (name = 'lists-asked' OR name LIKE 'list-asked:%');

-- name: gates
SELECT name, value FROM gates;

-- name: shut
INSERT INTO gates (name, value) VALUES (:name, :until)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE gates.value < excluded.value;

-- name: stamp
INSERT INTO gates (name, value) VALUES (:name, :at) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: routes
SELECT route, grp, token_limit, window_seconds, ttl_seconds FROM esi_routes;

-- name: learn
INSERT INTO esi_routes (route, grp, token_limit, window_seconds, ttl_seconds)
VALUES (:route, :grp, :token_limit, :window_seconds, :ttl_seconds)
ON CONFLICT (route) DO UPDATE SET grp = excluded.grp, token_limit = excluded.token_limit,
    window_seconds = excluded.window_seconds, ttl_seconds = excluded.ttl_seconds;

-- name: window_before
SELECT MAX(window_seconds) AS window_seconds FROM esi_routes WHERE grp = :grp;

-- name: longer_window
UPDATE spends SET returns_at = returns_at + :seconds WHERE grp = :grp;

-- name: all_spends
SELECT grp, subject, returns_at, tokens FROM spends WHERE returns_at > :after ORDER BY returns_at, id;

-- name: blocked
SELECT grp, subject, blocked_until FROM budgets WHERE blocked_until > :after;

-- name: buckets_unused
DELETE FROM budgets WHERE blocked_until <= :before AND NOT EXISTS (
    SELECT 1 FROM spends WHERE spends.grp = budgets.grp AND spends.subject = budgets.subject
);
