-- name: unplaced
-- Whose corporation is to be asked for; they are put off at once, so that of several daemons one asks.
UPDATE users SET corporation_due_at = {now} + CAST(:again AS {real})
WHERE corporation_due_at <= {now} AND id IN (
    SELECT id FROM users WHERE corporation_due_at <= {now} AND state <> 'left'
    ORDER BY corporation_due_at, id LIMIT :limit
) RETURNING character_id;

-- name: next_due
SELECT MIN(corporation_due_at) AS due, {now} AS now FROM users WHERE state <> 'left';

-- name: placed
UPDATE users SET corporation_id = :corporation_id, corporation_at = {now},
    corporation_due_at = {now} + CAST(:wait AS {real})
WHERE character_id = :character_id;

-- name: not_placed
-- ESI did not say: what it said last holds for some days, for an answer may lack for once what it should have.
UPDATE users SET corporation_id = CASE WHEN corporation_at > {now} - CAST(:holds AS {real}) THEN corporation_id END,
    corporation_due_at = {now} + CAST(:wait AS {real})
WHERE character_id = :character_id;

-- name: forgiven
UPDATE lenders SET refusal = NULL, words = NULL, refusals = 0, refused_since = NULL, refused_at = NULL,
    believed = {false}, not_before = 0
WHERE user_id = :user_id;

-- name: unlisted
SELECT DISTINCT u.corporation_id FROM users u WHERE u.corporation_id > :last_npc AND u.state <> 'left'
AND NOT EXISTS (SELECT 1 FROM sources s WHERE s.kind = {a_corporation} AND s.subject_id = u.corporation_id)
ORDER BY u.corporation_id;

-- name: unnamed
-- NPC corporations have no list, and a name that people want to see.
SELECT DISTINCT u.corporation_id FROM users u WHERE u.corporation_id <= :last_npc AND u.state <> 'left'
AND NOT EXISTS (SELECT 1 FROM names n WHERE n.id = u.corporation_id);

-- name: without_pilots
-- Corporations that nobody of ours is in any more: whether they were closed is asked once a day, by one daemon.
UPDATE sources SET closed_due_at = {now} + CAST(:again AS {real})
WHERE kind = {a_corporation} AND closed_at IS NULL AND closed_due_at <= {now} AND NOT EXISTS (
    SELECT 1 FROM users u WHERE u.corporation_id = sources.subject_id AND u.state <> 'left'
) RETURNING subject_id;

-- name: closed
UPDATE sources SET closed_at = {now} WHERE kind = {a_corporation} AND subject_id = :corporation_id;

-- name: vacant
-- Lists that nobody reads, or whose reader cannot any more.
SELECT s.id, s.via_user_id FROM sources s WHERE s.kind = {a_corporation} AND NOT EXISTS (
    SELECT 1 FROM users u JOIN grants g ON g.user_id = u.id
    LEFT JOIN lenders l ON l.source_id = s.id AND l.user_id = u.id
    WHERE u.id = s.via_user_id AND u.corporation_id = s.subject_id AND u.state = 'ok' AND u.paused = {false}
      AND g.refresh_token IS NOT NULL AND COALESCE(l.not_before, 0) <= {now}
      AND ' ' || u.scopes || ' ' LIKE '% ' || :scope || ' %'
) ORDER BY s.id;

-- name: read_by
SELECT id FROM sources WHERE kind = {a_corporation} AND via_user_id = :user_id;

-- name: via
SELECT via_user_id, {now} AS now FROM sources WHERE id = :source_id {for_update};

-- name: lend
UPDATE sources SET via_user_id = :user_id WHERE id = :source_id;

-- name: others
-- Whether ESI gave another list since, and whether it refused another corporation's.
SELECT EXISTS (SELECT 1 FROM sources o WHERE o.id <> :source_id AND o.accepted_at > :last) AS accepted,
       EXISTS (SELECT 1 FROM lenders l WHERE l.source_id <> :source_id AND l.refused_at >= :since) AS refused;

-- name: refused
INSERT INTO lenders (source_id, user_id, refusal, words, refusals, refused_since, refused_at, believed, not_before)
VALUES (:source_id, :user_id, :refusal, :words, :refusals, :since, :at, :believed, :not_before)
ON CONFLICT (source_id, user_id) DO UPDATE SET refusal = excluded.refusal, words = excluded.words,
    refusals = excluded.refusals, refused_since = excluded.refused_since, refused_at = excluded.refused_at,
    believed = excluded.believed, not_before = excluded.not_before;

-- name: accepted
INSERT INTO lenders (source_id, user_id, accepted_at) VALUES (:source_id, :user_id, {now})
ON CONFLICT (source_id, user_id) DO UPDATE SET accepted_at = excluded.accepted_at, refusal = NULL, words = NULL,
    refusals = 0, refused_since = NULL, refused_at = NULL, believed = {false}, not_before = 0;

-- name: off
UPDATE sources SET via_user_id = NULL WHERE kind = {a_corporation} AND via_user_id IS NOT NULL;

-- name: off_wants
DELETE FROM wants WHERE source_id IN (SELECT id FROM sources WHERE kind = {a_corporation});

-- name: go_on
-- What waited for the reader before, or for a day to be over, waits no more.
UPDATE wants SET not_before = 0 WHERE source_id = :source_id AND holder IS NULL AND not_before > {now};

-- name: lost
-- Lists that were read before and have no reader now.
SELECT id FROM sources
WHERE kind = {a_corporation} AND via_user_id IS NULL AND last_sync_at IS NOT NULL AND paused = {false}
  AND closed_at IS NULL
ORDER BY last_sync_at DESC LIMIT :limit;
