"""What clients cannot do: take memory, hold the loop, keep answers without reading them."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from killsyncd.api.graphql import shared_results
from killsyncd.api.graphql.budget import RAW_BYTES
from killsyncd.api.graphql.engine import Answer, Engine
from killsyncd.api.graphql.executor import BoundedExecutor
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.graphql.resolvers import values
from killsyncd.core.clock import utc
from tests.integration.api.conftest import Running, Start, raw
from tests.integration.api.test_sockets import NEW, connect, following
from tests.support.api_world import PILOT, mail_json

NINE = " ".join(f"r{n}: raw" for n in range(9))
RAW = f"{{ killmails(first: 20) {{ edges {{ node {{ {NINE} }} }} }} }}"
LARGE = RAW.replace("20", "40")
ONE_RAW = "{ killmails(first: 1) { edges { node { raw } } } }"
ALIASED = " ".join(f"a{n}: character {{ id }}" for n in range(28))
ALIASES = f"query($id: ID!) {{ killmail(id: $id) {{ attackers {{ {ALIASED} }} }} }}"


async def large(api: Running, killmail_id: int = 7, attackers: int = 1_000) -> None:
    now = utc(int(api.world.clock.now()))
    await api.world.add(mail_json(killmail_id, now, attackers=[None] * attackers, items=10))


async def test_bytes_are_charged_before_they_are_read(start: Start) -> None:
    api = await start(limits=Limits(values=5_000))
    await api.world.pilot()
    await api.world.add_some(60, attackers=20, items=20)
    api.world.counting.reset()
    error = await api.refused(RAW)
    assert error["extensions"]["code"] == "TOO_EXPENSIVE"
    assert "reading.documents" not in api.world.counting.statements
    page = await api.ask("{ killmails(first: 10) { edges { node { raw } } } }")
    assert len(page["killmails"]["edges"]) == 10


async def test_lists_are_charged_before_they_are_read(start: Start) -> None:
    api = await start(limits=Limits(values=900))
    await large(api)
    api.world.counting.reset()
    error = await api.refused("{ killmail(id: 7) { attackers { finalBlow } } }")
    assert error["extensions"]["code"] == "TOO_EXPENSIVE"
    error = await api.refused("{ killmail(id: 7) { items { flag } attackers { finalBlow } } }")
    assert "reading.attackers" not in api.world.counting.statements


async def test_rows_times_fields_are_charged_before_they_are_made(start: Start) -> None:
    api = await start(limits=Limits(values=30_000))
    await large(api)
    error = await api.refused(ALIASES, {"id": "7"})
    assert error["message"] == "the answer would hold more than 30,000 values"
    mail = (await api.ask("{ killmail(id: 7) { attackers { character { id } damageDone } } }"))["killmail"]
    assert len(mail["attackers"]) == 1_000


@pytest.mark.parametrize("over", ["http", "subscription"])
async def test_others_get_their_turn_inside_a_list(
    api: Running, monkeypatch: pytest.MonkeyPatch, over: str
) -> None:
    monkeypatch.setattr("killsyncd.api.graphql.turns.SLICE_SECONDS", 0.0)
    rounds = 0
    over_now = False

    async def bystander() -> None:
        nonlocal rounds
        while not over_now:
            rounds += 1
            await asyncio.sleep(0)

    # Each row waits for a round of its own, where the whole list was one before.
    fields = "attackers { damageDone }"
    if over == "http":
        await large(api, attackers=400)
        task = asyncio.create_task(bystander())
        await api.ask(f"{{ killmail(id: 7) {{ {fields} }} }}")
    else:
        async with connect(api) as socket:
            await socket.subscribe(f"subscription {{ newKillmail {{ {fields} }} }}")
            await following(api, 1)
            task = asyncio.create_task(bystander())
            await large(api, attackers=400)
            assert len((await socket.next())["newKillmail"]["attackers"]) == 400
    over_now = True
    await task
    assert rounds > 400


async def test_a_query_cut_short_leaves_nothing_behind(start: Start) -> None:
    api = await start(limits=Limits(seconds=0.0, values=100_000_000))
    await api.world.pilot()
    await api.world.add_some(100, attackers=100)  # more than any machine does in so short a time
    everything = (
        "{ killmails(first: 100) { edges { node { attackers { character { name } } users { role } } } } }"
    )
    before = asyncio.all_tasks()
    for _ in range(3):
        error = await api.refused(everything)
        assert "longer than 0 s" in error["message"]
    assert not api.server.busy
    left = {task for task in asyncio.all_tasks() - before if "xecutor" in repr(task.get_coro())}
    assert not left


def ask_and_do_not_read(writer: asyncio.StreamWriter, query: str) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    body = json.dumps({"query": query})
    writer.write(
        f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )


async def test_who_does_not_take_an_answer_over_http_is_cut_off(start: Start) -> None:
    api = await start(limits=Limits(seconds=120.0, send_seconds=0.5, patience=120.0, sending=1_000_000))
    await api.world.pilot()
    await api.world.add_some(40, attackers=100, items=100)
    async with raw(api) as (reader, writer):
        ask_and_do_not_read(writer, LARGE)
        while not len(api.server.connections):
            await asyncio.sleep(0.01)
        while len(api.server.connections):
            await asyncio.sleep(0.01)
        # No more than one such answer may be sent at a time: there is room again.
        assert len((await api.ask(ONE_RAW))["killmails"]["edges"]) == 1
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = b""
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    announced = re.search(rb"Content-Length: (\d+)", head)
    assert announced is not None
    assert int(announced[1]) > 8_000_000, "more than the kernel takes of a sender"
    assert len(body) < int(announced[1])


async def test_answers_beyond_what_may_be_sent_are_refused_with_a_word(start: Start) -> None:
    api = await start(limits=Limits(seconds=120.0, send_seconds=120.0, patience=0.2, sending=1_000_000))
    await api.world.pilot()
    await api.world.add_some(40, attackers=100, items=100)
    async with raw(api) as (_, writer):
        ask_and_do_not_read(writer, LARGE)
        while True:
            answer = await api.answer(ONE_RAW)
            if "errors" in answer:
                break
        assert answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        assert await api.ask("{ __typename }") == {"__typename": "Query"}


async def test_operations_on_all_sockets_are_limited(start: Start) -> None:
    api = await start(limits=Limits(operations=3))
    async with connect(api) as one, connect(api) as other:
        for number in range(2):
            await one.subscribe(NEW, str(number))
        await following(api, 2)
        await other.subscribe(NEW, "0")
        await following(api, 3)
        await other.subscribe(NEW, "1")
        assert (await other.error("1"))["extensions"]["code"] == "TOO_EXPENSIVE"
        await one.send(type="complete", id="0")
        await following(api, 2)
        await other.subscribe(NEW, "2")
        await following(api, 3)


async def test_different_subscriptions_and_their_variables_are_limited(start: Start) -> None:
    api = await start(limits=Limits(subscribed_tokens=60, subscribed_bytes=15_000))
    ids = [str(PILOT + number) for number in range(900)]
    chosen = "subscription($c: [ID!]) { newKillmail(characterIds: $c) { id } }"
    async with connect(api) as socket:
        for number in range(5):  # the same text counts once
            await socket.subscribe(NEW, f"same{number}")
        await following(api, 5)
        await socket.subscribe(chosen, "many", c=ids)
        await following(api, 6)
        await socket.subscribe(chosen, "more", c=ids)
        assert "too large together" in (await socket.error("more"))["message"]
        for number in range(5):
            await socket.subscribe(f"subscription {{ newKillmail {{ a{number}: id }} }}", f"own{number}")
        refused: dict[str, Any] = await socket.receive()
        assert "too many different subscriptions" in refused["payload"][0]["message"]


async def test_who_pings_and_does_not_read_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unread(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(web.WebSocketResponse, "pong", unread)
    api = await start(limits=Limits(send_seconds=0.3))
    async with connect(api) as socket:
        await socket.ws.ping(b"x" * 120)
        while api.server.sockets:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_a_query_cut_short_leaves_nothing_to_the_collector(start: Start, seconds: float) -> None:
    """Looking through everything holds the loop as long as there is much."""
    api = await start(limits=Limits(seconds=seconds, values=12_000))
    await api.world.pilot()
    await api.world.add_some(60, attackers=60)
    query = "{ killmails(first: 60) { edges { node { id attackers { damageDone character { name } } } } } }"
    await api.refused(query)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        await api.refused(query)
        await asyncio.sleep(0.1)
        left = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert left < 10_000, f"{left} objects, where there were some 50,000"


async def test_many_that_begin_at_once_take_turns(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through a query, and making ready to execute it, are milliseconds of each."""
    monkeypatch.setattr("killsyncd.api.graphql.turns.SLICE_SECONDS", 0.0)
    rounds = 0
    begun: Counter[int] = Counter()
    build = BoundedExecutor.build.__func__  # type: ignore[attr-defined]
    look = Engine._look_through

    def built(cls: Any, *args: Any, **options: Any) -> Any:
        begun[rounds] += 1
        return build(cls, *args, **options)

    def looked(*args: Any) -> Any:
        begun[rounds] += 1
        return look(*args)

    def next_round() -> None:
        nonlocal rounds
        rounds += 1
        asyncio.get_running_loop().call_soon(next_round)

    monkeypatch.setattr(BoundedExecutor, "build", classmethod(built))
    monkeypatch.setattr(Engine, "_look_through", looked)
    api = await start()
    async with connect(api) as socket:
        next_round()
        for number in range(20):
            await socket.subscribe(f"subscription {{ newKillmail {{ a{number}: id }} }}", str(number))
        await following(api, 20)
        await api.world.add_some(1)
        for _ in range(20):
            assert (await socket.receive())["type"] == "next"
    assert sum(begun.values()) == 40
    assert max(begun.values()) <= 3, "two are woken for a round, beside the one that opens it"


