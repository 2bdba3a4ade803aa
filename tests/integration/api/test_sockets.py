"""`graphql-transport-ws`: every close code, and subscriptions that miss nothing."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from killsyncd.api.graphql import feed as feed_hub
from killsyncd.api.graphql import shared_results as payloads
from killsyncd.api.graphql import websocket as graphql_ws
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.server import ApiServer
from killsyncd.core.clock import utc
from killsyncd.core.errors import Unavailable
from killsyncd.service import feed_cursor
from killsyncd.service.operations import Operations
from tests.integration.api.conftest import Running, Start
from tests.support.api_world import PILOT, mail_json

PROTOCOL = "graphql-transport-ws"
NEW = "subscription($after: String) { newKillmail(after: $after) { id feedCursor } }"


class Socket:
    """One connection, spoken to by hand."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, **message: Any) -> None:
        await self.ws.send_json(message)

    async def receive(self) -> dict[str, Any]:
        message = await self.ws.receive(timeout=20)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.ws.close_code)
        answer: dict[str, Any] = json.loads(message.data)
        return answer

    async def closed(self) -> int | None:
        """The close code; whatever else still comes is left unread."""
        while not self.ws.closed:
            await self.ws.receive(timeout=20)
        return self.ws.close_code

    async def subscribe(self, query: str, id_: str = "1", **variables: Any) -> None:
        await self.send(id=id_, type="subscribe", payload={"query": query, "variables": variables})

    async def next(self, id_: str = "1") -> dict[str, Any]:
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", id_), message
        data: dict[str, Any] = message["payload"]["data"]
        return data

    async def error(self, id_: str = "1") -> dict[str, Any]:
        message = await self.receive()
        assert (message["type"], message["id"]) == ("error", id_), message
        error: dict[str, Any] = message["payload"][0]
        return error


@asynccontextmanager
async def connect(api: Running, *, introduce: bool = True, **options: Any) -> AsyncIterator[Socket]:
    options.setdefault("protocols", (PROTOCOL,))
    async with api.client.ws_connect(api.url, **options) as ws:
        socket = Socket(ws)
        if introduce:
            await socket.send(type="connection_init")
            assert (await socket.receive()) == {"type": "connection_ack"}
        yield socket


async def following(api: Running, count: int) -> None:
    """Return once just so many subscriptions are under way."""
    while api.server.followers != count:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("protocols", [(), ("graphql-ws",)])
async def test_4406_without_the_protocol(api: Running, protocols: tuple[str, ...]) -> None:
    async with connect(api, introduce=False, protocols=protocols) as socket:
        assert await socket.closed() == 4406


async def test_4408_without_an_introduction(start: Start) -> None:
    api = await start(limits=Limits(init_seconds=0.1))
    async with connect(api, introduce=False) as socket:
        await socket.send(type="ping")
        assert (await socket.receive()) == {"type": "pong"}
        assert await socket.closed() == 4408
    async with connect(api) as socket:
        await asyncio.sleep(0.2)
        await socket.send(type="ping")
        assert (await socket.receive()) == {"type": "pong"}


async def test_4401_before_the_introduction(api: Running) -> None:
    async with connect(api, introduce=False) as socket:
        await socket.subscribe("{ __typename }")
        assert await socket.closed() == 4401


async def test_4429_for_two_introductions(api: Running) -> None:
    async with connect(api) as socket:
        await socket.send(type="connection_init")
        assert await socket.closed() == 4429


async def test_4409_for_an_id_in_use(api: Running) -> None:
    async with connect(api) as socket:
        await socket.subscribe(NEW)
        await socket.subscribe(NEW)
        assert await socket.closed() == 4409


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"type":"unknown"}',
        '{"type":"ping","payload":"x"}',
        '{"type":"pong","payload":[]}',
        '{"type":"connection_init","payload":"x"}',
        '{"type":"complete"}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":"1","payload":{}}',
        '{"type":"subscribe","id":"1","payload":{"query":1}}',
        '{"type":"subscribe","id":"","payload":{"query":"{__typename}"}}',
        '{"type":"subscribe","id":1,"payload":{"query":"{__typename}"}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{__typename}","variables":[]}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{__typename}","operationName":1}}',
        "[" * 60_000,
    ],
)
async def test_4400_for_what_is_no_message(api: Running, message: str) -> None:
    async with connect(api, introduce="connection_init" not in message) as socket:
        await socket.ws.send_str(message)
        assert await socket.closed() == 4400


