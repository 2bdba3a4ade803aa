-- The first schema. Macros in braces: see storage/queries.py.
-- Columns named in the contract keep their names; times there are text on SQLite
-- and timestamptz on PostgreSQL. What only the daemon reads is seconds since 1970.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) {strict};

-- A running daemon. Leases point here; when the row goes, they fall.
CREATE TABLE daemons (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid {int} NOT NULL,
    egress TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at {real} NOT NULL,
    alive_until {real} NOT NULL
) {strict};

-- Written by PostgreSQL's driver alone: the last change that each of its connections committed.
-- Where a connection breaks under a COMMIT, this row says afterwards whether it happened.
CREATE TABLE outcomes (
    slot TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    at {real} NOT NULL
) {strict};

CREATE TABLE switches (
    name TEXT PRIMARY KEY,
    since {real} NOT NULL
) {strict};

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    character_id {int} NOT NULL UNIQUE,
    character_name TEXT NOT NULL,
    owner_hash TEXT,
    scopes TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'needs_login', 'owner_changed', 'scope_missing')),
    state_reason TEXT,
    state_since {real} NOT NULL,
    paused {bool} NOT NULL DEFAULT {false},
    last_killmail_sync_at {time},
    last_killmail_id {int},
    expires_at {time},
    created_at {time} NOT NULL
) {strict};
CREATE INDEX users_by_sync ON users (last_killmail_sync_at);

-- What the SSO gave us, encrypted. `version` is what a writer compares and swaps.
CREATE TABLE grants (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    access_token {bytes},
    refresh_token {bytes},
    expires_at {real} NOT NULL,
    renew_at {real} NOT NULL,
    version {int} NOT NULL,
    unanswered {int} NOT NULL DEFAULT 0,
    doubtful {int} NOT NULL DEFAULT 0,
    failures {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0,
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};
CREATE INDEX grants_by_renewal ON grants (renew_at);
CREATE INDEX grants_by_holder ON grants (holder) WHERE holder IS NOT NULL;

-- A revocation the SSO has not confirmed yet; the token stays encrypted until it has.
CREATE TABLE revocations (
    id {identity},
    character_id {int} NOT NULL,
    refresh_token {bytes} NOT NULL,
    attempts {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0
) {strict};

CREATE TABLE login_states (
    state_hash TEXT PRIMARY KEY,
    door TEXT NOT NULL,
    verifier {bytes} NOT NULL,
    cookie_hash TEXT,
    created_at {real} NOT NULL,
    expires_at {real} NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    user_id TEXT,
    message TEXT
) {strict};

-- A list of killmails somebody may read: a character's today, a corporation's later.
-- kind 'import' stands for what came from files.
CREATE TABLE sources (
    id {identity},
    kind TEXT NOT NULL,
    subject_id {int} NOT NULL,
    via_user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    weight {int} NOT NULL DEFAULT 3,
    unbroken_at {real},
    full_walk_at {real},
    next_poll_at {real} NOT NULL DEFAULT 0,
    created_at {real} NOT NULL,
    UNIQUE (kind, subject_id)
) {strict};
CREATE INDEX sources_by_user ON sources (via_user_id);

CREATE TABLE pages (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    page {int} NOT NULL,
    etag TEXT,
    last_modified TEXT,
    expires_at {real} NOT NULL DEFAULT 0,
    asked_at {real} NOT NULL DEFAULT 0,
    answered_at {real} NOT NULL DEFAULT 0,
    pages {int} NOT NULL DEFAULT 1,
    PRIMARY KEY (source_id, page)
) {strict_clustered};

CREATE TABLE walks (
    id {identity},
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'complete', 'stopped', 'torn', 'cut', 'abandoned')),
    next_page {int} NOT NULL DEFAULT 1,
    pages {int} NOT NULL DEFAULT 1,
    last_modified TEXT,
    torn {bool} NOT NULL DEFAULT {false},
    listed {int} NOT NULL DEFAULT 0,
    new {int} NOT NULL DEFAULT 0,
    started_at {real} NOT NULL,
    finished_at {real}
) {strict};
CREATE INDEX walks_by_source ON walks (source_id, id);
CREATE UNIQUE INDEX walks_running ON walks (source_id) WHERE state = 'running';

