-- Where the feed stood at each start of a daemon, while no other ran. A cursor names the start that gave its
-- position out, so that one from a copy of this database that went another way is known for such.
CREATE TABLE feed_starts (
    position {int} PRIMARY KEY,
    id TEXT NOT NULL
) {strict};
