"""The schema: made once, found again, and never laid over what is not ours."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from killsyncd.core.errors import RowRefused, SchemaRefused
from killsyncd.core.model import UserState
from killsyncd.storage import migrations as migrating
from killsyncd.storage.migrations import Migratable, Migration, migrate, migrations, state
from killsyncd.storage.queries import expand
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Backend
from tests.support.clocks import START


async def tables(store: Migratable) -> set[str]:
    return await store.read(migrating._tables)


async def test_a_fresh_database_gets_everything_and_a_second_time_nothing(empty: Backend) -> None:
    store = await empty.open()
    assert await state(store) == []
    assert await migrate(store) == [each.number for each in migrations()]
    assert await migrate(store) == []

    def says() -> Tx[str]:
        rows = yield Sql("SELECT value FROM meta WHERE key = 'application'", {})
        return str(rows[0][0])

    assert await store.read(says) == "killsyncd"
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


async def test_who_had_logged_out_before_the_state_had_a_name_is_left(empty: Backend) -> None:
    """The others keep their state, and whoever was disabled by one answer is asked for again."""
    store = await empty.open()
    known = migrations()
    number = next(each.number for each in known if each.name == "logins_that_come_back")
    for migration in known[: number - 1]:
        await store.script(migration.statements(store.dialect))
    users = [
        ("gone", 1, "needs_login", "logged out"),
        ("refused", 2, "needs_login", "the SSO says that the login has ended"),
        ("unscoped", 3, "scope_missing", "ESI refuses the list"),
        ("fine", 4, "ok", None),
    ]
    now = expand("{now}, {now_time}", store.dialect)

    def before() -> Tx[None]:
        for user_id, character, state_then, reason in users:
            yield Sql(
                "INSERT INTO users (id, character_id, character_name, owner_hash, state, state_reason, "
                f"state_since, created_at) VALUES (:id, :character, 'A Name', 'o', :state, :reason, {now})",
                {"id": user_id, "character": character, "state": state_then, "reason": reason},
            )
        yield Sql(
            "INSERT INTO grants (user_id, refresh_token, expires_at, renew_at, version) "
            "VALUES ('unscoped', :token, 0, 0, 7)",
            {"token": b"refresh"},
        )

    await store.write(before)
    for migration in known[number - 1 :]:
        await store.script(migration.statements(store.dialect))
    found = {each.id: each.state for each in await UserRepository(store).all()}
    assert found == {
        "gone": UserState.LEFT,
        "refused": UserState.NEEDS_LOGIN,
        "unscoped": UserState.SCOPE_MISSING,
        "fine": UserState.OK,
    }
    assert await GrantRepository(store).due(START, 10) == ["unscoped"]

    def wrong() -> Tx[None]:
        yield Sql("UPDATE users SET state = 'elsewhere' WHERE id = 'fine'", {})

    with pytest.raises(RowRefused):
        await store.write(wrong)


async def test_mails_of_the_schema_before_know_their_time_in_every_table(empty: Backend) -> None:
    """Lists walk indexes of these; a mail half-way through an erasure has no row in killmails."""
    store = await empty.open()
    number = next(each.number for each in migrations() if each.name == "lists_in_order")
    await migrate_to(store, number - 1)
    false = "0" if store.dialect == "sqlite" else "FALSE"
    await store.script(
        [
            "INSERT INTO killmails (killmail_id, killmail_hash, killmail_time, solar_system_id,"
            " attacker_count, feed_position, fresh, solo, npc, origin, created_at) VALUES"
            f" (1, 'x', '2026-01-01 00:00:07+00', 1, 2, 1, {false}, {false}, {false}, 'esi',"
            " '2026-01-01 00:00:00')".replace("+00'" if store.dialect == "sqlite" else "\x00", "'"),
            "INSERT INTO victims (killmail_id, ship_type_id, damage_taken) VALUES (1, 587, 1), (2, 587, 1)",
            "INSERT INTO attackers (killmail_id, position, damage_done, final_blow, security_status)"
            f" VALUES (1, 0, 1, {false}, 0.0), (1, 1, 1, {false}, 0.0), (2, 0, 1, {false}, 0.0)",
        ]
    )
    await migrate(store)

    def times() -> Tx[list[tuple[int, int]]]:
        rows = yield Sql(
            "SELECT killmail_id, killed_at FROM victims UNION ALL"
            " SELECT killmail_id, killed_at FROM attackers ORDER BY 1",
            {},
        )
        return [(int(row[0]), int(row[1])) for row in rows]

    at = int(datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC).timestamp())
    assert await store.read(times) == [(1, at), (1, at), (1, at), (2, 0), (2, 0)]
