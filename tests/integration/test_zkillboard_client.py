"""The client of zKillboard against the simulated one: polite, and bounded whatever comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from killsyncd import user_agent
from killsyncd.core.errors import BadInput
from killsyncd.simulator import Simulator, SimulatorConfig
from killsyncd.zkillboard.client import LIST_PACE, NotNow, ZkillboardClient
from killsyncd.zkillboard.settings import ZkillboardSettings
from killsyncd.zkillboard.walk import EntityKind


class HastyClock:
    """Whoever sleeps wakes at once, that much later. The simulator's time, too."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0

    def now(self) -> float:
        return self._now

    wall = now

    def monotonic(self) -> float:
        return self._now - 1_799_000_000.0

    async def sleep(self, seconds: float) -> None:
        self._now += seconds

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], object]:
        raise NotImplementedError


@asynccontextmanager
async def world(contact: str = "you@example.com") -> AsyncIterator[tuple[Simulator, ZkillboardClient, Any]]:
    clock: Any = HastyClock()
    async with Simulator(SimulatorConfig(pilots=2, history=0), clock) as sim:
        settings = ZkillboardSettings(
            f"{sim.base_url}/zkillboard/api", f"{sim.base_url}/r2z2", user_agent(contact)
        )
        client = ZkillboardClient(settings, clock)
        try:
            yield sim, client, clock
        finally:
            await client.close()


async def test_lists_and_stream_without_a_breach() -> None:
    async with world() as (sim, client, clock):
        one, two = (each["character_id"] for each in sim.pilots())
        made = sim.add_mails(3, [one, two], shared=True, age=900)
        right = sorted(((each["killmail_id"], each["killmail_hash"]) for each in made), reverse=True)
        begun = clock.monotonic()
        pages = [await client.list_page(EntityKind.CHARACTER, each, 1) for each in (one, two)]
        corporation = sim.pilots()[0]["corporation_id"]
        pages.append(await client.list_page(EntityKind.CORPORATION, corporation, 1))
        assert [page.entries for page in pages] == [right] * 3
        assert clock.monotonic() - begun >= 2 * LIST_PACE
        head = await client.sequence()
        for number in range(25):
            file = await client.stream_file(head - number % 3)
            assert file is not None
            assert (file.killmail_id, file.killmail_hash) in right
            assert {one, two} <= file.involved
        assert await client.stream_file(head + 1) is None
        assert sim.breaches() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "status", "status": 503}, "reinforced mode"),
        ({"kind": "status", "status": 429}, "come back later"),
        ({"kind": "status", "status": 403}, "refuses us"),
        ({"kind": "status", "status": 500}, "500"),
        ({"kind": "html", "status": 502}, "502"),
        ({"kind": "reset"}, "does not answer"),
        ({"kind": "truncate"}, "does not answer"),
    ],
)
async def test_an_outage_is_told_from_a_bad_answer(fault: dict[str, Any], words: str) -> None:
    async with world() as (sim, client, _):
        pilot = sim.pilots()[0]["character_id"]
        sim.script(fault.pop("kind"), "zkb.list", **fault)
        with pytest.raises(NotNow, match=words) as refused:
            await client.list_page(EntityKind.CHARACTER, pilot, 1)
        assert str(pilot) not in refused.value.message


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html"},
        {"kind": "malformed"},
        {"kind": "body", "body": "null"},
        {"kind": "big", "size": 3_000_000},
        {"kind": "bomb", "size": 50_000_000},
    ],
)
async def test_what_is_no_answer_is_refused_within_bounds(fault: dict[str, Any]) -> None:
    async with world() as (sim, client, _):
        sim.script(fault.pop("kind"), "zkb.*", **fault)
        with pytest.raises(BadInput):
            await client.list_page(EntityKind.CHARACTER, sim.pilots()[0]["character_id"], 1)
        with pytest.raises(BadInput):
            await client.sequence()


async def test_a_list_that_is_not_there_is_that_list_s_trouble() -> None:
    """It would hold up all others otherwise, every time that it is due."""
    async with world() as (sim, client, _):
        sim.script("status", "zkb.list", status=404)
        with pytest.raises(BadInput, match="404"):
            await client.list_page(EntityKind.CHARACTER, sim.pilots()[0]["character_id"], 1)


async def test_it_comes_back_when_it_was_asked_to() -> None:
    async with world() as (sim, client, clock):
        sim.script("status", "zkb.*", status=503, headers={"Retry-After": "120"}, count=1)
        with pytest.raises(NotNow) as refused:
            await client.sequence()
        assert refused.value.until == clock.now() + 120.0
        sim.script("status", "zkb.*", status=503, headers={"Retry-After": "999999"}, count=1)
        with pytest.raises(NotNow) as refused:
            await client.sequence()
        assert refused.value.until == clock.now() + 3600.0
