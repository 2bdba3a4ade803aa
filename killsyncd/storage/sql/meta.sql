-- name: tables [sqlite]
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%';

-- name: tables [postgres]
SELECT tablename FROM pg_tables WHERE schemaname = current_schema();

-- name: get
SELECT value FROM meta WHERE key = :key;

-- name: put
INSERT INTO meta (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: put_new
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING;

-- name: now
SELECT {now} AS now;

-- name: switches
SELECT name, since FROM switches;

-- name: daemon_join
INSERT INTO daemons (id, host, pid, egress, version, started_at, alive_until)
VALUES (:id, :host, :pid, :egress, :version, {now}, {now} + :seconds);

-- name: daemon_beat
UPDATE daemons SET alive_until = {now} + :seconds WHERE id = :id AND alive_until >= {now} RETURNING id;

-- name: daemon_leave
DELETE FROM daemons WHERE id = :id;

-- name: daemons_dead
DELETE FROM daemons WHERE alive_until < {now} RETURNING id;

-- name: daemons_all
DELETE FROM daemons;

-- name: feed_locked
UPDATE feed SET position = position WHERE id = 1 RETURNING position;

-- name: feed_start
INSERT INTO feed_starts (position, id) VALUES (:position, :id)
ON CONFLICT (position) DO UPDATE SET id = excluded.id;

-- name: feed_starts
SELECT position, id FROM feed_starts ORDER BY position;

-- name: daemons_alive
SELECT id, host, pid, egress, version, started_at FROM daemons WHERE alive_until >= {now} ORDER BY started_at;
