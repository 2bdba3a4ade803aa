-- name: grants
SELECT g.user_id, u.character_id, g.access_token, g.refresh_token FROM grants g JOIN users u ON u.id = g.user_id
WHERE g.user_id > :after ORDER BY g.user_id LIMIT :limit;

-- name: grant_put
UPDATE grants SET access_token = :access_token, refresh_token = :refresh_token WHERE user_id = :user_id;

-- name: revocations
SELECT id, character_id, refresh_token FROM revocations WHERE id > :after ORDER BY id LIMIT :limit;

-- name: revocation_put
UPDATE revocations SET refresh_token = :refresh_token WHERE id = :id;

-- name: logins
SELECT state_hash, verifier FROM login_states WHERE state_hash > :after ORDER BY state_hash LIMIT :limit;

-- name: login_put
UPDATE login_states SET verifier = :verifier WHERE state_hash = :state_hash;