-- Every entry of every list, also of mails stored long ago: who brought what, and when.
CREATE TABLE sightings (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    killmail_id {int} NOT NULL,
    killmail_hash TEXT NOT NULL,
    listed_at {real} NOT NULL,
    PRIMARY KEY (source_id, killmail_id)
) {strict_clustered};
CREATE INDEX sightings_by_killmail ON sightings (killmail_id);

-- A mail that is wanted and not stored. It ends stored (the row goes) or quarantined.
CREATE TABLE refs (
    killmail_id {int} PRIMARY KEY,
    killmail_hash TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'quarantined')),
    reason TEXT,
    attempts {int} NOT NULL DEFAULT 0,
    refusals {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0,
    first_listed_at {real} NOT NULL,
    changed_at {real} NOT NULL,
    tried TEXT NOT NULL DEFAULT '',
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};
CREATE INDEX refs_by_state ON refs (state, not_before);
CREATE INDEX refs_by_holder ON refs (holder) WHERE holder IS NOT NULL;

CREATE TABLE ref_sources (
    source_id {int} NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    killmail_id {int} NOT NULL REFERENCES refs (killmail_id) ON DELETE CASCADE,
    PRIMARY KEY (source_id, killmail_id)
) {strict_clustered};
CREATE INDEX ref_sources_by_killmail ON ref_sources (killmail_id);

