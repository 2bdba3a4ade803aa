-- Pilots that are one player's, as the operator says (`ctl group`).
CREATE TABLE pilot_groups (
    character_id {int} PRIMARY KEY,
    name TEXT NOT NULL
) {strict};
