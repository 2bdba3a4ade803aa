"""Clocks that are wrong: ours at a restart, some of ESI's machines', or one Expires. Real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from killsyncd.auth.sso import SsoClient
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import TokenExpired
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import ClockWrong, ListPage, NotBefore, RateLimited
from killsyncd.simulator import Simulator, SimulatorConfig
from tests.support.esi_world import character, door_on, house


class OffClock(SystemClock):
    """A wall clock that is off by so many seconds; set `off` to set it."""

    def __init__(self, off: float) -> None:
        self.off = off

    def now(self) -> float:
        return super().now() + self.off


async def when_lawful(ask: Callable[[], Awaitable[ListPage]], seconds: float = 30.0) -> ListPage:
    """Ask as often as the door says when to come back."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await ask()
            except NotBefore:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("slow", [3600.0, 86_400.0])
async def test_a_clock_that_is_slow_at_a_restart_holds_nothing_up(tmp_path: Path, slow: float) -> None:
    """By our clock status and list are cached for an hour more: ESI is asked for the time when it may be."""
    async with Simulator(SimulatorConfig(pilots=1, history=3, cache=2.0, status_cache=1.0)) as sim:
        pilot = int(sim.pilots()[0]["character_id"])
        token = str(sim.grant(pilot)["access_token"])
        async with door_on(sim.base_url, tmp_path) as esi:
            page = await esi.list_page(character(pilot), 1, token=token)
        async with door_on(sim.base_url, tmp_path, clock=OffClock(-slow)) as esi:
            assert slow - 20 < esi.clock_offset < slow + 20, "told before ESI has answered"

            async def ask() -> ListPage:
                return await esi.list_page(
                    character(pilot),
                    1,
                    token=token,
                    not_before=page.expires_at,
                    cached_for=page.expires_at - page.at,
                )

            with pytest.raises(ClockWrong) as caught:
                await ask()
            assert caught.value.until - esi._clock.now() < 8
            assert (await when_lawful(ask)).status == 200
            assert slow - 3 < esi.clock_offset < slow + 3
        assert sim.breaches() == []


async def test_a_clock_that_is_fast_at_a_restart_forgets_no_budget(tmp_path: Path) -> None:
    """By our clock everything that was spent has come back, and would be forgotten for good."""
    limits = {"killmail": 20}
    async with Simulator(SimulatorConfig(pilots=1, history=20, group_limits=limits)) as sim:
        refs = sim.mails()
        async with door_on(sim.base_url, tmp_path) as esi:
            await spend_all(esi, refs)
        async with door_on(sim.base_url, tmp_path, clock=OffClock(86_400.0)) as esi:
            with pytest.raises(RateLimited):
                await esi.detail_permits(1)
            await esi.status()
            with pytest.raises(RateLimited):
                await esi.detail_permits(1)
        assert sim.breaches() == []


async def spend_all(esi: EsiClient, refs: list[dict]) -> None:
    for ref in refs:
        try:
            (permit,) = await esi.detail_permits(1)
            await esi.killmail(permit, ref["killmail_id"], ref["killmail_hash"])
        except RateLimited:
            return


async def test_tokens_are_judged_by_the_ssos_clock(tmp_path: Path) -> None:
    """An hour fast, a token of 20 minutes looks expired when it comes; a day slow, an old one looks new."""
    async with Simulator(SimulatorConfig(pilots=1)) as sim, aiohttp.ClientSession() as session:
        token = sim.grant(int(sim.pilots()[0]["character_id"]))["access_token"]
        for off in (3600.0, -86_400.0):
            assert (await _sso(session, sim, off).verify(token)).character_id
        sim.set_time(advance=1300.0)
        for off in (3600.0, -86_400.0):
            with pytest.raises(TokenExpired, match="by the SSO's clock"):
                await _sso(session, sim, off).verify(token)


def _sso(session: aiohttp.ClientSession, sim: Simulator, off: float) -> SsoClient:
    return SsoClient(
        session,
        base_url=sim.base_url,
        client_id=sim.config.client_id,
        client_secret=None,
        callback_url="http://127.0.0.1:9/auth/callback",
        scopes=[],
        user_agent="killsyncd/0 (you@example.com)",
        clock=OffClock(off),
    )


@pytest.mark.parametrize("only_date", [True, False])
@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
async def test_a_third_of_esis_dates_wrong(tmp_path: Path, wrong: float, only_date: bool) -> None:
    """Every list comes when its cache ends, none before, and the health can tell."""
    async with house(tmp_path, pilots=4, cache=1.0, limits=False) as home:
        home.sim.script("clock", "esi.*", seconds=wrong, only_date=only_date, probability=1 / 3)
        tokens = {int(each["character_id"]): home.token(each["character_id"]) for each in home.sim.pilots()}

        async def follow(pilot: int, token: str) -> None:
            expires, life = 0.0, None
            for _ in range(8):
                ask = partial(home.esi.list_page, character(pilot), 1, token=token)
                page = await when_lawful(partial(ask, not_before=expires, cached_for=life))
                expires, life = page.expires_at, page.expires_at - page.at
                assert life < 4.0, "no list lives for longer than a second"

        async with asyncio.timeout(60):
            await asyncio.gather(*(follow(pilot, token) for pilot, token in tokens.items()))
        dissent = home.esi.wrong_dates
        assert dissent is not None
        assert abs(dissent.seconds - wrong) < 3
        assert abs(home.esi.clock_offset) < 3


async def test_one_expires_of_2038_asks_for_the_time_and_is_not_the_routes(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, cache=300.0) as home:
        token = home.token(home.pilot)
        late = {"Expires": "Fri, 01 Jan 2038 00:00:00 GMT"}
        home.sim.script("headers", "character_killmails", headers=late, count=1)
        page = await home.esi.list_page(character(home.pilot), 1, token=token)
        assert page.expires_at - page.at == pytest.approx(86_400, abs=2)
        assert home.sim.counters()["requests"]["esi.status"] == {"200": 1}
        assert home.esi.cache_seconds("character") == 300.0
        with pytest.raises(NotBefore) as caught:
            await home.esi.list_page(character(home.pilot), 1, token=token, not_before=page.expires_at)
        assert caught.value.until - home.esi._clock.now() < 310, "no longer than such a list ever lived"


async def test_a_long_life_that_esi_means_is_learnt(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=3, cache=1800.0) as home:
        for each in home.sim.pilots():
            pilot = int(each["character_id"])
            await home.esi.list_page(character(pilot), 1, token=home.token(pilot))
        assert home.esi.cache_seconds("character") == pytest.approx(1800, abs=2)
