-- name: grant
SELECT u.character_id, g.refresh_token FROM users u LEFT JOIN grants g ON g.user_id = u.id
WHERE u.id = :user_id;

-- name: insert
INSERT INTO revocations (character_id, refresh_token) VALUES (:character_id, :refresh_token) RETURNING id;

-- name: grant_gone
DELETE FROM grants WHERE user_id = :user_id;

-- name: logged_out
UPDATE users SET state = 'left', state_reason = 'logged out', state_since = {now}, expires_at = NULL
WHERE id = :user_id;

-- name: wants_gone
-- Of the pilot's own list: a corporation's that the pilot read is read by others, or waits for another Director.
DELETE FROM wants WHERE source_id IN (SELECT s.id FROM users u JOIN sources s ON {own_list} WHERE u.id = :user_id);

-- name: quiet_sightings [sqlite]
SELECT 1;

-- name: quiet_sightings [postgres]
LOCK TABLE sightings IN SHARE ROW EXCLUSIVE MODE;

-- name: sources
-- The pilot's own: the list at ESI, and what zKillboard says of the character.
SELECT s.id FROM users u JOIN sources s ON s.subject_id = u.character_id AND s.kind IN ({a_character}, {a_zkillboard})
WHERE u.id = :user_id ORDER BY s.id;

-- name: wanted
SELECT killmail_id FROM ref_sources WHERE source_id = :source_id ORDER BY killmail_id;

-- name: only_here
SELECT g.killmail_id FROM sightings g WHERE g.source_id = :source_id AND NOT EXISTS (
    SELECT 1 FROM sightings o WHERE o.killmail_id = g.killmail_id AND o.source_id <> g.source_id
) ORDER BY g.killmail_id;

-- name: keep_asked
-- ESI's cache outlives the pilot: when each page of the list may be asked for again, should they come back.
INSERT INTO gates (name, value)
SELECT 'list-asked:' || s.kind || ':' || CAST(s.subject_id AS TEXT) || ':' || CAST(p.page AS TEXT),
       CASE WHEN p.asked_at > p.answered_at AND p.asked_at + r.ttl > p.expires_at
            THEN p.asked_at + r.ttl ELSE p.expires_at END
FROM sources s JOIN pages p ON p.source_id = s.id CROSS JOIN (
    SELECT COALESCE(MAX(ttl_seconds), 300.0) AS ttl FROM esi_routes WHERE route LIKE '%-killmails'
) r WHERE s.id = :source_id
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE gates.value < excluded.value;

-- name: source_gone
DELETE FROM sources WHERE id = :source_id;

-- name: refs_gone
DELETE FROM refs WHERE killmail_id {in_ids}
AND NOT EXISTS (SELECT 1 FROM ref_sources rs WHERE rs.killmail_id = refs.killmail_id) RETURNING killmail_id;

-- name: killmails_gone
DELETE FROM killmails WHERE killmail_id {in_ids} RETURNING killmail_id;

-- name: documents_gone
DELETE FROM killmail_documents WHERE killmail_id {in_ids};

-- name: victims_gone
DELETE FROM victims WHERE killmail_id {in_ids};

-- name: attackers_gone
DELETE FROM attackers WHERE killmail_id {in_ids};

-- name: items_gone
DELETE FROM killmail_items WHERE killmail_id {in_ids};

-- name: deliveries_gone
DELETE FROM webhook_deliveries WHERE killmail_id {in_ids};

-- name: logins_gone
DELETE FROM login_states WHERE user_id = :user_id;

-- name: user_gone
DELETE FROM users WHERE id = :user_id;

-- name: orphans
SELECT g.source_id, g.killmail_id, g.killmail_hash, g.listed_at FROM sightings g
WHERE g.killmail_id {in_ids}
AND NOT EXISTS (SELECT 1 FROM killmails k WHERE k.killmail_id = g.killmail_id)
AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.killmail_id = g.killmail_id) ORDER BY g.killmail_id, g.listed_at;

-- name: by_id
SELECT id, character_id, refresh_token, attempts, not_before, refusals FROM revocations WHERE id = :id;

-- name: due
SELECT id, character_id, refresh_token, attempts, not_before, refusals FROM revocations
WHERE not_before <= {now} ORDER BY not_before, id LIMIT :limit;

-- name: next_due
SELECT MIN(not_before) AS due FROM revocations;

-- name: failed
UPDATE revocations SET attempts = attempts + 1, not_before = :not_before,
    refusals = CASE WHEN :refused = 1 THEN refusals + 1 ELSE 0 END
WHERE id = :id;

-- name: done
DELETE FROM revocations WHERE id = :id;
