-- What a list's answers vouch for, and what on them could not be read.

-- When ESI last sent this page's entries, by its own clock: a 304 tells of no entry.
ALTER TABLE pages ADD COLUMN body_at {real} NOT NULL DEFAULT 0;

-- Why a walk vouches for nothing although it came to its end; NULL where it vouches.
ALTER TABLE walks ADD COLUMN doubt TEXT;
-- When ESI made the list that this walk reads, as its first page told; ESI's clock.
ALTER TABLE walks ADD COLUMN made_at {real};
-- How it was read before, page by page, nobody knows any more.
UPDATE walks SET doubt = 'unchanged' WHERE state = 'running';

-- When ESI made the latest list that vouches for something, by its clock. It caches a list for 300 s.
ALTER TABLE sources ADD COLUMN vouched_at {real};
UPDATE sources SET vouched_at = unbroken_at - 300 WHERE unbroken_at IS NOT NULL;

-- Entries of lists that were set aside: what can be told of them, without any hash.
CREATE TABLE unreadable (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    entry TEXT NOT NULL,
    reason TEXT NOT NULL,
    listed_at {real} NOT NULL,
    walk_id {int} NOT NULL,
    PRIMARY KEY (source_id, entry)
) {strict_clustered};

-- Names that ESI once refused were put off for a week: a passing no is not a fact.
UPDATE names SET not_before = 0 WHERE name IS NULL;
