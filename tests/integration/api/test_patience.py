"""What a query waits for others does not count, and no subscriber misses a mail for being slow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from killsyncd.api.graphql import websocket as graphql_ws
from killsyncd.api.graphql.limits import Limits
from killsyncd.core.clock import utc
from tests.integration.api.conftest import Running, Start
from tests.integration.api.test_sockets import connect, following
from tests.support.api_world import PILOT, mail_json

WIDE = "subscription { newKillmail { id attackers { character { id } corporation { id } } } }"


async def wide_mail(api: Running, killmail_id: int) -> None:
    now = utc(int(api.world.clock.now()))
    await api.world.add(mail_json(killmail_id, now, attackers=[PILOT, *[None] * 1_500]))


async def test_a_mail_that_waits_for_the_place_of_large_answers_comes(start: Start) -> None:
    """Longer than a query may take; and it holds nothing meanwhile that others need."""
    api = await start(limits=Limits(seconds=1.0))
    budget = api.server._engine._budget
    large = await budget.admit(200_000, 0)
    async with connect(api) as socket:
        await socket.subscribe(WIDE)
        await following(api, 1)
        await wide_mail(api, 7)
        while not budget._large._waiting:
            await asyncio.sleep(0.005)
        await asyncio.sleep(1.5)
        assert budget._shared.free == budget._shared.capacity
        large.close()
        mail = (await socket.next())["newKillmail"]
        assert (mail["id"], len(mail["attackers"])) == ("7", 1_501)


async def test_a_mail_that_takes_too_long_is_tried_again_and_not_passed_over(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql_ws, "RETRY", 0.05)
    api = await start(limits=Limits(seconds=0.3))
    read = api.world.reading.attackers
    slow = asyncio.Event()
    asked: list[Any] = []

    async def attackers(ids: Any) -> Any:
        asked.append(ids)
        if len(asked) == 1:
            await slow.wait()
        return await read(ids)

    monkeypatch.setattr(api.world.reading, "attackers", attackers)
    async with connect(api) as socket:
        await socket.subscribe("subscription { newKillmail { id attackers { finalBlow } } }")
        await following(api, 1)
        await wide_mail(api, 7)
        while not asked:
            await asyncio.sleep(0.005)
        await asyncio.sleep(1.0)
        slow.set()
        assert len((await socket.next())["newKillmail"]["attackers"]) == 1_501
        await wide_mail(api, 8)
        assert (await socket.next())["newKillmail"]["id"] == "8"


async def test_a_query_that_waits_for_its_turn_is_not_refused_for_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    async def take(*_: object) -> None:
        nonlocal now
        now += 10.0
        await asyncio.sleep(0)

    monkeypatch.setattr("killsyncd.api.graphql.turns.SLICE_SECONDS", 0.0)
    monkeypatch.setattr("killsyncd.api.graphql.turns.Turns.take", take)
    monkeypatch.setattr("killsyncd.api.graphql.budget.perf_counter", lambda: now)
    api = await start(limits=Limits(seconds=9.0))
    await wide_mail(api, 7)
    answer = await api.ask("{ killmail(id: 7) { attackers { damageDone } } }")
    assert len(answer["killmail"]["attackers"]) == 1_501
    assert now > 1_000.0


async def test_one_that_turns_out_large_is_told_that_the_daemon_is_busy(start: Start) -> None:
    api = await start(limits=Limits(patience=0.2))
    await wide_mail(api, 7)
    large = await api.server._engine._budget.admit(200_000, 0)
    error = await api.refused("{ killmail(id: 7) { attackers { character { id } corporation { id } } } }")
    assert error["extensions"]["code"] == "UNAVAILABLE"
    large.close()


async def test_what_a_query_waits_for_a_connection_of_the_database_is_not_its_own_time(start: Start) -> None:
    """SQLite has two readers: whoever waits for one did nothing that cost too much."""
    api = await start(limits=Limits(seconds=0.3))
    await wide_mail(api, 7)
    free = api.world.store._free  # type: ignore[attr-defined]
    lent = [await free.get() for _ in range(2)]
    asking = asyncio.create_task(api.answer("{ killmail(id: 7) { id victim { damageTaken } } }"))
    await asyncio.sleep(1.0)
    assert not asking.done()
    for each in lent:
        free.put_nowait(each)
    body = await asking
    assert body["data"]["killmail"]["id"] == "7", body
