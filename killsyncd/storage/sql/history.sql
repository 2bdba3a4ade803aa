-- name: days
SELECT day, mails FROM history_days WHERE archive = :archive AND scope = :scope ORDER BY day;

-- name: days_refused
SELECT day FROM history_days WHERE archive = :archive AND scope = :scope AND refused > 0 ORDER BY day;

-- name: day_read
INSERT INTO history_days (archive, scope, day, mails, kept, stored, refused, read_at)
VALUES (:archive, :scope, :day, :mails, :kept, :stored, :refused, {now})
ON CONFLICT (archive, scope, day) DO UPDATE SET mails = excluded.mails, kept = excluded.kept,
    stored = excluded.stored, refused = excluded.refused, read_at = excluded.read_at;

-- name: our_pilots
SELECT character_id FROM users ORDER BY character_id;

-- name: our_corporations
SELECT subject_id FROM sources WHERE kind = {a_corporation} ORDER BY subject_id;
