"""The tasks that bring prices: once a day, over midnight, after failures; and a third party's files."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from killsyncd.core.background import PRICES, TaskState
from killsyncd.core.clock import SystemClock, utc
from killsyncd.esi.pipeline import BeforeAsk
from killsyncd.esi.responses import EsiError, EsiStatus, MarketPrices
from killsyncd.pricing.esi_prices import CACHED, EsiPrices
from killsyncd.pricing.history import HistorySettings, MarketHistory
from killsyncd.pricing.price_day import day_number
from killsyncd.service.background_health import background_problems
from killsyncd.simulator import Simulator, SimulatorConfig
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.background import BackgroundTasks, all_tasks
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.prices import PriceRepository
from killsyncd.storage.repositories.values import ValueRepository
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Sql, Tx
from tests.support.clocks import ManualClock
from tests.support.storage_world import StorageWorld, arrival


class Esi:
    """Answers prices, or raises; its clock is the test's."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self.error: EsiError | None = None
        self.averages = [(587, 1.005)]

    async def market_prices(self, before_ask: BeforeAsk | None = None) -> MarketPrices:
        assert before_ask is not None
        await before_ask(self.clock.now())
        self.asked.append(self.clock.now())
        if self.error is not None:
            raise self.error
        return MarketPrices(self.averages, self.clock.now(), self.clock.now() + CACHED)

    def wall(self, esi_time: float) -> float:
        return esi_time


@dataclass
class World:
    clock: ManualClock
    store: SqliteStore
    holder: str
    prices: PriceRepository
    rows: BackgroundTasks
    told: list[str] = field(default_factory=list)

    async def days(self) -> list[int]:
        return list((await self.prices.index()).esi)

    async def task(self, name: str) -> TaskState:
        return {each.name: each for each in await self.store.read(all_tasks)}[name]


@asynccontextmanager
async def world(folder: Path, clock: ManualClock) -> AsyncIterator[World]:
    store = await SqliteStore.open(folder / "k.db", clock)
    try:
        await migrate(store)
        member = await Membership.join(store, clock, egress="default", version="0")
        yield World(clock, store, member.id, PriceRepository(store), BackgroundTasks(store, member.id))
    finally:
        await store.close()


def esi_prices(it: World, esi: Esi) -> EsiPrices:
    rng = random.Random(1)
    return EsiPrices(esi, it.prices, it.rows, it.clock, rng, lambda: it.told.append("prices"))  # type: ignore[arg-type]


async def test_prices_come_once_a_day_and_are_carried_while_they_are_cached(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path, clock) as it:
        esi = Esi(clock)
        task = esi_prices(it, esi)
        await task._once()
        today = day_number(utc(clock.now()))
        assert (await it.days(), len(esi.asked), it.told) == ([today], 1, ["prices"])
        await task._once()
        assert len(esi.asked) == 1
        midnight = utc(clock.now()).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        due = await it.rows.due_in(PRICES)
        assert 0 < due - (midnight.timestamp() - clock.now()) <= 21.0
        clock.tick(due + 0.1)
        await task._once()
        assert len(esi.asked) == 2
        # A daemon that started shortly before midnight: ESI's answer still holds on the new day.
        late = midnight + timedelta(days=1, minutes=-10)
        clock.tick(late.timestamp() - clock.now())
        await it.store.write(forget_prices)
        await task._once()
        clock.tick(900.0)
        await task._once()
        asked = len(esi.asked)
        assert asked == 3
        assert await it.days() == [day_number(late), day_number(late + timedelta(days=1))]


def forget_prices() -> Tx[None]:
    yield Sql("DELETE FROM esi_prices", {})
    yield Sql("UPDATE background_tasks SET next_at = 0", {})


async def test_a_killed_process_does_not_ask_again_while_the_answer_may_be_cached(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path, clock) as it:
        esi = Esi(clock)

        async def killed(before_ask: BeforeAsk | None = None) -> MarketPrices:
            assert before_ask is not None
            await before_ask(clock.now())
            raise KeyboardInterrupt

        esi.market_prices = killed  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            await esi_prices(it, esi)._once()
        assert CACHED - 1 < await it.rows.due_in(PRICES) <= CACHED