async def test_binary_and_large_messages_close_the_socket(api: Running) -> None:
    async with connect(api) as socket:
        await socket.ws.send_bytes(b'{"type":"ping"}')
        assert await socket.closed() == 4400
    async with connect(api) as socket:
        await socket.ws.send_str(json.dumps({"type": "ping", "payload": {"x": "y" * 70_000}}))
        assert await socket.closed() == 1009


async def test_ping_and_pong(api: Running) -> None:
    async with connect(api) as socket:
        await socket.send(type="ping", payload={"x": 1})
        assert (await socket.receive()) == {"type": "pong"}
        await socket.send(type="pong")
        await socket.send(type="complete", id="nobody")
        await socket.send(type="ping")
        assert (await socket.receive()) == {"type": "pong"}


async def test_queries_and_mutations_go_over_a_socket_too(api: Running) -> None:
    await api.world.pilot()
    async with connect(api) as socket:
        await socket.subscribe("{ users { characterName } }", "q")
        assert await socket.next("q") == {"users": [{"characterName": "Aldo Abrakov"}]}
        assert (await socket.receive()) == {"id": "q", "type": "complete"}
        await socket.subscribe("mutation { queueKillmailSync { queued } }", "q")
        assert await socket.next("q") == {"queueKillmailSync": [{"queued": True}]}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "BAD_USER_INPUT"),
        ("{ nothing }", "BAD_USER_INPUT"),
        ("subscription { newKillmail { id } workerStatusUpdates { queueName } }", "BAD_USER_INPUT"),
        ('subscription { newKillmail(after: "x") { id } }', "BAD_USER_INPUT"),
        ('subscription { newKillmail(after: "abcd:1") { id } }', "BAD_USER_INPUT"),
        ('subscription { newKillmail(characterIds: ["x"]) { id } }', "BAD_USER_INPUT"),
        ("subscription($x: Int!) { newKillmail @include(if: true) { id } }", "BAD_USER_INPUT"),
        ("subscription A { newKillmail { id } } query B { users { id } }", "BAD_USER_INPUT"),
        ("{" + "a " * 2000 + "}", "TOO_EXPENSIVE"),
    ],
)
async def test_what_cannot_be_subscribed_is_an_error_of_that_operation(
    api: Running, query: str, code: str
) -> None:
    async with connect(api) as socket:
        await socket.subscribe(query)
        assert (await socket.error())["extensions"]["code"] == code
        await socket.subscribe("{ __typename }")  # the id is free again, the socket open
        assert await socket.next() == {"__typename": "Query"}


async def test_a_cursor_ahead_of_the_feed_is_refused(api: Running) -> None:
    await api.world.add_some(1)
    cursor = (await api.ask("{ status { feedCursor } }"))["status"]["feedCursor"]
    epoch, _, position = cursor.rpartition(":")
    async with connect(api) as socket:
        await socket.subscribe(NEW, after=f"{epoch}:{int(position) + 1}")
        assert "ahead of the feed" in (await socket.error())["message"]
        await socket.subscribe(NEW, after=f"{'f' * len(epoch)}:0")
        error = await socket.error()
        assert "restored or moved" in error["message"]
        assert "status { feedCursor }" in error["extensions"]["remedy"]


async def test_mails_come_as_they_are_stored(api: Running) -> None:
    await api.world.add_some(2)
    async with connect(api) as socket:
        await socket.subscribe(NEW)
        await following(api, 1)
        stored = await api.world.add_some(3)
        got = [(await socket.next())["newKillmail"]["id"] for _ in stored]
        assert got == [str(each.killmail_id) for each in stored]
        await socket.send(type="complete", id="1")
        await following(api, 0)
        await socket.subscribe(NEW, "2")
        await following(api, 1)
        (last,) = await api.world.add_some(1)
        assert (await socket.next("2"))["newKillmail"]["id"] == str(last.killmail_id)


