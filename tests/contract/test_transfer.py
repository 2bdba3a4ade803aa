"""Moving a whole store between databases, either way."""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.errors import KillsyncdError, Refused, SchemaRefused
from killsyncd.core.model import UserState
from killsyncd.storage import transfer as moving
from killsyncd.storage.migrations import Migratable, migrate, state
from killsyncd.storage.schema import tables
from killsyncd.storage.transaction import Sql, Tx
from killsyncd.storage.transfer import LEFT_BEHIND, TransferReport, moved_tables, transfer
from killsyncd.sync.batch import Arrival
from tests.contract.conftest import POSTGRES, Backend, Postgres, Sqlite
from tests.support.server_urls import create_database
from tests.support.storage_world import Pilot, StorageWorld, arrival, run


def quiet(table: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(params=["sqlite", POSTGRES])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Migratable]:
    """An empty database of the other kind than the one moved from, or of the same."""
    if request.param == "postgres":
        other: Backend = Postgres(await create_database())
    else:
        other = Sqlite(tmp_path / "other.db")
    yield await other.open()
    await other.close()


@pytest.fixture
async def lived_in(world: StorageWorld) -> StorageWorld:
    """A store with something in every table that a daemon fills."""
    one, two = await world.pilot(90000001, "John Döe"), await world.pilot(90000002, "Jane")
    await world.listed(one, *range(1, 30))
    await world.listed(two, *range(20, 40))
    await world.store_mails(*range(1, 25), names=[587, 11])
    await quarantine(world, one)
    await world.users.mark(two.user_id, UserState.NEEDS_LOGIN, "the grant is gone")
    await world.users.pause(two.user_id, paused=True)
    await world.want(one)
    await world.job(await world.pilot(90000003))
    await world.store.write(run, "operations.switch_on", name="producer")
    await world.store.write(
        run, "budgets.spend", grp="killmail", subject="1", tokens=7, returns_at=1e9 + 0.125, open_until=1e9
    )
    await world.store.write(run, "budgets.bucket", grp="killmail", subject="1")
    await world.store.write(run, "meta.put", key="key_canary", value="c2VjcmV0")
    await world.store.write(run, "grants.user_expiry", user_id=one.user_id, expires_at=utc(1.75e9 + 0.5))
    source = await world.store.write(run, "users.source", kind="import", subject_id=0, user_id=None)
    at = await world.now()
    await world.storing.import_mails(int(source[0][0]), [arrival(5000, at)], [], at)
    return world


async def quarantine(world: StorageWorld, pilot: Pilot) -> None:
    ref = (await world.ledger.pending_of(pilot.source_id, 1)).refs[0]
    await world.ledger.ref_failed(ref, reason="422", not_before=0.5, attempts=1, refusals=4, quarantine=True)


async def value(store: Migratable, text: str) -> Any:
    def ask() -> Tx[Any]:
        rows = yield Sql(text, {})
        return rows[0][0]

    return await store.read(ask)


async def sums(store: Migratable) -> dict[str, tuple[int, str]]:
    found = [await moving._sum_up(store, table) for table in moved_tables()]
    return {each.table: (each.rows, each.checksum) for each in found}


async def test_every_table_is_known_with_every_column(store: Migratable) -> None:
    for name, table in tables().items():
        if store.dialect == "sqlite":
            columns, source = "name", f"pragma_table_info('{name}')"
        else:
            columns, source = "column_name", f"information_schema.columns WHERE table_name = '{name}'"

        def ask(columns: str = columns, source: str = source) -> Tx[set[str]]:
            return {str(row[0]) for row in (yield Sql(f"SELECT {columns} FROM {source}", {}))}

        assert await store.read(ask) == set(table.kinds), name
        assert table.key, name
    found = await store.read(all_tables)
    assert set(tables()) == found - {"schema_migrations"}
    assert set(tables()) == {each.name for each in moved_tables()} | LEFT_BEHIND


def all_tables() -> Tx[set[str]]:
    from killsyncd.storage.migrations import _tables

    return (yield from _tables())


async def test_everything_arrives_and_the_source_stays(lived_in: StorageWorld, target: Migratable) -> None:
    before = await sums(lived_in.store)
    seen: list[tuple[str, int, int]] = []
    report = await transfer(lived_in.store, target, lambda *each: seen.append(each))
    after = await sums(target)
    assert await sums(lived_in.store) == before == after
    assert {each.table: (each.rows, each.checksum) for each in report.tables} == after
    assert report.rows > 200
    assert not report.resumed
    assert [each for each in seen if each[0] == "killmails"][-1] == ("killmails", 25, 25)
    assert int(await value(target, "SELECT COUNT(*) FROM wants WHERE holder IS NOT NULL")) == 0
    assert int(await value(lived_in.store, "SELECT COUNT(*) FROM wants WHERE holder IS NOT NULL")) == 1