async def test_an_answer_that_was_cut_short_is_no_price_of_everything_else(tmp_path: Path) -> None:
    """What it lacks would have been worth nothing for a day, on every mail of it."""
    clock = ManualClock()
    async with world(tmp_path, clock) as it:
        esi = Esi(clock)
        esi.averages = [(each, 1.0) for each in range(1, 101)]
        task = esi_prices(it, esi)
        await task._once()
        (first,) = await it.days()
        clock.tick(await it.rows.due_in(PRICES) + 0.1)
        esi.averages = esi.averages[:3]
        await task._once()
        assert await it.days() == [first]
        assert "3 types, and were of 100" in ((await it.task(PRICES)).problem or "")
        clock.tick(await it.rows.due_in(PRICES) + 0.1)
        esi.averages = [(each, 1.0) for each in range(1, 95)]
        await task._once()
        assert len(await it.days()) == 2
        assert (await it.task(PRICES)).problem is None
        clock.tick(2 * 86_400.0)
        esi.averages = esi.averages[:3]
        await task._once()
        assert len(await it.days()) == 3, "what it says for days is so"


async def test_failures_are_written_down_and_told_after_some(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path, clock) as it:
        esi = Esi(clock)
        esi.error = EsiStatus(500, "", expires_at=clock.now() + 7200.0, at=clock.now())
        task = esi_prices(it, esi)
        for failures in (1, 2, 3):
            await task._once()
            state = await it.task(PRICES)
            assert state.failures == failures
            problems = background_problems([state], {PRICES}, clock.now())
            assert [each.code for each in problems] == (["prices_old"] if failures == 3 else [])
            if failures == 1:
                assert await it.rows.due_in(PRICES) > 7000, "ESI's word is kept"
            clock.tick(10_000.0)
        assert problems[0].reason == "ESI's prices never came yet: ESI answered 500"
        assert background_problems([state], set(), clock.now()) == [], "what is off is no trouble"
        esi.error = None
        clock.tick(10_000.0)
        await task._once()
        assert background_problems([await it.task(PRICES)], {PRICES}, clock.now()) == []


class Timed:
    """The machine's own time."""

    clock = SystemClock()

    async def pass_time(self, seconds: float) -> None:
        raise NotImplementedError


async def test_only_days_that_mails_need_are_asked_for_and_a_bad_file_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killsyncd.pricing.history.PAUSE", 0.0)
    store = await SqliteStore.open(tmp_path / "k.db", SystemClock())
    try:
        await migrate(store)
        stored = await StorageWorld.begin(Timed(), store)
        pilot = await stored.pilot(90_000_001)
        now = datetime.now(UTC).replace(hour=9)
        ages = (0, 1, 10, 20, 20, 30)
        arrivals = [
            arrival(number, (now - timedelta(days=age)).timestamp()) for number, age in enumerate(ages, 1)
        ]
        await stored.storing.import_mails(pilot.source_id, arrivals, (), 0.0)
        days = {age: (now - timedelta(days=age)).date() for age in ages}
        async with Simulator(SimulatorConfig(pilots=1, history=0)) as eve:
            eve.script("html", "files.market_history", path=str(days[20]))
            eve.script("status", "files.market_history", path=str(days[1]), status=404)
            prices, tasks = PriceRepository(store), BackgroundTasks(store, stored.holder)
            task = MarketHistory(
                HistorySettings(f"{eve.base_url}/market-history", "t (a@b.c)"),
                prices,
                ValueRepository(store, stored.holder),
                tasks,
                SystemClock(),
                random.Random(1),
                lambda: None,
            )
            await task._once()
            asked = sum(
                count for (name, _), count in eve.ledger.requests.items() if name.startswith("files.")
            )
            assert asked == 4, "not of today, and each day once"
            assert list((await prices.index()).history) == [day_number(days[30]), day_number(days[10])]
            state = {each.name: each for each in await store.read(all_tasks)}["market_history"]
            assert state.problem is not None
            assert "no bz2 file" in state.problem
            assert await prices.attempts(day_number(days[1])) == 1
            assert await prices.wanted_days(now, 10) == [], "what is not there is asked for later"
    finally:
        await store.close()
