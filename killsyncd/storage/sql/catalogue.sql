-- What CCP's static data say of what is on a killmail, what it was worth, and names by their words.

-- name: systems
SELECT s.system_id, s.security, s.region_id, r.name AS region, s.constellation_id, c.name AS constellation
FROM solar_systems s LEFT JOIN regions r ON r.region_id = s.region_id
LEFT JOIN constellations c ON c.constellation_id = s.constellation_id
WHERE s.system_id {in_ids};

-- name: types
SELECT t.type_id, t.name, t.group_id, g.name AS type_group, g.category_id, c.name AS category
FROM types t LEFT JOIN type_groups g ON g.group_id = t.group_id
LEFT JOIN type_categories c ON c.category_id = g.category_id
WHERE t.type_id {in_ids};

-- name: regions
SELECT region_id, name FROM regions WHERE region_id {in_ids};

-- name: values
SELECT killmail_id, total, destroyed, dropped, ship, fitted, cargo, unpriced, priced_on, method
FROM killmail_values WHERE killmail_id {in_ids};

-- name: all_systems
SELECT system_id, region_id, constellation_id, security FROM solar_systems
WHERE region_id = COALESCE(CAST(:region_id AS {int}), region_id)
  AND constellation_id = COALESCE(CAST(:constellation_id AS {int}), constellation_id);

-- name: types_of_group
SELECT type_id FROM types WHERE group_id = :group_id;

-- name: types_of_category
SELECT t.type_id FROM types t JOIN type_groups g ON g.group_id = t.group_id WHERE g.category_id = :category_id;

-- name: named_after
SELECT id, name FROM names WHERE id > :after AND name IS NOT NULL ORDER BY id LIMIT :limit;

-- name: by_id
SELECT id, name, category FROM names WHERE id = :id AND name IS NOT NULL;

-- name: places
SELECT region_id AS id, name, 'region' AS category FROM regions
UNION ALL SELECT constellation_id, name, 'constellation' FROM constellations
UNION ALL SELECT group_id, name, 'group' FROM type_groups
UNION ALL SELECT category_id, name, 'category' FROM type_categories;
