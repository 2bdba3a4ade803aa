"""What every driver promises: transactions whole or not at all, snapshots, refusals, cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from killsyncd.core.errors import SchemaRefused, Unavailable
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.transaction import Bulk, Many, RowRefused, Run, Sql, Tx, as_datetime, savepoint
from tests.support.postgres_faults import read_while
from tests.support.storage_world import StorageWorld, run


def put(key: str, value: object) -> Tx[None]:
    yield Run("meta.put", {"key": key, "value": value})


def get(key: str) -> Tx[str | None]:
    rows = yield Run("meta.get", {"key": key})
    return str(rows[0]["value"]) if rows else None


async def test_what_a_transaction_returns_is_committed(store: Migratable) -> None:
    await store.write(put, "a", "1")
    assert await store.read(get, "a") == "1"


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.CancelledError()])
async def test_whatever_is_raised_undoes_everything(store: Migratable, error: BaseException) -> None:
    def failing() -> Tx[None]:
        yield from put("a", "1")
        raise error

    with pytest.raises(type(error)):
        await store.write(failing)
    assert await store.read(get, "a") is None
    await store.write(put, "a", "2")


async def test_a_refused_row_undoes_the_transaction(store: Migratable) -> None:
    def failing() -> Tx[None]:
        yield from put("a", "1")
        yield from put("b", None)

    with pytest.raises(RowRefused):
        await store.write(failing)
    assert await store.read(get, "a") is None


@pytest.mark.parametrize("value", [None, "\ud800", "\x00" * 2])
async def test_a_savepoint_undoes_a_part(store: Migratable, value: object) -> None:
    def partly() -> Tx[str]:
        yield from put("a", "1")
        try:
            yield from savepoint(both())
        except RowRefused as refusal:
            return refusal.message
        return "taken"

    def both() -> Tx[None]:
        yield from put("b", "1")
        yield from put("c", value)

    said = await store.write(partly)
    assert await store.read(get, "a") == "1"
    if value == "\x00" * 2 and store.dialect == "sqlite":
        assert said == "taken"  # SQLite keeps such text
    else:
        assert "refuses" in said
        assert await store.read(get, "b") is None


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 399, 400, 2000])
async def test_bulk_leaves_rows_alone_whose_key_is_there(store: Migratable, count: int) -> None:
    def twice() -> Tx[int]:
        yield Bulk("names", ("id", "name"), [(1, "first")])
        yield Bulk("names", ("id", "name"), [(each, None) for each in range(1, count + 1)])
        yield Bulk("names", ("id", "name"), [(each, "later") for each in range(count, 0, -1)])
        rows = yield Sql("SELECT COUNT(*), COUNT(name) FROM names", {})
        return int(rows[0][0]) * 10 + int(rows[0][1])

    assert await store.write(twice) == count * 10 + 1
    assert await store.write(twice) == count * 10 + 1


@pytest.mark.parametrize("count", [3, 1000])
async def test_bulk_refuses_what_a_column_cannot_hold(store: Migratable, count: int) -> None:
    def failing() -> Tx[str]:
        rows: list[tuple[object, ...]] = [(each, None) for each in range(count)]
        rows[count // 2] = (2**63, None)
        try:
            yield from savepoint(bulk(rows))
        except RowRefused:
            return "refused"
        return "taken"

    def bulk(rows: list[tuple[object, ...]]) -> Tx[None]:
        yield Bulk("names", ("id", "name"), rows)

    assert await store.write(failing) == "refused"
    assert await store.write(failing) == "refused"


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("place", [0, 20, 31, 32, 99])
async def test_a_bulk_that_is_refused_midway_leaves_nothing(
    store: Migratable, place: int, careful: bool
) -> None:
    """The rows before the one that is refused are in the table by then, on SQLite."""
    columns = ("killmail_id", "position", "damage_done", "final_blow", "security_status")
    rows: list[tuple[object, ...]] = [(1, each, 5, False, 0.5) for each in range(100)]
    rows[place] = (1, place, None, False, 0.5)

    def bulk() -> Tx[None]:
        yield Bulk("attackers", columns, rows)

    def guarded() -> Tx[None]:
        with suppress(RowRefused):
            yield from savepoint(bulk())
        yield from put("after", "1")

    def count() -> Tx[int]:
        return int((yield Sql("SELECT COUNT(*) FROM attackers", {}))[0][0])

    if careful:
        await store.write(guarded)
        assert await store.read(get, "after") == "1"
    else:
        with pytest.raises(RowRefused):
            await store.write(bulk)
    assert await store.read(count) == 0


async def test_no_rows_are_no_statement(store: Migratable) -> None:
    def nothing() -> Tx[None]:
        yield Bulk("names", ("id",), [])
        yield Many("meta.put", [])

    await store.write(nothing)


async def test_many_runs_once_for_each(store: Migratable) -> None:
    def several() -> Tx[None]:
        yield Many("meta.put", [{"key": f"k{n}", "value": str(n)} for n in range(5)])

    await store.write(several)
    assert [await store.read(get, f"k{n}") for n in range(5)] == ["0", "1", "2", "3", "4"]


async def test_a_read_sees_one_moment(world: StorageWorld) -> None:
    store = world.store
    await store.write(put, "a", "1")
    started, written = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    wait = asyncio.run_coroutine_threadsafe

    if store.dialect == "sqlite":

        def looking() -> Tx[tuple[str | None, str | None]]:
            before = yield from get("a")
            loop.call_soon_threadsafe(started.set)
            wait(written.wait(), loop).result()  # this runs in the reader's thread
            return before, (yield from get("a"))

        reading = asyncio.create_task(store.read(looking))
        await started.wait()
        await store.write(put, "a", "2")
        written.set()
        assert await reading == ("1", "1")
    else:
        assert await read_while(store, get("a"), lambda: store.write(put, "a", "2"), get("a")) == ("1", "1")
    assert await store.read(get, "a") == "2"


async def test_reading_does_not_write(store: Migratable) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await store.read(put, "a", "1")


async def test_times_come_and_go_as_utc(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    at = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    await world.store.write(run, "grants.user_expiry", user_id=pilot.user_id, expires_at=at)
    found = as_datetime(await world.value("SELECT expires_at FROM users"))
    assert found == at
    assert found is not None
    assert found.utcoffset() == at.utcoffset()


async def test_a_caller_that_is_cancelled_leaves_the_store_usable(store: Migratable) -> None:
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000000)"
        " SELECT MAX(i) FROM n"
        if store.dialect == "sqlite"
        else "SELECT pg_sleep(600)"
    )

    def sleeping() -> Tx[None]:
        yield Sql(slow, {})

    for turn in range(6):
        reading = asyncio.create_task(store.read(sleeping))
        await asyncio.sleep(0.02 if turn % 2 else 0.0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await store.write(put, "a", "1")
    assert await store.read(get, "a") == "1"


async def test_a_closed_store_says_so(store: Migratable) -> None:
    await store.close()
    await store.close()
    with pytest.raises(Unavailable):
        await store.write(put, "a", "1")
    with pytest.raises(Unavailable):
        await store.read(get, "a")


async def test_a_table_that_is_not_there_is_a_matter_of_the_schema(store: Migratable) -> None:
    def asking() -> Tx[None]:
        yield Sql("SELECT 1 FROM no_such_table", {})

    with pytest.raises(SchemaRefused):
        await store.read(asking)
