-- `npc` said "no attacker has a character". A structure has none either, but the corporation that it
-- shoots for is players' where its id is above 1,999,999.
UPDATE killmails SET npc = {false}
WHERE npc = {true} AND EXISTS (
    SELECT 1 FROM attackers a WHERE a.killmail_id = killmails.killmail_id AND a.corporation_id > 1999999
);