async def test_a_subscriber_resumes_where_it_stopped_also_after_a_restart(start: Start, world: Any) -> None:
    stored: list[str] = []
    seen: list[str] = []
    cursor: str | None = None
    for round_ in range(4):
        api = await start()
        async with connect(api) as socket:
            await socket.subscribe(
                NEW, after=cursor or (await api.ask("{ status { feedCursor } }"))["status"]["feedCursor"]
            )
            await following(api, 1)
            stored += [str(each.killmail_id) for each in await world.add_some(7)]
            while len(seen) < len(stored) - 2 * (round_ % 2):
                mail = (await socket.next())["newKillmail"]
                seen.append(mail["id"])
                cursor = mail["feedCursor"]
        await api.server.close()
        stored += [str(each.killmail_id) for each in await world.add_some(250 if round_ == 1 else 3)]
    api = await start()
    async with connect(api) as socket:
        await socket.subscribe(NEW, after=cursor)
        while len(seen) < len(stored):
            seen.append((await socket.next())["newKillmail"]["id"])
    assert seen == stored


async def test_mails_stored_while_a_subscriber_catches_up_come_after_the_others(start: Start) -> None:
    api = await start(limits=Limits(replay=10, ring=16))
    before = await api.world.add_some(60)
    stored = [str(each.killmail_id) for each in before]
    async with connect(api) as socket:
        await socket.subscribe(NEW, after=f"{(await api.world.reading.feed_point()).epoch}:0")
        got: list[str] = []

        async def read() -> None:
            while len(got) < 160:
                got.append((await socket.next())["newKillmail"]["id"])

        reader = asyncio.create_task(read())
        for _ in range(10):
            stored += [str(each.killmail_id) for each in await api.world.add_some(10)]
        await reader
    assert got == stored


async def test_subscribers_choose(api: Running) -> None:
    (fresh,) = await api.world.add_some(1)
    await api.world.make_fresh(fresh.killmail_id)
    query = """subscription($ids: [ID!], $fresh: Boolean) {
        newKillmail(characterIds: $ids, freshOnly: $fresh) { id fresh } }"""
    async with connect(api) as socket:
        await socket.subscribe(query, "mine", ids=[str(PILOT)])
        await socket.subscribe(query, "nobody's", ids=[])
        await socket.subscribe(query, "all")
        await following(api, 3)
        (theirs,) = await api.world.add_some(1, pilot=90_000_009)
        assert (await socket.next("all"))["newKillmail"]["id"] == str(theirs.killmail_id)
        await api.world.add_some(1, pilot=PILOT)
        got = {(await socket.receive())["id"] for _ in range(2)}
        assert got == {"mine", "all"}
    # Imports are never fresh; a replay leaves them out too.
    replay = "subscription($after: String) { newKillmail(after: $after, freshOnly: true) { id fresh } }"
    async with connect(api) as socket:
        await socket.subscribe(replay, after=f"{(await api.world.reading.feed_point()).epoch}:0")
        assert await socket.next() == {"newKillmail": {"id": str(fresh.killmail_id), "fresh": True}}


async def test_a_mail_that_would_bring_too_much_says_so_and_the_next_one_comes(start: Start) -> None:
    api = await start(limits=Limits(values=80))
    await api.world.pilot()
    await api.world.add_some(40)
    async with connect(api) as large, connect(api) as small:
        await large.subscribe(
            "subscription { newKillmail { id users { user { killmails(first: 40) { edges { cursor } } } } } }"
        )
        await small.subscribe(NEW)
        await following(api, 2)
        for _ in range(2):
            await api.world.add_some(1)
            message = await large.receive()
            assert message["payload"]["errors"][0]["extensions"]["code"] == "TOO_EXPENSIVE"
            assert (await small.next())["newKillmail"]["id"]


