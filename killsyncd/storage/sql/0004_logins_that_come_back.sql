-- A logout has a state of its own.
-- [sqlite] The constraint on a column cannot be changed, a column can.
ALTER TABLE users ADD COLUMN state_now TEXT NOT NULL DEFAULT 'ok'
    CHECK (state_now IN ('ok', 'needs_login', 'owner_changed', 'scope_missing', 'left'));
UPDATE users SET state_now = CASE
    WHEN state = 'needs_login' AND state_reason = 'logged out' THEN 'left' ELSE state END;
ALTER TABLE users DROP COLUMN state;
ALTER TABLE users RENAME COLUMN state_now TO state;
-- [postgres] With the column would go an operator's views, indexes and rights on it.
ALTER TABLE users DROP CONSTRAINT users_state_check;
ALTER TABLE users ADD CONSTRAINT users_state_now_check
    CHECK (state IN ('ok', 'needs_login', 'owner_changed', 'scope_missing', 'left'));
UPDATE users SET state = 'left' WHERE state = 'needs_login' AND state_reason = 'logged out';
-- [both]

-- When the SSO began to refuse the refresh token (`doubtful` counts how often), and how often in a row ESI
-- refused the list although the token has the scope.
ALTER TABLE grants ADD COLUMN refused_since {real};
ALTER TABLE grants ADD COLUMN list_refusals {int} NOT NULL DEFAULT 0;

-- How often in a row the SSO said that it does not know the token which is to be revoked.
ALTER TABLE revocations ADD COLUMN refusals {int} NOT NULL DEFAULT 0;
