-- name: source
SELECT id, via_user_id, unbroken_at, full_walk_at FROM sources WHERE id = :source_id;

-- name: start
-- A source, the walk under way, and the page that this reads next; without one, the first.
SELECT s.unbroken_at, s.full_walk_at,
       r.id, r.source_id, r.mode, r.next_page, r.pages, r.last_modified, r.torn, r.started_at, r.listed, r.new,
       r.made_at, r.doubt,
       p.page, p.etag, p.last_modified AS page_modified, p.expires_at, p.asked_at, p.answered_at, p.pages AS page_pages,
       p.body_at, p.gone_at,
       (SELECT MAX(g.value) FROM gates g WHERE g.name IN ('lists-asked', 'list-asked:' || s.kind || ':'
            || CAST(s.subject_id AS TEXT) || ':' || CAST(COALESCE(r.next_page, 1) AS TEXT))) AS not_before
FROM sources s LEFT JOIN walks r ON r.source_id = s.id AND r.state = 'running'
LEFT JOIN pages p ON p.source_id = s.id AND p.page = COALESCE(r.next_page, 1)
WHERE s.id = :source_id;

-- name: held
-- Locked: nobody may take the lease from us between this look and our COMMIT. Sources and pages change with
-- the lease alone.
SELECT w.holder, s.unbroken_at, p.page, p.etag, p.last_modified AS page_modified, p.expires_at, p.asked_at,
       p.answered_at, p.pages AS page_pages, p.body_at, p.gone_at,
       EXISTS (SELECT 1 FROM unreadable e WHERE e.source_id = w.source_id) AS has_set_aside
FROM wants w JOIN sources s ON s.id = w.source_id
LEFT JOIN pages p ON p.source_id = w.source_id AND p.page = :page
WHERE w.source_id = :source_id {for_update_w};

-- name: page
-- Gates of lists: what was asked for in a life of the database that is over (an erased pilot, a restore).
SELECT p.page, p.etag, p.last_modified AS page_modified, p.expires_at, p.asked_at, p.answered_at,
       p.pages AS page_pages, p.body_at, p.gone_at,
       (SELECT MAX(g.value) FROM gates g WHERE g.name IN ('lists-asked',
            'list-asked:' || s.kind || ':' || CAST(s.subject_id AS TEXT) || ':' || CAST(:page AS TEXT))) AS not_before
FROM sources s LEFT JOIN pages p ON p.source_id = s.id AND p.page = :page
WHERE s.id = :source_id;

-- name: page_asked
-- Nothing where the lease is not ours; where it is, nobody may take it from us before our COMMIT.
INSERT INTO pages (source_id, page, asked_at)
SELECT w.source_id, CAST(:page AS {int}), CAST(:at AS {real}) FROM wants w
WHERE w.source_id = :source_id AND w.holder = :holder {for_update_w}
ON CONFLICT (source_id, page) DO UPDATE SET asked_at = excluded.asked_at RETURNING page;

-- name: page_answered
INSERT INTO pages (source_id, page, etag, last_modified, expires_at, asked_at, answered_at, pages, body_at)
VALUES (:source_id, :page, :etag, :last_modified, :expires_at, :at, :at, :pages, :body_at)
ON CONFLICT (source_id, page) DO UPDATE SET etag = excluded.etag, last_modified = excluded.last_modified,
    expires_at = excluded.expires_at, answered_at = excluded.answered_at, pages = excluded.pages,
    body_at = excluded.body_at, gone_at = 0;

-- name: page_refused
UPDATE pages SET answered_at = :at, expires_at = :expires_at,
    gone_at = CASE WHEN :gone = 1 AND (gone_at = 0 OR gone_at > :at) THEN :at ELSE gone_at END
WHERE source_id = :source_id AND page = :page;

-- name: pages_beyond
DELETE FROM pages WHERE source_id = :source_id AND page > :pages;

-- name: list_ends
UPDATE pages SET pages = :pages WHERE source_id = :source_id AND page = 1;

-- name: walk_running
SELECT id, source_id, mode, next_page, pages, last_modified, torn, started_at, listed, new, made_at, doubt
FROM walks
WHERE source_id = :source_id AND state = 'running';

