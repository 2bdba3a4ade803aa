-- Days of public archives that were read (`killsyncd import --everef`). scope: whose mails were kept, as text; other
-- people are another scope. mails: how many the archive said there are; a day that has grown is read again.
CREATE TABLE history_days (
    archive TEXT NOT NULL,
    scope TEXT NOT NULL,
    day {int} NOT NULL,
    mails {int} NOT NULL,
    kept {int} NOT NULL,
    stored {int} NOT NULL,
    refused {int} NOT NULL,
    read_at {real} NOT NULL,
    PRIMARY KEY (archive, scope, day)
) {strict_clustered};
