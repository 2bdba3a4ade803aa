-- name: new_pilots
-- weight 1: mails of these lists come last.
INSERT INTO sources (kind, subject_id, via_user_id, weight, created_at)
SELECT {a_zkillboard}, u.character_id, u.id, 1, {now} FROM users u
WHERE u.state NOT IN ('left', 'owner_changed')
  AND NOT EXISTS (SELECT 1 FROM sources s WHERE s.kind = {a_zkillboard} AND s.subject_id = u.character_id)
ON CONFLICT (kind, subject_id) DO NOTHING;

-- name: new_corporations
INSERT INTO sources (kind, subject_id, weight, created_at)
SELECT {a_zkillboard}, s.subject_id, 1, {now} FROM sources s
WHERE s.kind = {a_corporation} AND :corporations = 1
  AND EXISTS (SELECT 1 FROM users u WHERE u.corporation_id = s.subject_id AND u.state <> 'left')
  AND NOT EXISTS (SELECT 1 FROM sources o WHERE o.kind = {a_zkillboard} AND o.subject_id = s.subject_id)
ON CONFLICT (kind, subject_id) DO NOTHING;

-- name: new_subjects
INSERT INTO zkillboard_subjects (source_id, entity)
SELECT s.id, CASE WHEN s.via_user_id IS NULL THEN {a_corporation} ELSE {a_character} END FROM sources s
WHERE s.kind = {a_zkillboard} AND NOT EXISTS (SELECT 1 FROM zkillboard_subjects z WHERE z.source_id = s.id)
ON CONFLICT (source_id) DO NOTHING;

-- name: not_watched
UPDATE zkillboard_subjects SET watched_at = NULL WHERE watched_at IS NOT NULL AND (
    (entity = {a_character} AND source_id IN (
        SELECT s.id FROM sources s LEFT JOIN users u ON u.id = s.via_user_id
        WHERE s.kind = {a_zkillboard} AND (u.id IS NULL OR u.state IN ('left', 'owner_changed'))))
    OR (entity = {a_corporation} AND (:corporations = 0 OR source_id NOT IN (
        SELECT s.id FROM sources s JOIN users u ON u.corporation_id = s.subject_id
        WHERE s.kind = {a_zkillboard} AND u.state <> 'left'))));

-- name: watched_again
-- What it missed meanwhile its list has.
UPDATE zkillboard_subjects SET watched_at = {now},
    due_at = CASE WHEN due_at > asked_at + CAST(:keep AS {real}) THEN asked_at + CAST(:keep AS {real}) ELSE due_at END
WHERE watched_at IS NULL AND (
    (entity = {a_character} AND source_id IN (
        SELECT s.id FROM sources s JOIN users u ON u.id = s.via_user_id
        WHERE s.kind = {a_zkillboard} AND u.state NOT IN ('left', 'owner_changed')))
    OR (entity = {a_corporation} AND :corporations = 1 AND source_id IN (
        SELECT s.id FROM sources s JOIN users u ON u.corporation_id = s.subject_id
        WHERE s.kind = {a_zkillboard} AND u.state <> 'left')));

-- name: watched
SELECT s.id AS source_id, s.subject_id FROM zkillboard_subjects z JOIN sources s ON s.id = z.source_id
WHERE z.watched_at IS NOT NULL;

-- name: next_subject
-- Further away than it is ever put off: written while the clock stood wrong.
SELECT z.source_id, z.entity, s.subject_id, z.next_page, z.walk_at, z.whole_at, z.full_at, z.watched_at, z.failures,
       t.unbroken_at,
       CASE WHEN EXISTS (SELECT 1 FROM sightings g WHERE g.source_id = z.source_id) THEN 1 ELSE 0 END AS listed
FROM zkillboard_subjects z JOIN sources s ON s.id = z.source_id JOIN zkillboard_stream t ON t.id = 1
LEFT JOIN users u ON u.id = s.via_user_id
WHERE z.watched_at IS NOT NULL AND s.paused = {false} AND COALESCE(u.paused, {false}) = {false}
  AND (z.due_at <= {now} OR z.due_at > {now} + CAST(:longest AS {real}))
ORDER BY z.due_at, z.source_id LIMIT 1;

-- name: next_due
SELECT MIN(z.due_at) - {now} AS seconds FROM zkillboard_subjects z JOIN sources s ON s.id = z.source_id
LEFT JOIN users u ON u.id = s.via_user_id
WHERE z.watched_at IS NOT NULL AND s.paused = {false} AND COALESCE(u.paused, {false}) = {false};

-- name: subject
SELECT z.source_id, z.entity, s.subject_id, z.next_page, z.walk_at, z.whole_at, z.full_at, z.watched_at, z.failures,
       t.unbroken_at, t.read_at, z.bad_entries,
       CASE WHEN EXISTS (SELECT 1 FROM sightings g WHERE g.source_id = z.source_id) THEN 1 ELSE 0 END AS listed
FROM zkillboard_subjects z JOIN sources s ON s.id = z.source_id JOIN zkillboard_stream t ON t.id = 1
WHERE z.source_id = :source_id;

-- name: page_read
UPDATE zkillboard_subjects SET next_page = :next_page, walk_at = :walk_at, whole_at = :whole_at, full_at = :full_at,
    asked_at = {now}, due_at = {now} + CAST(:wait AS {real}), failures = 0, bad_entries = bad_entries + :bad
WHERE source_id = :source_id;

-- name: no_trouble
UPDATE sources SET trouble = NULL, trouble_since = NULL WHERE id = :source_id AND trouble IS NOT NULL;

-- name: trouble
UPDATE sources SET trouble = :reason, trouble_since = COALESCE(trouble_since, {now}) WHERE id = :source_id;

-- name: subject_failed
-- With a pause of its own: something was answered, and is not asked for again before it is over.
UPDATE zkillboard_subjects SET failures = failures + 1, due_at = {now} + CAST(:wait AS {real}),
    asked_at = CASE WHEN CAST(:wait AS {real}) > 0 THEN {now} ELSE asked_at END
WHERE source_id = :source_id;

-- name: stream
SELECT sequence, unbroken_at, read_at FROM zkillboard_stream WHERE id = 1;

-- name: stream_begins
UPDATE zkillboard_stream SET sequence = :sequence, unbroken_at = {now}, read_at = NULL WHERE id = 1;

-- name: lists_fill_the_gap
UPDATE zkillboard_subjects SET due_at = asked_at + CAST(:keep AS {real}) WHERE due_at > asked_at + CAST(:keep AS {real});

-- name: stream_read
UPDATE zkillboard_stream SET sequence = :sequence, read_at = CASE WHEN :at_end = 1 THEN {now} ELSE read_at END
WHERE id = 1;

-- name: source_of
SELECT s.id FROM sources s WHERE s.kind = {a_zkillboard} AND s.subject_id = :subject_id;

-- name: never_listed
-- Mails that it knows and that no list of ESI has shown to us.
SELECT COUNT(*) AS n FROM sightings g WHERE g.source_id = :source_id AND NOT EXISTS (
    SELECT 1 FROM sightings o JOIN sources s ON s.id = o.source_id
    WHERE o.killmail_id = g.killmail_id AND {of_esi:s});
