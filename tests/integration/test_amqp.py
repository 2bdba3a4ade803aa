"""The queue over a real RabbitMQ, by way of a proxy that fails like a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pamqp.frame
import pytest
from pamqp import commands

from killsyncd.amqp import AmqpQueue, AmqpSettings, announcer, connection, consumer, publisher
from killsyncd.amqp import publisher as outbox
from killsyncd.amqp import reconnect as link
from killsyncd.config.secret import Secret
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import Refused
from killsyncd.core.events import Events
from killsyncd.core.model import Origin, SyncMode
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.amqp_world import (
    AmqpWorld,
    Broker,
    Deliveries,
    Open,
    break_after,
    eventually,
    forever,
    has,
    nothing_left,
    old_message,
    plain_queue,
    true,
)
from tests.support.proxy import Proxy
from tests.support.server_urls import need_amqp, unique
from tests.support.storage_world import StorageWorld

pytestmark = pytest.mark.amqp


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PROBE_SECONDS", 0.2)
    for module in (announcer, connection, consumer, publisher):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(announcer, "LOST_SECONDS", 0.5)
    monkeypatch.setattr(announcer, "LOOK_AGAIN", 0.3)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    found = await Broker.open(await need_amqp(), unique("killsyncd_test"))
    yield found
    await found.close()


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    parts = urlsplit(await need_amqp())
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5672) as found:
        yield found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StorageWorld]:
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
    await migrate(store)

    class Timed:
        def __init__(self) -> None:
            self.clock = clock

        async def pass_time(self, seconds: float) -> None:
            raise AssertionError("time is real here")

    yield await StorageWorld.begin(Timed(), store)
    await store.close()


@pytest.fixture
async def open_house(world: StorageWorld, broker: Broker, proxy: Proxy) -> AsyncIterator[Open]:
    """Opens queues; each keeps running to the end of the test."""
    houses: list[AmqpWorld] = []
    parts = urlsplit(await need_amqp())
    url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}"))

    async def open_(**how: Any) -> AmqpWorld:
        events = Events()
        token_of = how.pop("token_of", None)
        settings = AmqpSettings(url, broker.name, how.pop("prefetch", 4), Secret(parts.password or ""), **how)
        house: AmqpWorld
        rows = QueueAnnouncements(world.store, broker.name, world.holder)
        queue = AmqpQueue(settings, rows, events, world.timed.clock, lambda: house.paused, token_of)
        running = asyncio.create_task(queue.run())
        house = AmqpWorld(world, queue, events, running)
        houses.append(house)
        return house

    yield open_
    proxy.thaw()
    for house in houses:
        house.running.cancel()
        await asyncio.gather(house.running, return_exceptions=True)


class TestWork:
    async def test_wants_become_jobs_the_urgent_first(self, open_house: Open, broker: Broker) -> None:
        house = await open_house(prefetch=1)
        for character_id, priority in ((1, 3), (2, 8), (3, 5)):
            await house.want(character_id, priority=priority)
        jobs = [await house.take() for _ in range(3)]
        assert {each.character_id for each in jobs} == {1, 2, 3}
        await eventually(lambda: nothing_left(broker))

    async def test_a_message_waits_for_its_job_to_be_done(self, open_house: Open, broker: Broker) -> None:
        house = await open_house()
        await house.want(1)
        job = await house.queue.next()
        house.running.cancel()
        await asyncio.gather(house.running, return_exceptions=True)
        await eventually(lambda: has(broker, 1))
        message = await broker.get()
        assert message is not None
        assert json.loads(message.body)["characterId"] == job.character_id

    async def test_what_we_publish_is_what_the_old_system_publishes(
        self, open_house: Open, broker: Broker
    ) -> None:
        await broker.declare()
        house = await open_house()
        house.paused = True
        house.events.tell("switches")
        await house.want(1, mode=SyncMode.FULL_SYNC, priority=8)
        await eventually(lambda: has(broker, 1))
        message = await broker.get()
        assert message is not None
        properties = message.header.properties
        assert (properties.delivery_mode, properties.priority) == (2, 8)
        assert properties.content_type == "application/json"
        found = json.loads(message.body)
        assert (found["characterId"], found["mode"]) == (1, "FULL_SYNC")
        assert not {"accessToken", "refreshToken"} & set(found)

    async def test_old_workers_are_served_with_an_access_token(
        self, open_house: Open, broker: Broker
    ) -> None:
        async def token_of(user_id: str) -> str:
            return f"access-of-{user_id}"

        house = await open_house(token_of=token_of)
        house.paused = True
        house.events.tell("switches")
        await house.want(1)
        await eventually(lambda: has(broker, 1))
        message = await broker.get()
        assert message is not None
        found = json.loads(message.body)
        assert found["accessToken"] == f"access-of-{found['userId']}"
        assert found["refreshToken"] == "held-by-killsyncd"

    async def test_paused_there_is_no_consumer_and_messages_wait(
        self, open_house: Open, broker: Broker
    ) -> None:
        house = await open_house()
        await eventually(lambda: true(house.queue.facts().consumers == 1))
        house.paused = True
        house.events.tell("switches")
        await eventually(lambda: true(house.queue.facts().consumers == 0))
        assert not house.queue.facts().consuming
        await house.want(1)
        await eventually(lambda: has(broker, 1))
        house.paused = False
        house.events.tell("switches")
        assert (await house.take()).character_id == 1

    async def test_facts_say_how_things_stand(self, open_house: Open, broker: Broker) -> None:
        house = await open_house()
        await eventually(lambda: true(house.queue.facts().consumers == 1))
        facts = house.queue.facts()
        assert (facts.name, facts.dead, facts.blocked, facts.trouble) == (broker.name, 0, False, None)
        assert facts.consuming


class TestOldMessages:
    async def test_a_queue_of_the_old_system_opens_with_what_is_in_it(
        self, open_house: Open, broker: Broker, world: StorageWorld
    ) -> None:
        await broker.declare()
        await broker.send(old_message(1), old_message(404), old_message(2, lastKillmailId=5), priority=8)
        for each in (1, 2):
            await world.pilot(each)
        house = await open_house()
        jobs = {job.character_id: job for job in [await house.take(), await house.take()]}
        assert jobs[1].mode is SyncMode.FULL_SYNC
        assert jobs[2].mode is SyncMode.FIRST_SYNC  # nobody has read this list whole yet
        assert {job.origin for job in jobs.values()} == {Origin.MESSAGE}
        await eventually(lambda: nothing_left(broker))
        assert [each.character_id for each in await world.users.all()] == [1, 2]

    async def test_what_cannot_be_read_is_put_aside_with_the_reason(
        self, open_house: Open, broker: Broker, world: StorageWorld
    ) -> None:
        await broker.declare()
        await world.pilot(1)
        await broker.send(b"{", b"[]", old_message(1), b'{"characterId": "1"}')
        house = await open_house(prefetch=1)
        assert (await house.take()).character_id == 1
        waiting = asyncio.create_task(house.queue.next())
        dead = outbox.dead(broker.name)
        await eventually(lambda: has(broker, 3, dead))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        found = {}
        while (message := await broker.get(dead)) is not None:
            headers: Any = message.header.properties.headers
            found[message.body] = headers["x-killsyncd-reason"]
        assert found == {
            b"{": "it is not JSON",
            b"[]": "it is not a JSON object",
            b'{"characterId": "1"}': "characterId is not an id of EVE",
        }
        await eventually(lambda: nothing_left(broker))

    @pytest.mark.slow(60)
    async def test_thousands_of_them_are_worked_off(
        self, open_house: Open, proxy: Proxy, broker: Broker, world: StorageWorld
    ) -> None:
        deliveries = Deliveries(proxy)
        await broker.declare()
        for each in range(1, 21):
            await world.pilot(each)
        # Half of them for strangers, the others many times for the same twenty.
        await broker.send(*(old_message(n % 40 + 1, userId=n) for n in range(2_500)))
        house = await open_house(prefetch=16)
        taking = asyncio.create_task(forever(house.take))
        await eventually(lambda: nothing_left(broker))
        await eventually(lambda: true(deliveries.acknowledged >= 2_500))
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        assert len(await world.users.all()) == 20
        assert (await world.wants.depth()).working == 0

    async def test_a_queue_with_other_arguments_is_refused(self, open_house: Open, broker: Broker) -> None:
        await broker.declare({"x-max-priority": 5})
        house = await open_house()
        with pytest.raises(Refused, match="x-max-priority") as caught:
            await house.queue.check()
        assert "delete it" in caught.value.hint
        await eventually(lambda: true("other arguments" in (house.queue.facts().trouble or "")))


class TestHealing:
    async def test_broken_connections(self, open_house: Open, proxy: Proxy, broker: Broker) -> None:
        house = await open_house()
        for each in range(1, 6):
            await house.want(each)
            await proxy.cut()
            assert (await house.take()).character_id == each
        await eventually(lambda: nothing_left(broker))

    async def test_a_connection_that_breaks_under_a_job(
        self, open_house: Open, proxy: Proxy, broker: Broker, world: StorageWorld
    ) -> None:
        deliveries = Deliveries(proxy)
        house = await open_house()
        await house.want(1)
        job = await house.queue.next()
        await proxy.cut()
        await eventually(lambda: true(deliveries.count >= 2))  # it is delivered again
        again = asyncio.create_task(house.queue.next())
        await eventually(lambda: nothing_left(broker))  # and finds the want taken
        assert await world.wants.finish(job)
        await house.queue.done(job)
        await house.want(2)
        assert (await again).character_id == 2

    async def test_a_broker_that_is_away_for_a_while(
        self, open_house: Open, proxy: Proxy, world: StorageWorld
    ) -> None:
        await proxy.down()
        house = await open_house(without_broker=3600.0)
        await house.want(1)
        await eventually(lambda: true(house.queue.facts().trouble is not None))
        assert "127.0.0.1" in (house.queue.facts().trouble or "")
        await proxy.up()
        assert (await house.take()).character_id == 1
        await eventually(lambda: true(house.queue.facts().trouble is None))

    async def test_without_a_broker_the_rows_alone_must_do(self, open_house: Open, proxy: Proxy) -> None:
        house = await open_house(without_broker=0.0)
        await house.want(1)
        assert (await house.take()).character_id == 1
        await proxy.down()
        await house.want(2)
        assert (await house.take()).character_id == 2
        await proxy.up()
        await house.want(3)
        assert (await house.take()).character_id == 3

    async def test_half_open_connections(self, open_house: Open, proxy: Proxy) -> None:
        house = await open_house(without_broker=3600.0)
        await eventually(lambda: true(house.queue.facts().consuming))
        accepted = proxy.accepted
        proxy.freeze()
        await house.want(1)
        await eventually(lambda: true(proxy.accepted >= accepted + 2))
        proxy.thaw()
        assert (await house.take()).character_id == 1

    async def test_a_channel_that_the_broker_closes(
        self, open_house: Open, proxy: Proxy, broker: Broker
    ) -> None:
        deliveries = Deliveries(proxy)
        house = await open_house()
        await house.want(1)
        job = await house.queue.next()
        await house.want(2)
        deliveries.spoil_next = True  # PRECONDITION_FAILED: unknown delivery tag
        assert (await house.take()).character_id == 2
        await eventually(lambda: true(deliveries.count >= 4))  # both are delivered again
        assert await house.world.wants.finish(job)
        await house.queue.done(job)
        await house.want(3)
        assert (await house.take()).character_id == 3
        await eventually(lambda: nothing_left(broker))

    async def test_a_queue_that_somebody_deletes(self, open_house: Open, broker: Broker) -> None:
        house = await open_house()
        house.paused = True
        house.events.tell("switches")
        await house.want(1)
        await eventually(lambda: has(broker, 1))
        await broker.delete()
        house.paused = False
        house.events.tell("switches")
        assert (await house.take()).character_id == 1
        await eventually(lambda: true(house.queue.facts().consuming))
        await broker.delete()
        await house.want(2)
        assert (await house.take()).character_id == 2

    async def test_messages_that_somebody_purges(self, open_house: Open, broker: Broker) -> None:
        house = await open_house()
        house.paused = True
        house.events.tell("switches")
        await house.want(1)
        await eventually(lambda: has(broker, 1))
        assert await broker.get() is not None
        await eventually(lambda: true(house.queue.facts().messages == 0))
        await asyncio.sleep(announcer.LOST_SECONDS)
        house.paused = False
        house.events.tell("switches")
        assert (await house.take()).character_id == 1

    async def test_a_broker_that_blocks_publishers(
        self, open_house: Open, proxy: Proxy, broker: Broker
    ) -> None:
        house = await open_house(without_broker=3600.0)
        await eventually(lambda: true(house.queue.facts().consuming))
        accepted = proxy.accepted
        proxy.deafen()
        proxy.inject(pamqp.frame.marshal(commands.Connection.Blocked("low on memory"), 0))
        await house.want(1)
        await eventually(lambda: true(house.queue.facts().blocked))
        await asyncio.sleep(2 * connection.ANSWER_SECONDS)
        assert proxy.accepted == accepted  # being blocked is no reason to give a connection up
        proxy.inject(pamqp.frame.marshal(commands.Connection.Unblocked(), 0))
        proxy.thaw()
        assert (await house.take()).character_id == 1
        await eventually(lambda: true(not house.queue.facts().blocked))

    async def test_nothing_is_lost_while_connections_break_all_the_time(
        self, open_house: Open, proxy: Proxy, broker: Broker
    ) -> None:
        house = await open_house()
        breaking = asyncio.create_task(forever(lambda: break_after(proxy, 0.15)))
        taken = set()
        for each in range(1, 61):
            await house.want(each)
        while len(taken) < 60:
            taken.add((await house.take()).character_id)
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
        assert taken == set(range(1, 61))
        assert (await house.world.wants.depth()).by_priority == {}


class TestRefusals:
    async def test_a_wrong_password(self, broker: Broker, world: StorageWorld) -> None:
        parts = urlsplit(await need_amqp())
        url = urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))
        queue = plain_queue(url, broker, world, Secret("wr0ng-word"))
        with pytest.raises(Refused, match="password") as caught:
            await queue.check()
        assert "wr0ng" not in str(caught.value)

    async def test_no_such_virtual_host(self, broker: Broker, world: StorageWorld) -> None:
        url = urlunsplit(urlsplit(await need_amqp())._replace(path="/no-such-vhost"))
        with pytest.raises(Refused, match="virtual host"):
            await plain_queue(url, broker, world).check()

    async def test_a_broker_that_is_away_is_no_refusal(
        self, broker: Broker, world: StorageWorld, proxy: Proxy
    ) -> None:
        await proxy.down()
        await plain_queue(f"amqp://guest@127.0.0.1:{proxy.port}/", broker, world).check()
