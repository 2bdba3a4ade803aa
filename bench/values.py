"""What valuing costs: a mail that has just come, and a backlog of a million beside everything else."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from bench.postgres import a_database
from bench.rig import Figure, RowFailed
from killsyncd.core import killmail as km
from killsyncd.core.clock import SystemClock
from killsyncd.daemon import garbage
from killsyncd.pricing.price_day import PriceDay, day_number
from killsyncd.pricing.valuer import Valuer
from killsyncd.simulator import SimulatorConfig
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.world import World
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.prices import PriceRepository
from killsyncd.storage.repositories.values import ValueRepository
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Sql, Store, Tx
from killsyncd.sync.batch import Arrival

TYPES = 14_500
"""Types with a price on a day, as on the real market."""

A_DAY = 333
"""Mails of a day: a million in eight years."""

MILLION = 1_000_000
TICK = 0.005


@dataclass(frozen=True)
class Valuing:
    """Seconds a mail: wall time of a backlog, CPU of mails whose prices are at hand; the loop's worst lag."""

    wall: float
    cpu: float
    lag: float


def values(folder: Path, quick: bool) -> list[Figure]:
    """CPU of a mail against the least that it can be; a backlog's pace, and the loop's lag beside it."""
    count, path = 4_000 if quick else 20_000, folder / "values.db"
    found = {"SQLite": uvloop.run(_on(SqliteStore.open(path, SystemClock()), count))}
    with a_database() as url:
        if url is not None:  # measured where there is one
            found["PostgreSQL"] = uvloop.run(_on(PostgresStore.open(url), count))
    bare = _bare(path, count)
    figures = []
    for name, each in found.items():
        minutes = each.wall * MILLION / 60
        figures += [
            Figure(
                f"value a mail, {name}",
                f"{each.cpu * 1e6:.0f} µs of CPU",
                f"{bare * 1e6:.0f} µs: its items read, summed and a row written (SQLite)",
                "<= 60 µs" if name == "SQLite" else "",
                each.cpu / bare,
                each.cpu <= 60e-6 if name == "SQLite" else None,
            ),
            Figure(
                f"a million in the background, {name}",
                f"{minutes:.1f} min, {each.lag * 1e3:.0f} ms lag at the worst",
                f"{bare * MILLION / 60:.1f} min with nothing beside it (SQLite)",
                "< 10 min, <= 50 ms",
                each.wall / bare,
                minutes < 10 and each.lag <= 0.05,
            ),
        ]
    return figures


async def _on(opening: Awaitable[SqliteStore | PostgresStore], count: int) -> Valuing:
    store, clock = await opening, SystemClock()
    try:
        await migrate(store)
        member = await Membership.join(store, clock, egress="bench", version="0")
        await _fill(store, member.id, count)
        prices = PriceRepository(store)
        valuer = Valuer(
            ValueRepository(store, member.id),
            prices,
            clock,
            overrides=None,
            report=lambda code, reason: None,
            clear=lambda code: None,
            valued=lambda: None,
        )
        garbage.freeze()  # as the daemon does: what made the mails is no part of it
        lags: list[float] = []
        ticking = asyncio.create_task(_tick(lags))
        began = time.perf_counter()
        await _value(valuer, count)
        wall = (time.perf_counter() - began) / count
        ticking.cancel()
        # Once more, with the prices at hand, as they are for mails that have just come.
        await store.write(_forget)
        spent = _cpu()
        await _value(valuer, 2 * count)
        return Valuing(wall, (_cpu() - spent) / count, max(lags))
    finally:
        await store.close()


async def _fill(store: Store, holder: str, count: int) -> None:
    """Mails, and prices of each of their days."""
    days = max(1, count // A_DAY)

    def source() -> Tx[int]:
        rows = yield Sql(
            "INSERT INTO sources (kind, subject_id, created_at) VALUES ('import', 0, 0) RETURNING id", {}
        )
        return int(rows[0][0])

    source_id = await store.write(source)
    config = SimulatorConfig(pilots=10, history=count // 10, sharing=0.0, history_hours=24.0 * days)
    world, writer = World(config, SimClock(None)), KillmailWriter(store, holder)
    mails = list(world.mails.values())
    for start in range(0, len(mails), 500):
        batch = []
        for each in mails[start : start + 500]:
            raw = world.body_of(each)
            batch.append(Arrival(km.decode(raw), world.hash_of(each), raw, 0.0))
        await writer.import_mails(source_id, batch, (), 0.0)
    prices, today = PriceRepository(store), datetime.now(UTC)
    types = [*world.universe.types, *range(200_000, 200_000 + TYPES - len(world.universe.types))]
    for back in range(days + 1):
        day = PriceDay((each, each * 7919 % 10**9 + back) for each in types)
        number = day_number((today - timedelta(days=back)).date())
        await prices.put_esi(number, day.packed(), list(day.ids), 0.0)


async def _value(valuer: Valuer, done: int) -> None:
    while valuer.done < done and await valuer._round():
        pass
    if valuer.done != done:
        raise RowFailed(f"{valuer.done} of {done} mails were valued")


def _forget() -> Tx[None]:
    yield Sql("DELETE FROM killmail_values", {})
    yield Sql("UPDATE background_tasks SET position = 0", {})


async def _tick(lags: list[float]) -> None:
    """By how much a timer rings late while the valuing is at work."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - began - TICK)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _bare(path: Path, count: int) -> float:
    """Seconds of CPU a mail: items read in batches, summed by one dictionary of prices, a row written."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("CREATE TABLE bare (killmail_id INTEGER PRIMARY KEY, total INTEGER NOT NULL)")
        ids = [
            row[0] for row in connection.execute("SELECT killmail_id FROM killmails ORDER BY feed_position")
        ]
        types = connection.execute("SELECT DISTINCT item_type_id FROM killmail_items")
        prices = {row[0]: row[0] * 7919 % 10**9 for row in types}
        began = _cpu()
        for start in range(0, count, 100):
            batch = ids[start : start + 100]
            sums = dict.fromkeys(batch, 0)
            marks = ", ".join("?" * len(batch))
            for killmail_id, type_id, dropped, destroyed in connection.execute(
                "SELECT killmail_id, item_type_id, quantity_dropped, quantity_destroyed FROM killmail_items"
                f" WHERE killmail_id IN ({marks})",
                batch,
            ):
                sums[killmail_id] += prices[type_id] * ((dropped or 0) + (destroyed or 0))
            connection.execute("BEGIN")
            rows = [(key, min(total, 2**62)) for key, total in sums.items()]
            connection.executemany("INSERT INTO bare VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        return (_cpu() - began) / count
    finally:
        connection.close()