async def test_the_new_house_can_be_lived_in(
    backend: Backend, lived_in: StorageWorld, target: Migratable
) -> None:
    epoch = await value(lived_in.store, "SELECT value FROM meta WHERE key = 'feed_epoch'")
    report = await transfer(lived_in.store, target, quiet)
    assert (
        await value(target, "SELECT value FROM meta WHERE key = 'feed_epoch'") == report.feed_epoch != epoch
    )
    assert await value(target, "SELECT value FROM meta WHERE key = 'key_canary'") == "c2VjcmV0"
    assert await migrate(target) == []
    moved = await StorageWorld.begin(backend, target)
    pilots = {each.character_id: each for each in await moved.users.all()}
    assert pilots[90000001].character_name == "John Döe"
    assert pilots[90000002].paused
    # Everything that numbers itself goes on above what came along.
    pilot = await moved.pilot(90000009)
    await moved.listed(pilot, 6000)
    stored = await moved.store_mails(6000)
    assert stored.mails[0].feed_position == 26
    walks = int(await value(target, "SELECT MAX(id) FROM walks"))
    assert walks == int(await value(lived_in.store, "SELECT MAX(id) FROM walks")) + 1


async def test_there_and_back_is_where_it_was(
    lived_in: StorageWorld, target: Migratable, tmp_path: Path
) -> None:
    await transfer(lived_in.store, target, quiet)
    home = Sqlite(tmp_path / "home.db")
    store = await home.open()
    await transfer(target, store, quiet)
    assert await sums(store) == await sums(lived_in.store)
    await home.close()


