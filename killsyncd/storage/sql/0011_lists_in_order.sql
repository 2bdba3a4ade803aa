-- Lists of killmails come out of an index in the order of their time, whatever they are filtered by: a page
-- reads what it shows, however many mails match. For that the tables of a mail know when it was.

-- When the kill was, in seconds since 1970.
ALTER TABLE victims ADD COLUMN killed_at {int} NOT NULL DEFAULT 0;
ALTER TABLE attackers ADD COLUMN killed_at {int} NOT NULL DEFAULT 0;
DROP INDEX victims_by_character;
DROP INDEX victims_by_corporation;
DROP INDEX victims_by_alliance;
DROP INDEX victims_by_ship;
DROP INDEX attackers_by_character;
DROP INDEX attackers_by_corporation;
DROP INDEX attackers_by_alliance;
UPDATE victims SET killed_at = (
    SELECT {kill_epoch} FROM killmails k WHERE k.killmail_id = victims.killmail_id
) WHERE EXISTS (SELECT 1 FROM killmails k WHERE k.killmail_id = victims.killmail_id);
UPDATE attackers SET killed_at = (
    SELECT v.killed_at FROM victims v WHERE v.killmail_id = attackers.killmail_id
) WHERE EXISTS (SELECT 1 FROM victims v WHERE v.killmail_id = attackers.killmail_id);
CREATE INDEX victims_by_character ON victims (character_id, killed_at, killmail_id) WHERE character_id IS NOT NULL;
CREATE INDEX victims_by_corporation ON victims (corporation_id, killed_at, killmail_id)
    WHERE corporation_id IS NOT NULL;
CREATE INDEX victims_by_alliance ON victims (alliance_id, killed_at, killmail_id) WHERE alliance_id IS NOT NULL;
CREATE INDEX victims_by_ship ON victims (ship_type_id, killed_at, killmail_id);
CREATE INDEX attackers_by_character ON attackers (character_id, killed_at, killmail_id)
    WHERE character_id IS NOT NULL;
CREATE INDEX attackers_by_corporation ON attackers (corporation_id, killed_at, killmail_id)
    WHERE corporation_id IS NOT NULL;
CREATE INDEX attackers_by_alliance ON attackers (alliance_id, killed_at, killmail_id) WHERE alliance_id IS NOT NULL;
CREATE INDEX attackers_by_ship ON attackers (ship_type_id, killed_at, killmail_id) WHERE ship_type_id IS NOT NULL;
CREATE INDEX attackers_by_blow ON attackers (character_id, killed_at, killmail_id)
    WHERE character_id IS NOT NULL AND final_blow = {true};

DROP INDEX killmails_by_system;
CREATE INDEX killmails_by_system ON killmails (solar_system_id, killmail_time, killmail_id);
CREATE INDEX killmails_by_war ON killmails (war_id, killmail_time, killmail_id) WHERE war_id IS NOT NULL;
CREATE INDEX killmails_by_solo ON killmails (solo, killmail_time, killmail_id);
CREATE INDEX killmails_by_npc ON killmails (npc, killmail_time, killmail_id);
-- At least so many attackers: the index of the greatest of these that is no more (FEWEST in filtering.py).
CREATE INDEX killmails_of_2 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 2;
CREATE INDEX killmails_of_5 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 5;
CREATE INDEX killmails_of_10 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 10;
CREATE INDEX killmails_of_25 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 25;
CREATE INDEX killmails_of_50 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 50;
CREATE INDEX killmails_of_100 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 100;
CREATE INDEX killmails_of_250 ON killmails (killmail_time, killmail_id, attacker_count) WHERE attacker_count >= 250;
CREATE INDEX killmails_of_1000 ON killmails (killmail_time, killmail_id, attacker_count)
    WHERE attacker_count >= 1000;