async def test_a_query_of_some_length_is_looked_through_beside_the_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes tens of milliseconds; so does finding out what subscriptions share."""
    loop, seen = threading.get_ident(), set[int]()
    look, text_of = Engine._look_through, shared_results.text_of

    def looked(*args: Any) -> Any:
        seen.add(threading.get_ident())
        return look(*args)

    def found(document: Any) -> Any:
        seen.add(threading.get_ident())
        return text_of(document)

    monkeypatch.setattr(Engine, "_look_through", looked)
    monkeypatch.setattr(shared_results, "text_of", found)
    api = await start()
    fields = " ".join(f"a{number}: id" for number in range(28))
    async with connect(api) as socket:
        await socket.subscribe(f"subscription {{ newKillmail {{ {fields} }} }}", "1")
        await following(api, 1)
    assert seen
    assert loop not in seen


@pytest.mark.parametrize("how", ["cut off", "gone"])
async def test_an_answer_that_nobody_took_is_freed_at_once(
    start: Start, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """It may be as large as answers get, and there may be many such clients."""

    def answers() -> int:
        return sum(isinstance(each, Answer) for each in gc.get_objects())

    patience = 0.3 if how == "cut off" else 60.0
    api = await start(limits=Limits(seconds=120.0, send_seconds=patience, patience=120.0))
    await api.world.pilot()
    await api.world.add_some(40, attackers=100, items=100)
    gc.collect()
    gc.disable()
    try:
        async with raw(api) as (_, writer):
            ask_and_do_not_read(writer, LARGE)
            while not answers():
                await asyncio.sleep(0.01)
            if how == "gone":
                writer.transport.abort()
            while len(api.server.connections):
                await asyncio.sleep(0.01)
        while answers():  # not only with the collector's help
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_who_hangs_up_in_the_middle_of_a_request_is_no_failure(
    api: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(api) as (_, writer):
        writer.write(
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        await writer.drain()
        while not len(api.server.connections):
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        while len(api.server.connections):
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert not [each for each in caplog.records if each.levelname in ("ERROR", "WARNING")]


async def test_a_fit_is_made_once_and_its_text_is_charged(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await start(limits=Limits(values=2_000))
    await api.world.pilot()
    await api.world.add(mail_json(7, utc(int(api.world.clock.now())), attackers=[None], items=400))
    made = Counter[str]()
    for name in ("Sorter", "eft"):
        usual = getattr(values, name)

        def counted(*args: Any, name: str = name, usual: Any = usual) -> Any:
            made[name] += 1
            return usual(*args)

        monkeypatch.setattr(values, name, counted)
    twice = await api.ask("{ killmail(id: 7) { a: fitting { eft } b: fitting { eft high { quantity } } } }")
    assert twice["killmail"]["a"]["eft"] == twice["killmail"]["b"]["eft"]
    assert made == {"Sorter": 1, "eft": 1}
    text = len(twice["killmail"]["a"]["eft"]) // RAW_BYTES
    often = " ".join(f"e{n}: eft" for n in range(2_000 // text + 1))
    error = await api.refused(f"{{ killmail(id: 7) {{ fitting {{ {often} }} }} }}")
    assert error["extensions"]["code"] == "TOO_EXPENSIVE"


async def test_others_get_their_turn_while_a_fit_is_made(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.world.pilot()
    await api.world.add(mail_json(7, utc(int(api.world.clock.now())), attackers=[None], items=3_000))
    paused = 0
    usual = asyncio.sleep

    async def sleep(seconds: float) -> None:
        nonlocal paused
        paused += 1
        await usual(seconds)

    monkeypatch.setattr(values.asyncio, "sleep", sleep)
    await api.ask("{ killmail(id: 7) { fitting { __typename } } }")
    assert paused >= 3_000 // values.SORTED_AT_ONCE
