"""The refresher's loop: in time, a few at once, stopped by nothing but being told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from killsyncd.auth.grant import GrantUnusable, SsoUnavailable
from killsyncd.auth.refresher import Refresher
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import UserState
from tests.support.clocks import ManualClock


class Grants:
    """When whose token is due. Renewing moves it on, as the manager would."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.due_at: dict[str, float] = {}
        self.fault: Exception | None = None

    async def due(self, now: float, limit: int) -> list[str]:
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        due = sorted((at, user_id) for user_id, at in self.due_at.items() if at <= now)
        return [user_id for _, user_id in due][:limit]

    async def next_due(self) -> float | None:
        return min(self.due_at.values(), default=None)


class Keeper:
    """Renews for `life` seconds, or fails as told; counts how many at once."""

    def __init__(self, grants: Grants, life: float) -> None:
        self.grants = grants
        self.life = life
        self.renewed: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.pausing = 0.0
        self.hold: asyncio.Event | None = None
        self.now = self.most = 0

    def pause(self) -> float:
        return self.pausing

    async def renew(self, user_id: str) -> None:
        self.renewed.append(user_id)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            if user_id in self.faults:
                raise self.faults[user_id]
            self.grants.due_at[user_id] = self.grants.clock.now() + self.life
        finally:
            self.now -= 1


class Bench:
    def __init__(self, life: float = 900.0) -> None:
        self.clock = ManualClock()
        self.grants = Grants(self.clock)
        self.manager = Keeper(self.grants, life)
        self.refresher = Refresher(
            self.manager, self.grants, self.clock, concurrency=4, batch=10, rng=random.Random(1)
        )
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()

    def add(self, count: int, due_in: float = 0.0) -> None:
        for _ in range(count):
            self.grants.due_at[f"user-{len(self.grants.due_at)}"] = self.clock.now() + due_in

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.refresher.run(ready=self.ready.set, stop=self.stop))
        await self.clock.settle()
        try:
            yield
        finally:
            self.stop.set()
            await task


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_all_that_is_due_is_renewed_a_few_at_a_time(bench: Bench) -> None:
    bench.add(35)
    async with bench.running():
        await bench.clock.advance(1)
        assert sorted(bench.manager.renewed) == sorted(bench.grants.due_at)
        assert bench.manager.most == 4
        assert bench.ready.is_set()


async def test_it_sleeps_until_the_next_is_due(bench: Bench) -> None:
    bench.add(1, due_in=30)
    async with bench.running():
        await bench.clock.advance(29)
        assert bench.manager.renewed == []
        await bench.clock.advance(3)
        assert bench.manager.renewed == ["user-0"]


async def test_each_is_renewed_in_time_for_an_hour(bench: Bench) -> None:
    bench.add(20, due_in=5)
    async with bench.running():
        for _ in range(3600):
            await bench.clock.advance(1)
            late = bench.clock.now() - min(bench.grants.due_at.values())
            assert late <= 3
    assert len(bench.manager.renewed) == 20 * 4


async def test_a_login_wakes_it(bench: Bench) -> None:
    async with bench.running():
        bench.add(1)
        await bench.clock.settle()
        assert bench.manager.renewed == []
        bench.refresher.wake()
        await bench.clock.settle()
        assert bench.manager.renewed == ["user-0"]


async def test_other_daemons_logins_are_found_within_a_minute(bench: Bench) -> None:
    async with bench.running():
        bench.add(1)
        await bench.clock.advance(61)
        assert bench.manager.renewed == ["user-0"]


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("a bug"),
        Unavailable("database"),
        SsoUnavailable("no answer", answered=False),
        GrantUnusable("sold", "", state=UserState.OWNER_CHANGED),
    ],
)
async def test_one_users_failure_stops_nobody_else(bench: Bench, fault: Exception) -> None:
    bench.add(12)
    for user_id in ("user-0", "user-5"):
        bench.manager.faults[user_id] = fault
    async with bench.running():
        await bench.clock.advance(5)
        assert set(bench.manager.renewed) == set(bench.grants.due_at)


async def test_those_that_fail_without_a_back_off_neither_spin_nor_crowd_out_others(bench: Bench) -> None:
    bench.add(25)
    bench.manager.faults = {user_id: RuntimeError("undecryptable") for user_id in bench.grants.due_at}
    async with bench.running():
        await bench.clock.advance(10)
        assert len(bench.manager.renewed) == 25
        bench.add(1)
        await bench.clock.advance(2)
        assert bench.manager.renewed[-1] == "user-25"
        await bench.clock.advance(100)
        assert len(bench.manager.renewed) <= 25 * 3


async def test_a_dead_database_is_waited_for(bench: Bench) -> None:
    bench.add(1)
    bench.grants.fault = OSError("disk")
    async with bench.running():
        await bench.clock.advance(60)
        assert bench.manager.renewed == []
        bench.grants.fault = None
        await bench.clock.advance(6)
        assert bench.manager.renewed == ["user-0"]


async def test_a_dead_sso_is_left_alone(bench: Bench) -> None:
    bench.add(30)
    bench.manager.pausing = 20.0
    async with bench.running():
        await bench.clock.advance(19)
        assert bench.manager.renewed == []
        bench.manager.pausing = 0.0
        await bench.clock.advance(2)
        assert len(bench.manager.renewed) == 30


async def test_stopping_waits_for_refreshes_under_way_and_begins_no_more(bench: Bench) -> None:
    bench.add(10)
    bench.manager.hold = asyncio.Event()
    task = asyncio.create_task(bench.refresher.run(ready=bench.ready.set, stop=bench.stop))
    await bench.clock.settle()
    bench.stop.set()
    await bench.clock.settle()
    assert not task.done()
    bench.manager.hold.set()
    await task
    assert len(bench.manager.renewed) == 4


async def test_the_heartbeat_shows_progress(bench: Bench) -> None:
    async with bench.running():
        for _ in range(10):
            await bench.clock.advance(60)
            assert bench.clock.monotonic() - bench.refresher.heartbeat <= 61
    beat = bench.refresher.heartbeat
    await bench.clock.advance(600)
    assert bench.refresher.heartbeat == beat


async def test_cancelling_leaves_nothing_behind(bench: Bench) -> None:
    bench.add(3)
    bench.manager.hold = asyncio.Event()
    task = asyncio.create_task(bench.refresher.run(ready=bench.ready.set, stop=bench.stop))
    await bench.clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
