"""Migrations over a database to which its operator has added views, indexes and triggers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from killsyncd.core.errors import SchemaRefused
from killsyncd.storage import migrations as migrating
from killsyncd.storage.migrations import Migratable, Migration, migrate, migrations, state
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Backend
from tests.contract.test_migrations import migrate_to

LOGINS_BEFORE = """\
-- A logout has a state of its own. The constraint on a column cannot be changed in SQLite, a column can.
ALTER TABLE users ADD COLUMN state_now TEXT NOT NULL DEFAULT 'ok'
    CHECK (state_now IN ('ok', 'needs_login', 'owner_changed', 'scope_missing', 'left'));
UPDATE users SET state_now = CASE
    WHEN state = 'needs_login' AND state_reason = 'logged out' THEN 'left' ELSE state END;
ALTER TABLE users DROP COLUMN state;
ALTER TABLE users RENAME COLUMN state_now TO state;

-- When the SSO began to refuse the refresh token (`doubtful` counts how often), and how often in a row ESI
-- refused the list although the token has the scope.
ALTER TABLE grants ADD COLUMN refused_since {real};
ALTER TABLE grants ADD COLUMN list_refusals {int} NOT NULL DEFAULT 0;

-- How often in a row the SSO said that it does not know the token which is to be revoked.
ALTER TABLE revocations ADD COLUMN refusals {int} NOT NULL DEFAULT 0;
"""
"""The text that 0004 had before."""


def run(statement: str) -> Tx[list[tuple[Any, ...]]]:
    rows = yield Sql(statement, {})
    return [tuple(row[at] for at in range(len(row))) for row in rows]


def additions_of(dialect: str) -> list[str]:
    """What an operator may well have added to schema 3."""
    common = [
        "CREATE TABLE notes (user_id TEXT, note TEXT)",
        "CREATE VIEW pilots AS SELECT character_name, state FROM users",
        'CREATE VIEW "who, and how many" AS SELECT state, COUNT(*) AS many FROM pilots GROUP BY state',
        "CREATE INDEX my_states ON users (state, character_name)",
    ]
    if dialect == "sqlite":
        return [
            *common,
            "CREATE TRIGGER audit AFTER UPDATE OF state ON users WHEN NEW.state <> OLD.state BEGIN"
            " INSERT INTO notes VALUES (NEW.id, OLD.state || ' to ' || NEW.state); END",
            "CREATE TRIGGER write_pilots INSTEAD OF DELETE ON pilots BEGIN SELECT 1; END",
        ]
    return [
        *common,
        "CREATE MATERIALIZED VIEW kept AS SELECT state FROM users",
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO notes VALUES (NEW.id, NEW.state); RETURN NULL; END $$",
        "CREATE TRIGGER audit AFTER UPDATE OF state ON users FOR EACH ROW WHEN (NEW.state <> OLD.state)"
        " EXECUTE FUNCTION audit()",
        "COMMENT ON VIEW pilots IS 'mine'",
    ]


USER = (
    "INSERT INTO users (id, character_id, character_name, state, state_since, created_at)"
    " VALUES ('u1', 1, 'A Pilot', 'ok', 0, '2026-01-01 00:00:00')"
)


async def objects(store: Migratable) -> list[tuple[Any, ...]]:
    """Views, indexes and triggers, as the database says what they are."""
    if store.dialect == "sqlite":
        return await store.read(
            run, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'table' ORDER BY 1, 2"
        )
    found = await store.read(
        run,
        "SELECT viewname, definition, obj_description(viewname::regclass) FROM pg_views"
        " WHERE schemaname = current_schema() AND viewname = 'pilots'"
        " UNION ALL SELECT indexname, indexdef, '' FROM pg_indexes WHERE schemaname = current_schema()"
        " UNION ALL SELECT tgname, pg_get_triggerdef(oid), '' FROM pg_trigger WHERE NOT tgisinternal"
        " UNION ALL SELECT matviewname, definition, '' FROM pg_matviews ORDER BY 1",
    )
    return found


async def test_views_indexes_and_triggers_of_an_operator_are_there_after_every_migration(
    empty: Backend,
) -> None:
    store = await empty.open()
    await migrate_to(store, 3)
    await store.script([*additions_of(store.dialect), USER])
    before = await objects(store)
    assert await migrate(store) == [each.number for each in migrations()][3:]
    names = {"pilots", "who, and how many", "my_states", "audit"}
    after = [each for each in await objects(store) if not names.isdisjoint(each)]
    assert after == [each for each in before if not names.isdisjoint(each)]
    assert await store.read(run, "SELECT * FROM pilots") == [("A Pilot", "ok")]
    assert await store.read(run, "SELECT * FROM notes") == []
    await store.script(["UPDATE users SET state = 'left'"])
    assert len(await store.read(run, "SELECT * FROM notes")) == 1
    assert await store.read(run, 'SELECT state, many FROM "who, and how many"') == [("left", 1)]


async def test_a_view_that_was_broken_before_stays_what_it_was(empty: Backend) -> None:
    store = await empty.open()
    if store.dialect != "sqlite":
        return  # PostgreSQL has no broken views
    await migrate_to(store, 3)
    await store.script(["CREATE VIEW broken AS SELECT gone FROM nowhere"])
    await migrate(store)
    assert ("view", "broken", "broken", "CREATE VIEW broken AS SELECT gone FROM nowhere") in await objects(
        store
    )


async def test_what_stands_in_a_migration_s_way_is_named_with_the_remedy(
    empty: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await empty.open()
    await migrate(store)
    await store.script(["CREATE TABLE to_come (mine INTEGER)"])
    known = migrations()
    coming = Migration(9000, "coming", "CREATE TABLE to_come (id INTEGER);")
    monkeypatch.setattr(migrating, "migrations", lambda: [*known, coming])
    with pytest.raises(SchemaRefused, match="to_come") as caught:
        await migrate(store)
    assert "drop what you have added" in caught.value.hint
    assert await state(store) == [each.number for each in known]


@pytest.mark.postgres
async def test_a_view_that_needs_a_column_which_goes_is_named(
    shared: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await shared.open()
    await store.script(["CREATE VIEW pilots AS SELECT state_reason FROM users"])
    known = migrations()
    coming = Migration(9000, "coming", "ALTER TABLE users DROP COLUMN state_reason;")
    monkeypatch.setattr(migrating, "migrations", lambda: [*known, coming])
    with pytest.raises(SchemaRefused, match="view pilots depends on column state_reason of table users"):
        await migrate(store)


async def test_a_migration_that_got_another_text_makes_the_same_schema(empty: Backend) -> None:
    """A database that has the earlier text stays as it is, and what both make is equal."""
    number = 4
    known = migrations()[number - 1]
    assert known.made(hashlib.sha256(LOGINS_BEFORE.encode()).hexdigest())
    before = Migration(number, known.name, LOGINS_BEFORE)
    old, new = await empty.open(), await empty.open()
    await migrate_to(old, 3)
    made: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrating, "migrations", lambda: [*migrations()[:3], before])
        await migrate(old)
    made["before"] = await users_table(old)
    assert (await state(old))[-1] == number
    assert await migrate(old) == [each.number for each in migrations()][number:]
    if old.dialect == "sqlite":
        assert known.statements("sqlite") == before.statements("sqlite")
        return
    await new.script(["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"])
    await migrate_to(new, number)
    assert await users_table(new) == made["before"]


async def users_table(store: Migratable) -> object:
    """Columns and constraints of `users`, without the order of columns."""
    if store.dialect == "sqlite":
        return await store.read(run, "SELECT sql FROM sqlite_master WHERE name = 'users'")
    columns = await store.read(
        run,
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_name = 'users' AND table_schema = current_schema() ORDER BY 1",
    )
    constraints = await store.read(
        run,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'users'::regclass ORDER BY 1",
    )
    return columns, constraints