async def test_names_that_became_known_are_there_in_a_replay(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (payloads, feed_hub):
        monkeypatch.setattr(module, "FRESH_SECONDS", -1.0)
    query = "subscription($after: String) { newKillmail(after: $after) { solarSystem { name } } }"
    after = (await api.ask("{ status { feedCursor } }"))["status"]["feedCursor"]
    mail = mail_json(5, utc(int(api.world.clock.now())))
    async with connect(api) as socket:
        await socket.subscribe(query)
        await following(api, 1)
        await api.world.add(mail, named=False)
        assert (await socket.next())["newKillmail"]["solarSystem"]["name"] is None
        await api.world.add(mail)  # nothing new but the names
        await socket.subscribe(query, "again", after=after)
        name = f"Name {mail['solar_system_id']}"
        assert (await socket.next("again"))["newKillmail"]["solarSystem"]["name"] == name


async def test_many_subscribers_cost_the_database_what_one_does(start: Start) -> None:
    api = await start(limits=Limits(subscriptions=50))
    await api.world.pilot()
    query = """subscription($after: String) { newKillmail(after: $after) {
        id victim { shipType { name } } attackers { character { name } } users { role } } }"""
    async with connect(api) as one, connect(api) as other:
        for count in (1, 40):
            for number in range(0 if count == 1 else 1, count):
                point = await api.world.reading.feed_point()
                after = feed_cursor(point.epoch, point.position)
                await (one if number % 2 else other).subscribe(query, f"s{number}", after=after)
            await following(api, count)
            api.world.counting.reset()
            await api.world.add_some(1)
            for number in range(count):
                message = await (one if number % 2 else other).receive()
                assert message["payload"]["data"]["newKillmail"]["victim"]["shipType"]
            for each in ("victims", "attackers", "involved", "users"):
                assert api.world.counting.statements.count(f"reading.{each}") == 1


@pytest.mark.slow
async def test_a_thousand_subscribers_all_get_it(start: Start) -> None:
    """That it comes in time is for the bench to say."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files[1] != resource.RLIM_INFINITY and files[1] < 3000:
        pytest.skip(f"needs 3000 open files, and {files[1]} are allowed: ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files[0], 3000), files[1]))
    # All in one loop with their server: on a loaded machine introductions take longer than a client may.
    api = await start(limits=Limits(init_seconds=60.0))
    await api.client.close()
    connector = aiohttp.TCPConnector(limit=0)
    api.client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector)
    stored: list[str] = []

    async def one() -> None:
        async with connect(api) as socket:
            await socket.subscribe(NEW)
            for number in range(3):
                mail = (await socket.next())["newKillmail"]
                assert mail["id"] == stored[number]

    subscribers = [asyncio.create_task(one()) for _ in range(1000)]
    await following(api, 1000)
    for _ in range(3):
        stored += [str(each.killmail_id) for each in await api.world.add_some(1)]
    await asyncio.gather(*subscribers)


async def test_the_queues_changes_are_pushed(api: Running) -> None:
    await api.world.pilot()
    query = "subscription { workerStatusUpdates { queueName messageCount consumerCount } }"
    async with connect(api) as socket:
        await socket.subscribe(query)
        (now,) = (await socket.next())["workerStatusUpdates"]
        assert now == {"queueName": "esi_user_killmails_queue", "messageCount": 0, "consumerCount": 0}
        await api.ask("mutation { queueKillmailSync { queued } }")
        (then,) = (await socket.next())["workerStatusUpdates"]
        assert then["messageCount"] == 1


async def test_operations_on_a_socket_are_limited(start: Start) -> None:
    api = await start(limits=Limits(subscriptions=3))
    async with connect(api) as socket:
        for number in range(4):
            await socket.subscribe(NEW, str(number))
        assert (await socket.error("3"))["extensions"]["code"] == "TOO_EXPENSIVE"
        await socket.send(type="complete", id="0")
        await socket.subscribe("{ __typename }", "4")
        assert await socket.next("4") == {"__typename": "Query"}


async def test_sockets_are_limited(start: Start) -> None:
    api = await start(limits=Limits(sockets=2))
    async with connect(api), connect(api):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(api):
                pass
        assert refused.value.status == 503
    while api.server.sockets:
        await asyncio.sleep(0.005)
    async with connect(api):
        pass


async def test_who_does_not_read_is_cut_off_and_costs_no_memory(start: Start) -> None:
    api = await start(limits=Limits(send_seconds=0.3))
    raws = " ".join(f"r{number}: raw" for number in range(25))
    async with connect(api) as quick, connect(api) as slow:
        await slow.subscribe(f"subscription {{ newKillmail {{ {raws} }} }}")
        await quick.subscribe("subscription { newKillmail { id } }")
        await following(api, 2)
        transport = slow.ws._conn.transport
        transport.pause_reading()
        while api.server.sockets > 1:
            # A megabyte and more each time: what the kernel holds for a socket is soon full.
            await api.world.add_some(4, attackers=200, items=200)
            for _ in range(4):
                await quick.next()
        assert api.server.followers == 1
        transport.resume_reading()


async def test_a_subscriber_that_leaves_is_forgotten(api: Running) -> None:
    async with connect(api) as socket:
        await socket.subscribe(NEW)
        await following(api, 1)
    while api.server.followers or api.server.sockets:
        await asyncio.sleep(0.005)


async def test_stopping_hangs_up_on_everybody_at_once(api: Running) -> None:
    async with connect(api) as one, connect(api) as other:
        await one.subscribe(NEW)
        await other.subscribe("subscription { workerStatusUpdates { queueName } }")
        await other.next()
        await asyncio.gather(api.server.close(), *(each.closed() for each in (one, other)))
        assert {one.ws.close_code, other.ws.close_code} == {1001}


@pytest.mark.parametrize("method", ["feed_after", "attackers"])
@pytest.mark.parametrize("behind", [False, True])
async def test_a_failing_database_delays_the_feed_and_leaves_nothing_out(
    api: Running, monkeypatch: pytest.MonkeyPatch, method: str, behind: bool
) -> None:
    for module in (feed_hub, graphql_ws):
        monkeypatch.setattr(module, "RETRY", 0.05)
    query = "subscription($after: String) { newKillmail(after: $after) { id attackers { damageDone } } }"
    after = (await api.ask("{ status { feedCursor } }"))["status"]["feedCursor"]
    stored = [str(each.killmail_id) for each in await api.world.add_some(2)] if behind else []
    good = getattr(api.world.reading, method)
    failed = asyncio.Event()

    async def down(*_: object, **__: object) -> Any:
        failed.set()
        raise Unavailable("the database does not answer")

    async with connect(api) as socket:
        if not behind:
            await socket.subscribe(query, after=after)
            await following(api, 1)
        monkeypatch.setattr(api.world.reading, method, down)
        if behind:
            await socket.subscribe(query, after=after)
        stored += [str(each.killmail_id) for each in await api.world.add_some(1)]
        await failed.wait()
        monkeypatch.setattr(api.world.reading, method, good)
        stored += [str(each.killmail_id) for each in await api.world.add_some(1)]
        seen = [(await socket.next())["newKillmail"] for _ in stored]
    assert [mail["id"] for mail in seen] == stored
    assert all(len(mail["attackers"]) == 3 for mail in seen)


async def test_a_database_that_stays_away_ends_the_subscription_with_a_word(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql_ws, "RETRY", 0.001)

    async def down(*_: object, **__: object) -> Any:
        raise Unavailable("the database does not answer", "try again")

    monkeypatch.setattr(api.world.reading, "attackers", down)
    async with connect(api) as socket:
        await socket.subscribe("subscription { newKillmail { id attackers { damageDone } } }")
        await following(api, 1)
        await api.world.add_some(1)
        assert (await socket.error())["extensions"] == {"code": "UNAVAILABLE", "remedy": "try again"}
        monkeypatch.setattr(api.world.reading, "feed_point", down)
        await socket.subscribe(NEW)
        assert (await socket.error())["extensions"]["code"] == "UNAVAILABLE"


def test_the_api_asks_for_what_operations_has() -> None:
    """mypy holds the API to it; this says it for readers."""
    assert ApiServer.__init__.__kwdefaults__ == {"metrics": None}
    assert callable(Operations.status)