async def test_an_interrupted_move_goes_on(
    lived_in: StorageWorld, target: Migratable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH", 7)
    monkeypatch.setattr(moving, "WIDE_BATCH", 3)
    report: TransferReport | None = None
    interruptions = 0
    while report is None:
        steps = iter(range(10**9 if interruptions == 3 else 25))

        def interrupting(table: str, done: int, total: int, steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise ConnectionError("pulled the plug")

        try:
            report = await transfer(lived_in.store, target, interrupting)
        except ConnectionError:
            interruptions += 1
            with pytest.raises(SchemaRefused, match="not arrived whole"):
                await state(target)
    assert interruptions == 3
    assert report.resumed
    assert await sums(target) == await sums(lived_in.store)
    assert await state(target)


async def test_a_source_that_went_on_working_is_copied_anew(
    lived_in: StorageWorld, target: Migratable
) -> None:
    def interrupting(table: str, done: int, total: int) -> None:
        if table == "attackers":
            raise ConnectionError("pulled the plug")

    with pytest.raises(ConnectionError):
        await transfer(lived_in.store, target, interrupting)
    await lived_in.store_mails(29, 30, 31)
    await lived_in.users.mark((await lived_in.users.all())[0].id, UserState.OWNER_CHANGED, "sold")
    report = await transfer(lived_in.store, target, quiet)
    assert not report.resumed
    assert await sums(target) == await sums(lived_in.store)


async def test_a_database_with_something_in_it_is_refused(lived_in: StorageWorld, target: Migratable) -> None:
    await migrate(target)
    await target.write(run, "users.source", kind="import", subject_id=0, user_id=None)
    before = await sums(target)
    with pytest.raises(Refused, match="not empty"):
        await transfer(lived_in.store, target, quiet)
    assert await sums(target) == before


async def test_a_new_database_that_a_daemon_has_opened_is_fine(
    lived_in: StorageWorld, target: Migratable
) -> None:
    await migrate(target)
    await target.write(run, "meta.put", key="key_canary", value="b3RoZXI=")
    await transfer(lived_in.store, target, quiet)
    assert await value(target, "SELECT value FROM meta WHERE key = 'key_canary'") == "c2VjcmV0"


async def test_tables_of_somebody_else_are_refused(lived_in: StorageWorld, target: Migratable) -> None:
    await target.script(["CREATE TABLE invoices (id INTEGER)"])
    with pytest.raises(SchemaRefused):
        await transfer(lived_in.store, target, quiet)


async def test_a_move_that_another_began_is_not_mixed_with(
    lived_in: StorageWorld, target: Migratable
) -> None:
    await migrate(target)
    await target.write(run, "meta.put", key="moving_from", value="another")
    with pytest.raises(Refused, match="another database"):
        await transfer(lived_in.store, target, quiet)


async def test_what_arrives_changed_is_noticed(
    lived_in: StorageWorld, target: Migratable, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = moving._put

    def lying(table: Any, rows: Any) -> Tx[None]:
        if table.name == "victims":
            rows = [(*row[:6], row[6] + 1, *row[7:]) for row in rows]
        yield from honest(table, rows)

    monkeypatch.setattr(moving, "_put", lying)
    with pytest.raises(KillsyncdError, match="victims"):
        await transfer(lived_in.store, target, quiet)
    with pytest.raises(SchemaRefused):
        await state(target)


async def test_a_move_that_had_arrived_says_so_again(lived_in: StorageWorld, target: Migratable) -> None:
    first = await transfer(lived_in.store, target, quiet)  # and nobody heard of it
    second = await transfer(lived_in.store, target, quiet)
    assert second == TransferReport(first.tables, first.feed_epoch, resumed=True)
    await target.write(run, "meta.put", key="probed_at", value="1")
    with pytest.raises(Refused, match="was used since"):
        await transfer(lived_in.store, target, quiet)


HOSTILE = [
    -0.0,
    0.0,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    0.1,
    1 / 3,
    -1.5,
    1e16,
    2.0**53,
    2.0**63,
    -(2.0**70),
]
HOSTILE += [1.7976931348623157e308, -1.7976931348623157e308, math.inf, -math.inf]


async def test_values_arrive_however_a_database_writes_them(
    world: StorageWorld, target: Migratable, tmp_path: Path
) -> None:
    """Every column type, there and back: both zeros, the ends of all ranges, text beyond ASCII."""
    at = await world.now()
    attacker = {"damage_done": 2**63 - 1, "final_blow": True}
    source = await world.store.write(run, "users.source", kind="import", subject_id=0, user_id=None)
    mails = [
        arrival(
            number,
            at,
            killmail_time="1970-01-01T00:00:00.999Z" if number % 2 else "9998-12-31T23:59:59Z",
            war_id=-(2**63),
            attackers=[{**attacker, "security_status": each if math.isfinite(each) else 0.0}],
            victim={
                "damage_taken": -1,
                "ship_type_id": 587,
                "position": {axis: each if math.isfinite(each) else -0.0 for axis in "xyz"},
            },
        )
        for number, each in enumerate(HOSTILE, start=1)
    ]
    mails += [real_mail(10_000 + index, at, line) for index, line in enumerate(real_mails())]
    await world.storing.import_mails(int(source[0][0]), mails, [1, 2**63 - 1], at)
    await world.rows("UPDATE names SET name = :name WHERE id = 1", name="Ünï\u2028\U0001f680 \t'\"")
    for number, each in enumerate(HOSTILE, start=1):
        spend = {"grp": "g", "subject": str(number), "tokens": 1, "returns_at": each, "open_until": each}
        await world.store.write(run, "budgets.spend", **spend)
    await world.rows("UPDATE victims SET position_x = :x WHERE killmail_id = 1", x=math.nan)
    await transfer(world.store, target, quiet)
    home = Sqlite(tmp_path / "home.db")
    store = await home.open()
    await transfer(target, store, quiet)
    assert await sums(store) == await sums(target) == await sums(world.store)
    await home.close()


def real_mail(killmail_id: int, at: float, line: bytes) -> Arrival:
    """One of CCP's under an id of the test's."""
    changes = json.loads(line)
    return arrival(killmail_id, at, **{key: changes[key] for key in changes if key != "killmail_id"})


def real_mails() -> list[bytes]:
    """Real killmails, where the folder of them is at hand."""
    usual = Path(__file__).parents[3] / "shared" / "killmails"
    file = Path(os.environ.get("KILLSYNCD_TEST_KILLMAILS", usual)) / "killmails.jsonl"
    return file.read_bytes().splitlines() if file.exists() else []


async def test_a_changed_last_digit_is_noticed(
    lived_in: StorageWorld, target: Migratable, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = moving._put

    def lying(table: Any, rows: Any) -> Tx[None]:
        if table.name == "attackers":
            rows = [(*row[:-1], math.nextafter(row[-1], 9.0)) for row in rows]
        yield from honest(table, rows)

    monkeypatch.setattr(moving, "_put", lying)
    with pytest.raises(KillsyncdError, match="attackers"):
        await transfer(lived_in.store, target, quiet)