-- name: walk_start
INSERT INTO walks (source_id, mode, started_at) VALUES (:source_id, :mode, {now})
RETURNING id, source_id, mode, next_page, pages, last_modified, torn, started_at, listed, new, made_at, doubt;

-- name: walk_mode
UPDATE walks SET mode = :mode WHERE id = :id;

-- name: walk_step
UPDATE walks SET state = :state, next_page = :next_page, pages = :pages, last_modified = :last_modified,
    torn = :torn, listed = listed + :listed, new = new + :new, made_at = :made_at, doubt = :doubt,
    finished_at = CASE WHEN :ended = 1 THEN {now} ELSE NULL END
WHERE id = :id AND state = 'running' RETURNING id;

-- name: walk_restart
UPDATE walks SET state = 'abandoned', finished_at = {now} WHERE id = :id;

-- name: walks_prune
DELETE FROM walks WHERE source_id = :source_id AND state <> 'running' AND id < (
    SELECT MIN(id) FROM (SELECT id FROM walks WHERE source_id = :source_id ORDER BY id DESC LIMIT 50) AS recent
);

-- name: unsettled
-- Walks since the last one that came to its end, the running one included. A list that was not there (404)
-- says nothing of what earlier walks had left to read; a page that was passed (cached) may hold what nobody has read.
SELECT COUNT(*) AS n FROM walks WHERE source_id = :source_id
AND id > COALESCE((SELECT MAX(id) FROM walks WHERE source_id = :source_id
                   AND state IN ('complete', 'stopped', 'cut') AND COALESCE(doubt, '') NOT IN ('no_list', 'cached')), 0);

-- name: torn_in_a_row
SELECT COUNT(*) AS n FROM walks WHERE source_id = :source_id AND state = 'torn'
AND id > COALESCE((SELECT MAX(id) FROM walks WHERE source_id = :source_id AND state IN ('complete', 'stopped')), 0);

-- name: walked
-- What a walk that came to its end says of its source. until: null where it vouches for nothing; the list of another
-- node may be older than one that was read before.
UPDATE sources SET last_sync_at = {now_time}, accepted_at = {now},
    vouched_at = CASE WHEN vouched_at >= CAST(:until AS {real}) THEN vouched_at
                      ELSE COALESCE(CAST(:until AS {real}), vouched_at) END,
    unbroken_at = CASE WHEN :whole = 1 THEN {now} ELSE unbroken_at END,
    full_walk_at = CASE WHEN :whole = 1 THEN {now} ELSE full_walk_at END
WHERE id = :source_id;

-- name: newest_listed
SELECT g.killmail_id, k.killmail_time FROM sightings g LEFT JOIN killmails k ON k.killmail_id = g.killmail_id
WHERE g.source_id = :source_id ORDER BY g.killmail_id DESC LIMIT 1;

-- name: set_aside
INSERT INTO unreadable (source_id, entry, reason, listed_at, walk_id)
VALUES (:source_id, :entry, :reason, :at, :walk_id)
ON CONFLICT (source_id, entry) DO UPDATE SET reason = excluded.reason, walk_id = excluded.walk_id;

-- name: no_more_set_aside
DELETE FROM unreadable WHERE source_id = :source_id AND walk_id <> :walk_id;

-- name: sighted
SELECT killmail_id, killmail_hash FROM sightings
WHERE source_id = :source_id AND killmail_id {in_ids};

-- name: sighted_otherwise
UPDATE sightings SET killmail_hash = :killmail_hash WHERE source_id = :source_id AND killmail_id = :killmail_id;

-- name: hashes
-- What ESI's own lists say goes before what others say.
SELECT g.killmail_hash FROM sightings g JOIN sources s ON s.id = g.source_id WHERE g.killmail_id = :killmail_id
GROUP BY g.killmail_hash
ORDER BY MIN(CASE WHEN {of_esi:s} THEN 0 ELSE 1 END), g.killmail_hash;

-- name: third_party_hash
-- A row where a list of ESI's is read, and the hash by which the mail is to be fetched is only what others said.
SELECT 1 AS found FROM sources s WHERE s.id = :source_id AND {of_esi:s} AND EXISTS (
    SELECT 1 FROM sightings o WHERE o.killmail_id = :killmail_id AND o.killmail_hash = :killmail_hash
) AND NOT EXISTS (
    SELECT 1 FROM sightings o JOIN sources t ON t.id = o.source_id
    WHERE o.killmail_id = :killmail_id AND o.killmail_hash = :killmail_hash
      AND {of_esi:t});

