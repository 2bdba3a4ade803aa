"""The schema: made once, found again, and never laid over what is not ours."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.core.errors import SchemaRefused
from killsyncd.storage import migrations as migrating
from killsyncd.storage.migrations import Migratable, Migration, application, migrate, migrations, state
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Backend


async def tables(store: Migratable) -> set[str]:
    return await store.read(migrating._tables)


async def test_a_fresh_database_gets_everything_and_a_second_time_nothing(empty: Backend) -> None:
    store = await empty.open()
    assert await state(store) == []
    assert await migrate(store) == [each.number for each in migrations()]
    assert await migrate(store) == []
    assert await application(store) == "killsyncd"
    assert {"users", "killmails", "victims", "attackers", "killmail_items"} <= await tables(store)


async def test_every_database_has_a_feed_epoch(store: Migratable) -> None:
    def epoch() -> Tx[str]:
        rows = yield Sql("SELECT value FROM meta WHERE key = 'feed_epoch'", {})
        return str(rows[0][0])

    assert len(await store.read(epoch)) == 8


async def test_tables_of_somebody_else_are_refused_and_left_alone(empty: Backend) -> None:
    store = await empty.open()
    await store.script(["CREATE TABLE users (id INTEGER)", "CREATE TABLE invoices (id INTEGER)"])
    with pytest.raises(SchemaRefused, match="not killsyncd's"):
        await migrate(store)
    assert await tables(store) == {"users", "invoices"}


async def test_another_program_s_migrations_are_refused(empty: Backend) -> None:
    store = await empty.open()
    await store.script(
        ["CREATE TABLE schema_migrations (version INTEGER)", "CREATE TABLE meta (key INTEGER)"]
    )
    with pytest.raises(SchemaRefused):
        await migrate(store)


async def test_a_newer_schema_is_refused(store: Migratable) -> None:
    await store.script(
        [
            "INSERT INTO schema_migrations (number, name, checksum, applied_at)"
            " VALUES (9999, 'from_the_future', 'x', 0)"
        ]
    )
    with pytest.raises(SchemaRefused, match="9999"):
        await migrate(store)


async def test_a_migration_that_was_changed_is_refused(store: Migratable) -> None:
    await store.script(["UPDATE schema_migrations SET checksum = 'other' WHERE number = 1"])
    with pytest.raises(SchemaRefused, match="different killsyncd"):
        await migrate(store)


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await empty.open()
    broken = Migration(1, "broken", "CREATE TABLE half (id INTEGER); CREATE TABLE half (id INTEGER);")
    monkeypatch.setattr(migrating, "migrations", lambda: [broken])
    with pytest.raises(Exception, match="half"):
        await migrate(store)
    assert await tables(store) == set()


async def test_daemons_that_start_at_once_migrate_once(empty: Backend) -> None:
    first, second = await empty.open(), await empty.open()
    if first.exclusive:
        return  # there is no second daemon
    done = await asyncio.gather(migrate(first), migrate(second))
    assert sorted(done, key=len)[0] == []
    assert sorted(done, key=len)[1] == [each.number for each in migrations()]


async def test_structures_that_shot_are_no_npcs_in_a_database_of_the_schema_before(empty: Backend) -> None:
    store = await empty.open()
    await migrate_to(store, 1)
    false, true = ("0", "1") if store.dialect == "sqlite" else ("FALSE", "TRUE")
    mails = {1: "98000001", 2: "1000125", 3: "NULL", 4: "2000000", 5: "1999999"}
    statements = []
    for number, corporation in mails.items():
        statements += [
            "INSERT INTO killmails (killmail_id, killmail_hash, killmail_time, solar_system_id,"
            " attacker_count, feed_position, fresh, solo, npc, origin, created_at) VALUES"
            f" ({number}, 'x', '2026-01-01 00:00:00', 1, 1, {number}, {false}, {false}, {true}, 'esi',"
            " '2026-01-01 00:00:00')",
            "INSERT INTO attackers (killmail_id, position, corporation_id, damage_done, final_blow,"
            f" security_status) VALUES ({number}, 0, {corporation}, 1, {true}, 0.0)",
        ]
    await store.script(statements)
    assert await migrate(store) == [each.number for each in migrations()][1:]

    def npcs() -> Tx[dict[int, bool]]:
        rows = yield Sql("SELECT killmail_id, npc FROM killmails", {})
        return {int(row[0]): bool(row[1]) for row in rows}

    assert await store.read(npcs) == {1: False, 2: True, 3: True, 4: False, 5: True}


async def migrate_to(store: Migratable, number: int) -> None:
    """A database as an older release left it."""
    with pytest.MonkeyPatch.context() as patch:
        older = [each for each in migrations() if each.number <= number]
        patch.setattr(migrating, "migrations", lambda: older)
        await migrate(store)
