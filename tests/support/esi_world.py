"""A door, a database and a simulator, for tests over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from killsyncd.core.clock import Clock, SystemClock
from killsyncd.core.model import Ref, Source, SourceKind
from killsyncd.esi.client import EsiClient
from killsyncd.esi.ratelimit.permits import Permit
from killsyncd.esi.ratelimit.windows import Bucket, ReservationRequest, address_subject
from killsyncd.esi.responses import MustWait
from killsyncd.esi.settings import EsiSettings
from killsyncd.simulator import CLIENT_ID, Simulator, SimulatorConfig
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.budgets import BudgetRepository
from killsyncd.sync.batch import Arrival, Delivery
from killsyncd.sync.failure_policy import unpack
from tests.support.new_database import open_migrated


def settings(base_url: str, **changes: Any) -> EsiSettings:
    told: dict[str, Any] = {
        "base_url": base_url,
        "contact": "you@example.com",
        "compatibility_date": "2026-08-18",
        "client_id": CLIENT_ID,
        "requests_per_second": 1000.0,
        **changes,
    }
    return EsiSettings(**told)


def character(character_id: int) -> Source:
    """A character's list."""
    return Source(SourceKind.CHARACTER, character_id)


async def wait_for_permit(esi: EsiClient, *, heavy: bool = False) -> Permit:
    """A permit for a detail, when there are tokens and no downtime."""
    while True:
        try:
            (permit,) = await esi.detail_permits(1, heavy=heavy)
            return permit
        except MustWait as error:
            await esi.changed(error.until)


class EsiWorld:
    """What a test works with."""

    def __init__(self, sim: Simulator, esi: EsiClient, path: Path, clock: Clock) -> None:
        """clock: this machine's, as the client reads it."""
        self.clock = clock
        self.sim = sim
        self.esi = esi
        self.path = path

    def token(self, character_id: int) -> str:
        return str(self.sim.grant(character_id)["access_token"])

    @property
    def pilot(self) -> int:
        return int(self.sim.pilots()[0]["character_id"])

    async def fetch(self, ref: dict[str, Any], *, heavy: bool = False) -> Any:
        permit = await wait_for_permit(self.esi, heavy=heavy)
        return await self._fetch(permit, ref)

    async def fetch_now(self, ref: dict[str, Any], *, heavy: bool = False) -> Any:
        (permit,) = await self.esi.detail_permits(1, heavy=heavy)
        return await self._fetch(permit, ref)

    async def _fetch(self, permit: Permit, ref: dict[str, Any]) -> Arrival:
        wanted = Ref(ref["killmail_id"], ref["killmail_hash"], 0, 0, 0.0)
        answer = await self.esi.killmail(permit, wanted.killmail_id, wanted.killmail_hash)
        return unpack(Delivery(wanted, answer.raw, answer.at))

    async def sim_has_seen_something(self) -> None:
        """A request has arrived over there and is being worked on."""
        async with asyncio.timeout(20):
            while self.esi.stats.in_flight == 0 or self.sim.counters()["concurrency"] == 0:
                await asyncio.sleep(0.01)

    async def reserved_by_the_dead(self, group: str, *, limit: int, keep: float) -> None:
        """All that is left, but for `keep`: reserved by a daemon that was killed, so long ago that what it
        sent has ended."""
        now = self.clock.now()
        ask = ReservationRequest(
            Bucket(group, address_subject("default")),
            want=limit,
            least=1,
            keep=keep,
            limit=limit,
            window=900.0,
            now=now,
            spent_at=now - 60.0,
            held_for=30.0,
        )
        assert (await self.esi._accounting._store.reserve(ask)).tokens

    async def settled(self) -> None:
        """Everything this daemon used is written at its true price."""
        async with asyncio.timeout(20):
            await self.esi._permits.pool.close()
            await self.esi._accounting.flush()


@asynccontextmanager
async def door_on(
    base_url: str, path: Path, *, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[EsiClient]:
    clock = clock or SystemClock()
    store = await open_migrated(path / "killsyncd.db", clock)
    try:
        esi = EsiClient(settings(base_url, **changes), BudgetRepository(store), clock, rng=random.Random(1))
        await esi.start()
        upkeep = asyncio.create_task(esi.run())
        try:
            yield esi
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            await esi.close()
    finally:
        await store.close()


@asynccontextmanager
async def house(path: Path, *, esi: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[EsiWorld]:
    """A simulator with `config`, and a door to it. No breach is forgiven."""
    told: dict[str, Any] = {"pilots": 2, "history": 10, **config}
    async with Simulator(SimulatorConfig(**told)) as sim:
        clock = SystemClock()
        async with door_on(sim.base_url, path, **{"clock": clock, **(esi or {})}) as opened:
            yield EsiWorld(sim, opened, path, clock)
        assert sim.breaches() == []


@asynccontextmanager
async def postgres_doors(url: str, base_url: str, count: int) -> AsyncIterator[list[EsiClient]]:
    """Doors of several daemons at one address, on one database."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        doors = []
        for number in range(count):
            store = await PostgresStore.open(url, connections=3)
            stack.push_async_callback(store.close)
            if number == 0:
                await migrate(store)
            esi = EsiClient(settings(base_url), BudgetRepository(store), clock, rng=random.Random(number))
            stack.push_async_callback(esi.close)
            await esi.start()
            upkeep = asyncio.create_task(esi.run())
            stack.push_async_callback(_end, upkeep)
            doors.append(esi)
        yield doors


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
