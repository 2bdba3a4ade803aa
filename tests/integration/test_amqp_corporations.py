"""The second queue: corporations' lists, in the format of killreport's later queue, both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from killsyncd.amqp import AmqpQueue, AmqpSettings
from killsyncd.amqp import publisher as outbox
from killsyncd.core.clock import SystemClock
from killsyncd.core.events import Events
from killsyncd.core.model import Affiliation, Job, Origin, SourceKind, SyncMode
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.amqp_world import Broker, eventually, has, nothing_left, old_message, true
from tests.support.server_urls import need_amqp, unique
from tests.support.storage_world import StorageWorld
from tests.support.sync_world import Timed

pytestmark = pytest.mark.amqp

CORPORATION = 98_000_001
SCOPES = "esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1"


class House:
    """Both queues at work on a store with one Director."""

    def __init__(self, world: StorageWorld, users: Broker, corporations: Broker, url: str) -> None:
        self.world = world
        self.events = Events()
        self.paused = False
        self.users, self.corporations = users, corporations
        rows = QueueAnnouncements(world.store, users.name, world.holder, second=corporations.name)
        second = QueueAnnouncements(world.store, corporations.name, world.holder, SourceKind.CORPORATION)
        settings = AmqpSettings(url, users.name, 4, corporation_name=corporations.name)
        clock = world.timed.clock
        self.queue = AmqpQueue(settings, rows, self.events, clock, lambda: self.paused, None, second)

    async def take(self) -> Job:
        """The next job, worked off at once."""
        job = await self.queue.next()
        assert await self.world.wants.finish(job)
        await self.queue.done(job)
        return job


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = SystemClock()
    url = await need_amqp()
    users, corporations = [await Broker.open(url, unique("killsyncd_test")) for _ in range(2)]
    store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
    await migrate(store)
    world = await StorageWorld.begin(Timed(clock), store)  # type: ignore[arg-type]
    await world.pilot(1, "Ada")
    await world.rows("UPDATE users SET scopes = :scopes", scopes=SCOPES)
    rows = CorporationRepository(store)
    await rows.placed([Affiliation(1, CORPORATION)], [], 3600.0)
    await rows.settle()
    yield House(world, users, corporations, url)
    await store.close()
    await users.close()
    await corporations.close()


@pytest.fixture
async def open_house(house: House) -> AsyncIterator[House]:
    running = asyncio.create_task(house.queue.run())
    yield house
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def of_corporation(corporation_id: int, **more: Any) -> bytes:
    """As the later system wrote it."""
    return old_message(1, corporationId=corporation_id, corporationName="Byron Works", **more)


async def want(house: House, priority: int = 8) -> None:
    source = await house.world.value("SELECT id FROM sources WHERE kind = 'corporation'")
    await SourceRepository(house.world.store).queue([int(source)], priority, Origin.LOGIN)
    house.events.tell("wants")


async def test_each_kind_of_list_has_its_queue(open_house: House) -> None:
    house = open_house
    house.paused = True
    house.events.tell("switches")
    await want(house)
    await house.world.want(await house.world.pilot(2))
    house.events.tell("wants")
    await eventually(lambda: has(house.users, 1))
    await eventually(lambda: has(house.corporations, 1))
    message = await house.corporations.get()
    assert message is not None
    found = json.loads(message.body)
    assert (found["corporationId"], found["characterId"], found["characterName"]) == (CORPORATION, 1, "Ada")
    assert (message.header.properties.priority, found["mode"]) == (8, "FIRST_SYNC")
    await house.corporations.send(message.body)
    house.paused = False
    house.events.tell("switches")
    jobs = {job.source.kind: job for job in [await house.take(), await house.take()]}
    assert jobs[SourceKind.CORPORATION].source.subject_id == CORPORATION
    assert jobs[SourceKind.CHARACTER].character_id == 2
    await eventually(lambda: nothing_left(house.users))
    await eventually(lambda: nothing_left(house.corporations))


async def test_old_messages_are_worked_off_and_what_cannot_be_read_is_put_aside(house: House) -> None:
    await house.corporations.declare()
    await house.corporations.send(
        of_corporation(CORPORATION), of_corporation(98_000_404), old_message(1), b"{", priority=3
    )
    running = asyncio.create_task(house.queue.run())
    try:
        job = await house.take()
        assert (job.source.subject_id, job.mode, job.origin) == (
            CORPORATION,
            SyncMode.FULL_SYNC,
            Origin.MESSAGE,
        )
        waiting = asyncio.create_task(house.queue.next())
        dead = outbox.dead(house.corporations.name)
        await eventually(lambda: has(house.corporations, 2, dead))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        reasons = set()
        while (message := await house.corporations.get(dead)) is not None:
            headers: Any = message.header.properties.headers
            reasons.add(headers["x-killsyncd-reason"])
        assert reasons == {"corporationId is missing", "it is not JSON"}
        await eventually(lambda: nothing_left(house.corporations))
        assert await house.world.value("SELECT COUNT(*) FROM sources WHERE kind = 'corporation'") == 1
        await eventually(lambda: true(house.queue.facts().consumers == 1))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
