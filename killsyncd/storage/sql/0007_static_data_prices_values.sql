-- CCP's static data, prices by the day, and what each killmail was worth.
--
-- To read them:
-- * A type's category is its group's: types JOIN type_groups USING (group_id). An id that the export does not
--   know yet has no row, so always LEFT JOIN. The six tables are plain and hold one build; a newer one changes
--   them within one transaction. All empty: [static_data] is off, or nothing has come yet.
-- * Money is whole hundredths of an ISK, days are numbers like 20261130 (of UTC, as killmail_time's day).
-- * A killmail without a row in killmail_values is not valued yet, or nothing is known (GraphQL: null).
--   Rows come after the mail's own, up to a second later, and may change: whoever keeps sums of them has to
--   take part in the transaction that writes them (storage/repositories/values.py, `keep`).

CREATE TABLE type_categories (
    category_id {int} PRIMARY KEY,
    name TEXT NOT NULL
) {strict};

CREATE TABLE type_groups (
    group_id {int} PRIMARY KEY,
    category_id {int} NOT NULL,
    name TEXT NOT NULL
) {strict};
CREATE INDEX type_groups_by_category ON type_groups (category_id);

CREATE TABLE types (
    type_id {int} PRIMARY KEY,
    group_id {int} NOT NULL,
    meta_group_id {int},
    name TEXT NOT NULL
) {strict};
CREATE INDEX types_by_group ON types (group_id);

CREATE TABLE regions (
    region_id {int} PRIMARY KEY,
    name TEXT NOT NULL
) {strict};

CREATE TABLE constellations (
    constellation_id {int} PRIMARY KEY,
    region_id {int} NOT NULL,
    name TEXT NOT NULL
) {strict};
CREATE INDEX constellations_by_region ON constellations (region_id);

-- security is CCP's securityStatus, not rounded.
CREATE TABLE solar_systems (
    system_id {int} PRIMARY KEY,
    constellation_id {int} NOT NULL,
    region_id {int} NOT NULL,
    security {real} NOT NULL,
    name TEXT NOT NULL
) {strict};
CREATE INDEX solar_systems_by_region ON solar_systems (region_id);
CREATE INDEX solar_systems_by_constellation ON solar_systems (constellation_id);

-- Builds of the export that were taken over, CCP's number; the highest is the one in the tables.
CREATE TABLE static_builds (
    build {int} PRIMARY KEY,
    released TEXT NOT NULL,
    loaded_at {real} NOT NULL,
    changed {int} NOT NULL
) {strict};

-- Tasks that one daemon does for all that share the database: how far they are, and what stopped them last.
-- position: the build, the day or the feed position that is done. until: where a pass over stored mails ends;
-- NULL while there is none. validator: the ETag of what was read last.
CREATE TABLE background_tasks (
    name TEXT PRIMARY KEY,
    position {int} NOT NULL DEFAULT 0,
    until {int},
    validator TEXT,
    tried_at {real},
    succeeded_at {real},
    next_at {real} NOT NULL DEFAULT 0,
    failures {int} NOT NULL DEFAULT 0,
    problem TEXT,
    remedy TEXT,
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};

-- ESI's average prices of a day, packed (pricing/price_day.py). applied: the mails of this day, and of those
-- before it that have none of their own, were valued by it.
CREATE TABLE esi_prices (
    day {int} PRIMARY KEY,
    prices {bytes} NOT NULL,
    types {int} NOT NULL,
    fetched_at {real} NOT NULL,
    expires_at {real} NOT NULL,
    applied {bool} NOT NULL DEFAULT {false}
) {strict};

-- Averages of The Forge's market on days that we did not see ourselves. prices NULL: there was no file of
-- that day yet; it is asked for again from not_before on.
CREATE TABLE market_history (
    day {int} PRIMARY KEY,
    prices {bytes},
    types {int} NOT NULL DEFAULT 0,
    fetched_at {real} NOT NULL,
    attempts {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0,
    applied {bool} NOT NULL DEFAULT {false}
) {strict};

-- The first and the last of those days on which a type has a price.
CREATE TABLE priced_types (
    type_id {int} PRIMARY KEY,
    first_day {int} NOT NULL,
    last_day {int} NOT NULL
) {strict};

-- total = destroyed + dropped = ship + fitted + cargo. method and priced_on: pricing/valuation.py.
-- unpriced: types without a price, a JSON array of ids, NULL for none. unknown: how many of its types the
-- static data did not know. earlier_*: what was there before the last change, for `ctl explain`.
CREATE TABLE killmail_values (
    killmail_id {int} PRIMARY KEY REFERENCES killmails (killmail_id) ON DELETE CASCADE,
    total {int} NOT NULL,
    destroyed {int} NOT NULL,
    dropped {int} NOT NULL,
    ship {int} NOT NULL,
    fitted {int} NOT NULL,
    cargo {int} NOT NULL,
    method TEXT NOT NULL,
    priced_on {int} NOT NULL,
    unpriced TEXT,
    unknown {int} NOT NULL DEFAULT 0,
    valued_at {real} NOT NULL,
    changes {int} NOT NULL DEFAULT 0,
    earlier_total {int},
    earlier_method TEXT,
    earlier_priced_on {int}
) {strict};
CREATE INDEX killmail_values_by_total ON killmail_values (total, killmail_id);
CREATE INDEX killmail_values_unknown ON killmail_values (killmail_id) WHERE unknown > 0;
