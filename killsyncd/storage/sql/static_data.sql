-- name: build
SELECT COALESCE(MAX(build), 0) AS build FROM static_builds;

-- name: took_over
INSERT INTO static_builds (build, released, loaded_at, changed) VALUES (:build, :released, {now}, :changed)
ON CONFLICT (build) DO NOTHING RETURNING build;

-- name: special_types
-- Types whose price no market decides (pricing/valuation.py).
SELECT t.type_id, t.group_id, g.category_id, t.meta_group_id
FROM types t LEFT JOIN type_groups g ON g.group_id = t.group_id
WHERE g.category_id = :skin OR t.group_id = :capsule OR t.meta_group_id = :abyssal;

-- name: type_ids
SELECT type_id FROM types ORDER BY type_id;

-- name: unknown
-- What stored killmails name and the export does not know, as far as ESI has named it.
SELECT COALESCE(SUM(CASE WHEN n.category = 'inventory_type' AND t.type_id IS NULL THEN 1 ELSE 0 END), 0) AS types,
       COALESCE(SUM(CASE WHEN n.category = 'solar_system' AND s.system_id IS NULL THEN 1 ELSE 0 END), 0) AS systems
FROM names n LEFT JOIN types t ON t.type_id = n.id LEFT JOIN solar_systems s ON s.system_id = n.id
WHERE n.category IN ('inventory_type', 'solar_system');
