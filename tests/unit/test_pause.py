"""Pauses and events, within one process and between several."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import Any

from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.daemon.peers import PeerEvents
from killsyncd.sync.pause import LOOK_AGAIN, Pauses
from tests.support.clocks import ManualClock


@asynccontextmanager
async def running(work: Any) -> Any:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Table:
    """The table of switches."""

    def __init__(self) -> None:
        self.on: dict[str, float] = {}
        self.reads = 0
        self.away = False

    async def read(self) -> dict[str, float]:
        self.reads += 1
        if self.away:
            raise Unavailable("the database is away")
        return self.on


async def test_who_turns_a_switch_is_heard_at_once_and_once() -> None:
    clock, events, table, told = ManualClock(), Events(), Table(), []
    switches = Pauses(table.read, events, clock)
    events.on("switches", lambda: told.append(switches.paused()))
    async with running(switches.run()):
        await clock.settle()
        table.on = {"daemon": 1.0}
        events.tell("switches")
        await clock.settle(50)
        assert (switches.paused(), switches.producer_paused()) == (True, True)
        assert told == [False, True], "who looked too early is told again, and that is all"
        table.on = {"producer": 1.0}
        events.tell("switches")
        await clock.settle(50)
        assert (switches.paused(), switches.producer_paused()) == (False, True)


async def test_another_daemons_switch_is_found_and_trouble_changes_nothing() -> None:
    clock, table = ManualClock(), Table()
    switches = Pauses(table.read, Events(), clock)
    async with running(switches.run()):
        table.on = {"daemon": 1.0}
        await clock.advance(LOOK_AGAIN + 1)
        assert switches.paused()
        table.on, table.away = {}, True
        await clock.advance(LOOK_AGAIN + 1)
        assert switches.paused()
        table.away = False
        await clock.advance(LOOK_AGAIN + 1)
        assert not switches.paused()


class Line:
    """The database's notifications."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = False

    async def notify(self, channel: str) -> None:
        if self.away:
            raise Unavailable("the database is away")
        self.said.append(channel)


async def test_the_bridge_tells_others_once_and_never_echoes() -> None:
    clock, events, line, heard = ManualClock(), Events(), Line(), []
    bridge = PeerEvents(line, events, clock)  # type: ignore[arg-type]
    events.on("feed", lambda: heard.append(1))
    async with running(bridge.run()):
        for _ in range(100):
            events.tell("feed")
        await clock.advance(1)
        assert line.said == ["feed"]
        bridge.hear("feed")
        await clock.advance(1)
        assert (line.said, len(heard)) == (["feed"], 101)
        bridge.hear("")
        await clock.advance(1)
        assert (line.said, len(heard)) == (["feed"], 102)


async def test_the_bridge_outlives_a_database_that_is_away() -> None:
    clock, events, line = ManualClock(), Events(), Line()
    bridge = PeerEvents(line, events, clock)  # type: ignore[arg-type]
    line.away = True
    async with running(bridge.run()) as task:
        events.tell("wants")
        await clock.advance(1)
        line.away = False
        events.tell("wants")
        await clock.advance(1)
        assert line.said == ["wants"]
        assert not task.done()


async def test_a_signal_waits_for_bell_time_or_the_end() -> None:
    clock, signal, stopping = ManualClock(), Wakeup(), asyncio.Event()
    signal.ring()
    signal.ring()
    assert await signal.wait(clock, 5.0)
    waiting = asyncio.ensure_future(signal.wait(clock, 5.0))
    await clock.advance(6)
    assert not await waiting
    with signal.ringing_at(stopping):
        rest = asyncio.ensure_future(signal.wait(clock, 1000.0))
        await clock.settle()
        assert not rest.done()
        stopping.set()
        assert await rest
    assert clock.sleepers == 0