-- The queue: what each source wants. One row a source; asking again widens it.
CREATE TABLE wants (
    source_id {int} PRIMARY KEY REFERENCES sources (id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    priority {int} NOT NULL CHECK (priority BETWEEN 0 AND 10),
    origin TEXT NOT NULL,
    queued_at {real} NOT NULL,
    not_before {real} NOT NULL DEFAULT 0,
    attempts {int} NOT NULL DEFAULT 0,
    last_error TEXT,
    version {int} NOT NULL DEFAULT 1,
    message_at {real} NOT NULL DEFAULT 0,
    message_priority {int} NOT NULL DEFAULT -1,
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};
CREATE INDEX wants_by_priority ON wants (priority DESC, queued_at) WHERE holder IS NULL;
CREATE INDEX wants_by_holder ON wants (holder) WHERE holder IS NOT NULL;

-- One row: when the producer ran and may run again, and who is running it.
CREATE TABLE producer (
    id {int} PRIMARY KEY CHECK (id = 1),
    last_run_at {real},
    last_finished_at {real},
    last_queued {int} NOT NULL DEFAULT 0,
    next_run_at {real} NOT NULL DEFAULT 0,
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};
INSERT INTO producer (id) VALUES (1);

-- ESI's budgets: floating windows per (group, subject). Times here are ESI's.
CREATE TABLE budgets (
    grp TEXT NOT NULL,
    subject TEXT NOT NULL,
    blocked_until {real} NOT NULL DEFAULT 0,
    PRIMARY KEY (grp, subject)
) {strict_clustered};

-- Tokens out of a bucket: spent, or reserved and not settled yet.
CREATE TABLE spends (
    id {identity},
    grp TEXT NOT NULL,
    subject TEXT NOT NULL,
    tokens {int} NOT NULL,
    returns_at {real} NOT NULL
) {strict};
CREATE INDEX spends_by_bucket ON spends (grp, subject, returns_at);
CREATE INDEX spends_by_return ON spends (returns_at);

-- What headers taught us of ESI's routes. grp NULL: under the old error limit.
CREATE TABLE esi_routes (
    route TEXT PRIMARY KEY,
    grp TEXT,
    token_limit {int} NOT NULL,
    window_seconds {real} NOT NULL,
    ttl_seconds {real} NOT NULL
) {strict};

-- Gates over whole routes (the old error limit), shut until `value`.
CREATE TABLE gates (
    name TEXT PRIMARY KEY,
    value {real} NOT NULL
) {strict};

-- The one counter behind feed positions: read and raised in the committing transaction.
CREATE TABLE feed (
    id {int} PRIMARY KEY CHECK (id = 1),
    position {int} NOT NULL
) {strict};
INSERT INTO feed (id, position) VALUES (1, 0);

CREATE TABLE killmails (
    killmail_id {int} PRIMARY KEY,
    killmail_hash TEXT NOT NULL,
    killmail_time {time} NOT NULL,
    solar_system_id {int} NOT NULL,
    war_id {int},
    moon_id {int},
    attacker_count {int} NOT NULL,
    feed_position {int} NOT NULL UNIQUE,
    fresh {bool} NOT NULL,
    solo {bool} NOT NULL,
    npc {bool} NOT NULL,
    origin TEXT NOT NULL,
    listed_at {real},
    fetched_at {real},
    created_at {time} NOT NULL
) {strict};
CREATE INDEX killmails_by_time ON killmails (killmail_time, killmail_id);
CREATE INDEX killmails_by_system ON killmails (solar_system_id, killmail_time);
CREATE INDEX killmails_by_creation ON killmails (created_at);

-- The JSON as ESI sent it, so that a better parser can be run again offline.
-- The tables of a mail name it without a foreign key: they are written before
-- killmails itself, so that the feed's counter is taken last, and only `erase` deletes.
CREATE TABLE killmail_documents (
    killmail_id {int} PRIMARY KEY,
    document {bytes} NOT NULL
) {strict};

CREATE TABLE victims (
    killmail_id {int} PRIMARY KEY,
    character_id {int},
    corporation_id {int},
    alliance_id {int},
    faction_id {int},
    ship_type_id {int} NOT NULL,
    damage_taken {int} NOT NULL,
    position_x {real},
    position_y {real},
    position_z {real}
) {strict};
CREATE INDEX victims_by_character ON victims (character_id) WHERE character_id IS NOT NULL;
CREATE INDEX victims_by_corporation ON victims (corporation_id) WHERE corporation_id IS NOT NULL;
CREATE INDEX victims_by_alliance ON victims (alliance_id) WHERE alliance_id IS NOT NULL;
CREATE INDEX victims_by_ship ON victims (ship_type_id);

-- NPC attackers can be identical rows: the position in the mail is their key.
CREATE TABLE attackers (
    killmail_id {int} NOT NULL,
    position {int} NOT NULL,
    character_id {int},
    corporation_id {int},
    alliance_id {int},
    faction_id {int},
    ship_type_id {int},
    weapon_type_id {int},
    damage_done {int} NOT NULL,
    final_blow {bool} NOT NULL,
    security_status {real} NOT NULL,
    PRIMARY KEY (killmail_id, position)
) {strict_clustered};
CREATE INDEX attackers_by_character ON attackers (character_id) WHERE character_id IS NOT NULL;
CREATE INDEX attackers_by_corporation ON attackers (corporation_id) WHERE corporation_id IS NOT NULL;
CREATE INDEX attackers_by_alliance ON attackers (alliance_id) WHERE alliance_id IS NOT NULL;

CREATE TABLE killmail_items (
    killmail_id {int} NOT NULL,
    position {int} NOT NULL,
    parent {int},
    item_type_id {int} NOT NULL,
    flag {int} NOT NULL,
    quantity_dropped {int},
    quantity_destroyed {int},
    singleton {int} NOT NULL,
    PRIMARY KEY (killmail_id, position)
) {strict_clustered};

-- Ids of EVE and their names. A row without a name waits to be resolved.
CREATE TABLE names (
    id {int} PRIMARY KEY,
    category TEXT,
    name TEXT,
    attempts {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0
) {strict};
CREATE INDEX names_unresolved ON names (not_before) WHERE name IS NULL;
