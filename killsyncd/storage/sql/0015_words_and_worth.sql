-- Names by their words, so that a search reads an index: words are in lower case, without accents.
CREATE TABLE name_words (
    id {int} NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (id, word)
) {strict_clustered};
CREATE INDEX name_words_in_order ON name_words (word {binary}, id);

-- Lists of what was worth so much, in the order of time; as for attackers (0011). In hundredths of an ISK.
ALTER TABLE killmail_values ADD COLUMN killed_at {int} NOT NULL DEFAULT 0;
UPDATE killmail_values SET killed_at = (
    SELECT v.killed_at FROM victims v WHERE v.killmail_id = killmail_values.killmail_id
) WHERE EXISTS (SELECT 1 FROM victims v WHERE v.killmail_id = killmail_values.killmail_id);
CREATE INDEX killmail_values_of_0 ON killmail_values (killed_at, killmail_id, total) WHERE total >= 0;
CREATE INDEX killmail_values_of_10m ON killmail_values (killed_at, killmail_id, total) WHERE total >= 1000000000;
CREATE INDEX killmail_values_of_100m ON killmail_values (killed_at, killmail_id, total) WHERE total >= 10000000000;
CREATE INDEX killmail_values_of_1b ON killmail_values (killed_at, killmail_id, total) WHERE total >= 100000000000;
CREATE INDEX killmail_values_of_10b ON killmail_values (killed_at, killmail_id, total) WHERE total >= 1000000000000;
CREATE INDEX killmail_values_of_100b ON killmail_values (killed_at, killmail_id, total)
    WHERE total >= 10000000000000;