-- name: stored
SELECT killmail_id FROM killmails WHERE killmail_id {in_ids};

-- name: refs [sqlite]
SELECT killmail_id, killmail_hash, state, attempts, tried, first_listed_at, holder FROM refs
WHERE killmail_id {in_ids} ORDER BY killmail_id;

-- name: refs [postgres]
SELECT killmail_id, killmail_hash, state, attempts, tried, first_listed_at, holder FROM refs
WHERE killmail_id {in_ids} ORDER BY killmail_id FOR UPDATE;

-- name: ref_second_hash
UPDATE refs SET killmail_hash = :killmail_hash, state = 'pending', reason = NULL, attempts = 0, refusals = 0,
    not_before = 0, tried = :tried, changed_at = {now}
WHERE killmail_id = :killmail_id;

-- name: ref_claim [sqlite]
UPDATE refs SET holder = :holder WHERE killmail_id {in_ids}
AND (holder IS NULL OR holder = :holder) AND state = 'pending' RETURNING killmail_id;

-- name: ref_claim [postgres]
UPDATE refs SET holder = :holder WHERE killmail_id IN (
    SELECT killmail_id FROM refs WHERE killmail_id {in_ids} AND state = 'pending'
      AND (holder IS NULL OR holder = :holder)
    FOR UPDATE SKIP LOCKED
) RETURNING killmail_id;

-- name: ref_release
UPDATE refs SET holder = NULL WHERE killmail_id {in_ids} AND holder = :holder;

-- name: ref_failed
UPDATE refs SET state = :state, reason = :reason, attempts = :attempts, refusals = :refusals,
    not_before = :not_before + COALESCE({now} - CAST(:by AS {real}), 0), holder = NULL, changed_at = {now}
WHERE killmail_id = :killmail_id AND state = 'pending' AND (holder IS NULL OR holder = :holder)
  AND killmail_hash = :killmail_hash
RETURNING killmail_hash, tried;

-- name: refs_gone
DELETE FROM refs WHERE killmail_id {in_ids};

-- name: sources_wanting
SELECT DISTINCT source_id FROM ref_sources WHERE killmail_id {in_ids};

-- name: lock_users [sqlite]
-- Whoever writes is alone: there is nothing to lock.
SELECT 1 WHERE :ids IS NULL;

-- name: lock_users [postgres]
SELECT id FROM users WHERE character_id IN (SELECT subject_id FROM sources WHERE id {in_ids} AND kind = {a_character})
ORDER BY id {for_update};

-- name: lock_sources [sqlite]
SELECT 1 WHERE :ids IS NULL;

-- name: lock_sources [postgres]
SELECT id FROM sources WHERE id {in_ids} ORDER BY id {for_update};

-- name: derive_last_ids
UPDATE sources AS s SET last_killmail_id = (
    SELECT MAX(g.killmail_id) FROM sightings g WHERE g.source_id = s.id AND g.killmail_id < COALESCE(
        (SELECT MIN(r.killmail_id) FROM ref_sources r WHERE r.source_id = s.id), 9223372036854775807)
) WHERE s.id {in_ids};

-- name: users_last_ids
UPDATE users AS u SET last_killmail_id = s.last_killmail_id FROM sources s WHERE s.id {in_ids} AND {own_list};

-- name: synced
UPDATE sources SET last_sync_at = {now_time}, accepted_at = {now} WHERE id = :source_id;

-- name: user_synced
UPDATE users AS u SET last_killmail_sync_at = {now_time} FROM sources s WHERE s.id = :source_id AND {own_list};

-- name: fought
-- Whose lists show these mails, and the lists of whoever is on them: also of who only helped, whose list does not.
SELECT source_id, killmail_id FROM sightings WHERE killmail_id {in_ids}
UNION SELECT s.id, a.killmail_id FROM attackers a
JOIN sources s ON s.kind = {a_character} AND s.subject_id = a.character_id WHERE a.killmail_id {in_ids}
UNION SELECT s.id, a.killmail_id FROM attackers a
JOIN sources s ON s.kind = {a_corporation} AND s.subject_id = a.corporation_id WHERE a.killmail_id {in_ids}
UNION SELECT s.id, v.killmail_id FROM victims v
JOIN sources s ON s.kind = {a_character} AND s.subject_id = v.character_id WHERE v.killmail_id {in_ids}
UNION SELECT s.id, v.killmail_id FROM victims v
JOIN sources s ON s.kind = {a_corporation} AND s.subject_id = v.corporation_id WHERE v.killmail_id {in_ids};

