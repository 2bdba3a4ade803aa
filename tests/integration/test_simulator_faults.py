"""Scripted faults on the wire: what a client really sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from killsyncd.core.errors import BadInput, NotFound
from killsyncd.simulator import Simulator, SimulatorConfig
from tests.support.simulator_caller import Caller, rules


@asynccontextmanager
async def universe() -> AsyncIterator[tuple[Simulator, Caller]]:
    simulator = Simulator(SimulatorConfig(pilots=2, history=10))
    async with simulator, Caller(simulator) as caller:
        yield simulator, caller


async def test_a_status_with_and_without_headers() -> None:
    async with universe() as (sim, caller):
        ref = sim.mails()[0]
        sim.script("status", "killmail", status=429, retry_after=1, count=1)
        told = await caller.detail(ref)
        assert told.status == 429
        assert told.headers["Retry-After"] == "1"
        assert "X-Ratelimit-Remaining" in told.headers
        sim.clear_faults()
        sim.script("status", "killmail", status=429, bare=True, count=1)
        bare = await caller.detail(ref)
        assert bare.status == 429
        assert not any(name.lower().startswith(("x-rate", "retry")) for name in bare.headers)
        assert (await caller.detail(ref)).status == 200


async def test_a_scripted_retry_after_binds() -> None:
    async with universe() as (sim, caller):
        ref = sim.mails()[0]
        sim.script("status", "killmail", status=429, retry_after=60, count=1)
        await caller.detail(ref)
        sim.set_time(advance=59)
        await caller.detail(ref)
        assert rules(sim) == ["retry_after"]
        sim.set_time(advance=1)
        await caller.detail(ref)
        assert rules(sim) == ["retry_after"]


async def test_a_scripted_420_blocks_every_route() -> None:
    async with universe() as (sim, caller):
        sim.script("status", "killmail", status=420, headers={"X-ESI-Error-Limit-Reset": "5"}, count=1)
        assert (await caller.detail(sim.mails()[0])).status == 420
        sim.set_time(advance=4)
        assert (await caller.ask("/status")).status == 420
        sim.set_time(advance=1)
        assert (await caller.ask("/status")).status == 200
        assert rules(sim) == ["error_limited"]


async def test_a_server_error_costs_nothing_and_one_mail_alone_can_fail() -> None:
    async with universe() as (sim, caller):
        one, two = sim.mails()[:2]
        fault = sim.script("status", status=500, killmail=one["killmail_id"])
        answers = [await caller.detail(one), await caller.detail(one), await caller.detail(two)]
        assert [answer.status for answer in answers] == [500, 500, 200]
        assert answers[-1].headers["X-Ratelimit-Used"] == "2"
        assert sim.faults()[0]["hits"] == 2
        assert sim.clear_faults(fault) == 1
        assert (await caller.detail(one)).status == 200


async def test_truncated_bodies_break_off() -> None:
    async with universe() as (sim, caller):
        sim.script("truncate", "killmail", count=1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.detail(sim.mails()[0])
        assert sim.counters()["refetches"] == 0
        await caller.detail(sim.mails()[0])
        # Whoever was cut off may ask again.
        assert sim.counters()["refetches"] == 0


async def test_malformed_bodies_are_whole_on_the_wire() -> None:
    async with universe() as (sim, caller):
        sim.script("malformed", "killmail", count=1)
        answer = await caller.detail(sim.mails()[0])
        assert answer.status == 200
        with pytest.raises(orjson.JSONDecodeError):
            answer.json()


async def test_ids_as_strings_wrong_type_html_and_other_bodies() -> None:
    async with universe() as (sim, caller):
        ref = sim.mails()[0]
        for script in (
            {"kind": "ids_as_strings"},
            {"kind": "wrong_type"},
            {"kind": "html"},
            {"kind": "body", "body": "null"},
        ):
            sim.script(route="killmail", count=1, **script)
        strings, plain, html, other = [await caller.detail(ref) for _ in range(4)]
        assert strings.json()["killmail_id"] == str(ref["killmail_id"])
        assert plain.headers["Content-Type"].startswith("text/plain")
        assert plain.json()["killmail_id"] == ref["killmail_id"]
        assert html.status == 200
        assert html.headers["Content-Type"].startswith("text/html")
        assert other.json() is None


async def test_a_body_of_megabytes() -> None:
    async with universe() as (sim, caller):
        sim.script("big", "killmail", size=5_000_000, count=1)
        assert len((await caller.detail(sim.mails()[0])).body) == 5_000_000


async def test_a_body_that_swells() -> None:
    async with universe() as (sim, caller):
        sim.script("bomb", "killmail", size=5_000_000, count=1)
        answer = await caller.detail(sim.mails()[0])
        assert len(answer.body) == 5_000_000
        assert int(answer.headers["Content-Length"]) < 50_000


async def test_a_client_may_hang_up_on_megabytes() -> None:
    async with universe() as (sim, caller):
        sim.script("big", "status", count=1)
        async with aiohttp.ClientSession() as session, session.get(f"{sim.base_url}/status") as response:
            await response.content.read(1000)
            response.close()
        assert (await caller.ask("/status")).status == 200


async def test_connections_are_reset() -> None:
    async with universe() as (sim, caller):
        sim.script("reset", "status")
        with pytest.raises(aiohttp.ClientError):
            await caller.ask("/status")
        # aiohttp's client itself asks once more when a connection of its pool breaks.
        assert sim.counters()["requests"]["esi.status"].keys() == {"0"}


async def test_a_request_that_is_cut_off_or_refused_counts_as_one() -> None:
    async with universe() as (sim, caller):
        ref = sim.mails()[0]
        sim.script("reset", "killmail", count=1)
        # aiohttp, whose caller this is, sends a GET again by itself: both have come.
        assert (await caller.detail(ref)).status == 200
        assert sim.counters()["detail_requests"] == 2
        sim.script("status", "killmail", status=503, count=1)
        assert (await caller.detail(ref)).status == 503
        assert sim.counters()["detail_requests"] == 3


async def test_hanging_ends_with_the_client_and_with_the_simulator() -> None:
    async with universe() as (sim, caller):
        sim.script("hang", "status")
        with pytest.raises(TimeoutError):
            await caller.ask("/status", timeout=aiohttp.ClientTimeout(total=0.1))
        await sim.wait_until(lambda: sim.counters()["requests"].get("esi.status") == {"0": 1})
        assert sim.counters()["crashes"] == []
        waiting = asyncio.create_task(caller.ask("/status"))
        while sim.counters()["concurrency"] == 0:
            await asyncio.sleep(0.01)
    with pytest.raises((aiohttp.ClientError, asyncio.CancelledError)):
        await waiting


async def test_stalling_sends_half() -> None:
    async with universe() as (sim, caller):
        sim.script("stall", "status", seconds=0.1, count=1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.ask("/status")


async def test_headers_can_tear_a_walk() -> None:
    async with universe() as (sim, caller):
        character = sim.pilots()[0]["character_id"]
        token = sim.grant(character)["access_token"]
        torn = "Mon, 01 Jan 2024 00:00:00 GMT"
        sim.script("headers", "character_killmails", headers={"Last-Modified": torn, "ETag": ""})
        answer = await caller.list(character, token)
        assert answer.headers["Last-Modified"] == torn
        assert "ETag" not in answer.headers
        await caller.list(character, token)
        assert rules(sim) == ["expires"]


async def test_a_fault_of_one_page_strikes_that_page_alone() -> None:
    async with universe() as (sim, caller):
        sim.settings(page_size=2)
        character = sim.pilots()[0]["character_id"]
        token = sim.grant(character)["access_token"]
        sim.script("headers", "character_killmails", page=2, headers={"ETag": '"another"'})
        found = [(await caller.list(character, token, page=page)).headers["ETag"] for page in (1, 2)]
        assert [each == '"another"' for each in found] == [False, True]


async def test_expired_lists_show_news_in_the_middle_of_a_walk() -> None:
    async with universe() as (sim, caller):
        character = sim.pilots()[0]["character_id"]
        token = sim.grant(character)["access_token"]
        await caller.list(character, token)
        (fresh,) = sim.add_mails(1, [character])
        sim.expire_lists(character)
        assert (await caller.list(character, token)).json()[0] == fresh


async def test_levers_say_what_is_wrong() -> None:
    async with universe() as (sim, _):
        with pytest.raises(NotFound, match="no pilot 1"):
            sim.revoke(1)
        with pytest.raises(NotFound, match="no killmail 1"):
            sim.mail(1)
        with pytest.raises(NotFound, match="no operation"):
            sim.perform("explode", {})
        with pytest.raises(BadInput, match="unexpected keyword"):
            sim.perform("pilots", {"first": 1})
        with pytest.raises(BadInput, match="no setting"):
            sim.settings(gravity=1)
        with pytest.raises(BadInput, match="Known:"):
            sim.script("earthquake")


async def test_mails_are_shared_and_given() -> None:
    async with universe() as (sim, _):
        one, two = (pilot["character_id"] for pilot in sim.pilots())
        (both,) = sim.add_mails(1, [one, two], shared=True, loss=True)
        assert both in sim.mails(one)
        assert both in sim.mails(two)
        mine, _ = sim.add_mails(1, [one, two])
        assert mine not in sim.mails(two)
        sim.share([mine["killmail_id"]], [two])
        assert mine in sim.mails(two)
        document = sim.mail(both["killmail_id"])
        document["killmail_id"] = 77
        (given,) = sim.add_documents([document], [one])
        assert given == {"killmail_id": 77, "killmail_hash": both["killmail_hash"]}
        assert sim.mail(77) == document
        assert sim.add_mails(1, [one], late=True)[0]["killmail_id"] < sim.state()["newest_id"]
        (added,) = sim.add_pilots(1, history=4)
        assert added["killmails"] == 4


async def test_who_hung_up_was_told_nothing() -> None:
    """An answer that nobody heard binds nobody, and its refresh token is not lost by the client's fault."""
    async with universe() as (sim, caller):
        character = sim.pilots()[0]["character_id"]
        tokens = sim.grant(character)
        sim.script("latency", "character_killmails", seconds=0.3, count=1)
        sim.script("latency", "sso.token", seconds=0.3, count=1)
        impatient = aiohttp.ClientTimeout(total=0.1)
        path = f"/characters/{character}/killmails/recent"
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        form = {
            "grant_type": "refresh_token",
            "refresh_token": tokens["refresh_token"],
            "client_id": sim.config.client_id,
        }
        for attempt in (
            caller.ask(path, headers=headers, timeout=impatient),
            caller.token(form, timeout=impatient),
        ):
            with pytest.raises(TimeoutError):
                await attempt
        await sim.wait_until(lambda: sim.counters()["total"] == 2)
        assert (await caller.list(character, tokens["access_token"])).status == 200
        assert (await caller.token(form)).json()["error"] == "invalid_grant"
        assert rules(sim) == []
