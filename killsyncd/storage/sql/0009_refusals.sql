-- 403s in a row on a list, with a token that has the scope; by the database's clock. A list may be read with
-- several pilots' tokens: what ESI says to one of them says nothing of the others.
CREATE TABLE list_refusals (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    refusals {int} NOT NULL,
    first_refused_at {real} NOT NULL,
    refused_at {real} NOT NULL,
    PRIMARY KEY (source_id, user_id)
) {strict_clustered};
CREATE INDEX list_refusals_by_user ON list_refusals (user_id);
-- When those were heard nobody knows: they begin anew.
ALTER TABLE grants DROP COLUMN list_refusals;

-- When ESI last gave this list to somebody, by the database's clock.
ALTER TABLE sources ADD COLUMN accepted_at {real};

-- Since when ESI says that there is no such page (404), by its clock; 0: it does not.
ALTER TABLE pages ADD COLUMN gone_at {real} NOT NULL DEFAULT 0;