-- name: fresh
UPDATE sources SET last_fresh_at = :at WHERE id = :source_id AND (last_fresh_at IS NULL OR last_fresh_at < :at);

-- name: pending_sources
SELECT rs.source_id, s.weight, COUNT(*) AS pending FROM ref_sources rs
JOIN refs r ON r.killmail_id = rs.killmail_id JOIN sources s ON s.id = rs.source_id
LEFT JOIN users u ON u.id = s.via_user_id
WHERE r.state = 'pending' AND {fetched} GROUP BY rs.source_id, s.weight;

-- name: pending_count
-- Counted up to a limit: who asks wants to know whether there is more, and how much more is not worth a walk
-- through all that a first sync has pending.
SELECT s.weight, s.kind, (SELECT COUNT(*) FROM (
    SELECT 1 FROM ref_sources rs CROSS JOIN refs r
    WHERE rs.source_id = s.id AND r.killmail_id = rs.killmail_id AND r.state = 'pending' LIMIT :limit
) AS counted) AS pending
FROM sources s LEFT JOIN users u ON u.id = s.via_user_id
WHERE s.id = :source_id AND {fetched};

-- name: pending_of
-- CROSS JOIN: SQLite keeps this order, and must not begin with the pending mails of everybody.
-- What we hold ourselves and do not work on was left behind by a release that failed.
SELECT r.killmail_id, r.killmail_hash, r.attempts, r.refusals, r.first_listed_at
FROM ref_sources rs CROSS JOIN refs r
WHERE rs.source_id = :source_id AND r.killmail_id = rs.killmail_id AND r.state = 'pending' AND r.not_before <= {now}
  AND (r.holder IS NULL OR r.holder = :holder)
ORDER BY rs.killmail_id DESC LIMIT :limit;

-- name: ripe_sources
SELECT DISTINCT rs.source_id FROM refs r JOIN ref_sources rs ON rs.killmail_id = r.killmail_id
WHERE r.state = 'pending' AND r.not_before > :after AND r.not_before <= {now};

-- name: next_retry
SELECT MIN(not_before) AS due FROM refs WHERE state = 'pending' AND not_before > {now};

-- name: revive
-- Once a day, for as long as ESI lists it. What counts against it stays: a single refusal more is enough.
UPDATE refs SET state = 'pending', changed_at = {now} WHERE killmail_id IN (
    SELECT killmail_id FROM refs WHERE state = 'quarantined' AND not_before <= {now}
      AND first_listed_at > {now} - CAST(:listed_for AS {real})
    ORDER BY not_before LIMIT :limit
) AND state = 'quarantined' RETURNING killmail_id, killmail_hash, tried;

-- name: ref_next_hash
UPDATE refs SET killmail_hash = :killmail_hash, tried = :tried WHERE killmail_id = :killmail_id;

-- name: retry_all
UPDATE refs SET state = 'pending', reason = NULL, attempts = 0, refusals = 0, not_before = 0, tried = '',
    changed_at = {now}
WHERE state = 'quarantined' RETURNING killmail_id;

-- name: retry
UPDATE refs SET state = 'pending', reason = NULL, attempts = 0, refusals = 0, not_before = 0, tried = '',
    changed_at = {now}
WHERE killmail_id {in_ids} RETURNING killmail_id;

-- name: insert_killmail
INSERT INTO killmails (killmail_id, killmail_hash, killmail_time, solar_system_id, war_id, moon_id,
    attacker_count, solo, npc, feed_position, fresh, origin, listed_at, fetched_at, created_at)
VALUES (:killmail_id, :killmail_hash, :killmail_time, :solar_system_id, :war_id, :moon_id,
    :attacker_count, :solo, :npc, :feed_position, :fresh, :origin, :listed_at, :fetched_at, :created_at);

-- name: raise_feed
UPDATE feed SET position = position + :count WHERE id = 1 RETURNING position, {now_time} AS now;
