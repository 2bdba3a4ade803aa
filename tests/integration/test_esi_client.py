"""The door against the simulator, over real sockets: what it answers, and that no rule is broken."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.core.model import Source, SourceKind
from killsyncd.esi import downtime as gate
from killsyncd.esi.client import EsiClient
from killsyncd.esi.ratelimit.permits import Permit
from killsyncd.esi.ratelimit.windows import FLOOR, LOOKS
from killsyncd.esi.responses import (
    Downtime,
    EsiStatus,
    MalformedResponse,
    NoResponseReceived,
    NotBefore,
    NotSent,
    RateLimited,
    ResponseTruncated,
    TooLarge,
)
from killsyncd.simulator import Simulator, SimulatorConfig
from killsyncd.storage.transaction import Tx
from tests.support.esi_world import character, door_on, house, postgres_doors, wait_for_permit
from tests.support.server_urls import create_database, drop_database


@pytest.fixture(autouse=True)
def _no_daily_downtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure is enough for the gate around 11:00 UTC; these tests mean the same all day."""
    monkeypatch.setattr(gate, "DAILY_TO", gate.DAILY_FROM)


async def until_limited(step: Callable[[int], Awaitable[object]]) -> tuple[int, RateLimited]:
    """How often it worked until the door said no, and what it said."""
    for number in range(1000):
        try:
            await step(number)
        except RateLimited as limited:
            return number, limited
    raise AssertionError("nothing ever limited it")


async def test_a_list_its_validators_and_its_mails(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        told: list[float] = []

        def alongside(at: float) -> Tx[None]:
            told.append(at)
            yield from ()

        page = await home.esi.list_page(
            character(home.pilot), 1, token=home.token(home.pilot), alongside=alongside
        )
        assert page.status == 200
        assert page.pages == 1
        assert page.entries is not None
        listed = home.sim.mails(home.pilot)
        assert sorted(page.entries) == sorted((each["killmail_id"], each["killmail_hash"]) for each in listed)
        assert page.etag is not None
        assert told[0] <= page.at < page.expires_at
        for ref in listed:
            answer = await home.fetch(ref)
            assert answer.killmail.killmail_id == ref["killmail_id"]
        counters = home.sim.counters()
        assert counters["breaches"] == 0
        assert home.esi.stats.requests["killmail", "2xx"] == len(listed)


async def test_expires_is_the_law(tmp_path: Path) -> None:
    async with house(tmp_path, cache=2.0) as home:
        token = home.token(home.pilot)
        page = await home.esi.list_page(character(home.pilot), 1, token=token)
        with pytest.raises(NotBefore) as caught:
            await home.esi.list_page(character(home.pilot), 1, token=token, not_before=page.expires_at)
        assert caught.value.until >= home.esi.wall(page.expires_at)
        await asyncio.sleep(caught.value.until - home.clock.now())
        again = await home.esi.list_page(
            character(home.pilot), 1, token=token, etag=page.etag, not_before=page.expires_at
        )
        assert again.status == 304
        assert again.entries is None
        assert again.expires_at > page.expires_at


async def test_a_clock_ten_minutes_ahead_or_behind(tmp_path: Path) -> None:
    for offset in (-600.0, 600.0):
        async with house(tmp_path / str(offset), cache=30.0) as home:
            home.sim.set_time(offset=offset)
            token = home.token(home.pilot)
            page = await home.esi.list_page(character(home.pilot), 1, token=token)
            with pytest.raises(NotBefore) as caught:
                await home.esi.list_page(character(home.pilot), 1, token=token, not_before=page.expires_at)
            assert 20 < caught.value.until - home.clock.now() < 34
            assert abs(home.esi.clock_offset - offset) < 2


async def test_a_list_that_has_expired_there_is_asked_for_though_our_clock_is_behind(tmp_path: Path) -> None:
    """After a restart, too: ESI is asked for its time before anything is concluded from ours.

    One Date alone may be as wrong as our clock: the status is asked once more as soon as it may be.
    """
    async with house(tmp_path, status_cache=1.0) as home:
        home.sim.set_time(offset=600.0)
        expired = home.clock.now() + 600.0 - 10.0
        token = home.token(home.pilot)
        with pytest.raises(NotBefore) as caught:
            await home.esi.list_page(character(home.pilot), 1, token=token, not_before=expired)
        assert caught.value.until - home.clock.now() < 6
        async with asyncio.timeout(20):
            while not home.esi._time.sure:
                await asyncio.sleep(0.05)
        page = await home.esi.list_page(character(home.pilot), 1, token=token, not_before=expired)
        assert page.status == 200


async def test_a_restart_with_a_clock_that_is_off_asks_nothing_too_early(tmp_path: Path) -> None:
    for offset in (-600.0, 600.0):
        path = tmp_path / str(offset)
        path.mkdir()
        async with Simulator(SimulatorConfig(pilots=1, cache=300.0)) as sim:
            sim.set_time(offset=offset)
            pilot = int(sim.pilots()[0]["character_id"])
            token = str(sim.grant(pilot)["access_token"])
            async with door_on(sim.base_url, path) as esi:
                page = await esi.list_page(character(pilot), 1, token=token)
            async with door_on(sim.base_url, path) as esi:
                with pytest.raises(NotBefore) as caught:
                    await esi.list_page(character(pilot), 1, token=token, not_before=page.expires_at)
                assert caught.value.until - time.time() < 40, "until the status tells the time"
            assert sim.breaches() == []


async def test_a_bucket_that_is_empty_says_when_to_come_back(tmp_path: Path) -> None:
    async with house(tmp_path, cache=0.0, history=1) as home:
        token = home.token(home.pilot)
        asked, limited = await until_limited(
            lambda _: home.esi.list_page(character(home.pilot), 1, token=token)
        )
        # 13 pages at 2 tokens, and after that 4 tokens are less than a page may cost.
        assert asked == 13
        assert limited.group == "char-killmail"
        assert 800 < limited.until - home.clock.now() < 910
        views = {(view.group, view.character_id): view for view in await home.esi.budgets()}
        assert views["char-killmail", home.pilot].remaining == 4
        assert views["char-killmail", home.pilot].limit == 30


@pytest.mark.parametrize("limit", [4, 7, 20, 60])
async def test_tiny_windows_are_never_overdrawn(tmp_path: Path, limit: int) -> None:
    async with house(tmp_path, history=30, pilots=1, window=1.0, group_limits={"killmail": limit}) as home:
        refs = home.sim.mails(home.pilot)[: max(3, limit // 2 + 3)]
        answers = await asyncio.gather(*(home.fetch(ref) for ref in refs))
        assert len(answers) == len(refs)
        assert home.sim.counters()["breaches"] == 0


async def test_a_restart_remembers_what_was_spent(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=20, group_limits={"killmail": 20}) as home:
        refs = home.sim.mails(home.pilot)
        for ref in refs[:4]:
            await home.fetch(ref)
        permits = await home.esi.detail_permits(4)  # in hand when it dies
        assert permits
    async with house(tmp_path, pilots=1, history=20, group_limits={"killmail": 20}) as home:
        # Another simulator, which has forgotten: our own books must hold.
        refs = home.sim.mails(home.pilot)
        await until_limited(lambda number: home.fetch_now(refs[number]))
        assert home.sim.counters()["detail_requests"] < 8


async def test_somebody_else_at_the_same_address_is_noticed(tmp_path: Path) -> None:
    async with house(
        tmp_path, pilots=1, history=40, window=2.0, group_limits={"killmail": 40}, cache=1.0
    ) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch(refs[0])
        home.sim.spend("killmail", "127.0.0.1", 20)
        await asyncio.gather(*(home.fetch(ref) for ref in refs[1:22]))
        assert home.sim.counters()["breaches"] == 0


async def test_what_was_handed_out_before_is_not_sent_when_nothing_is_left(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=40, group_limits={"killmail": 200}) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch(refs[0])
        permits = [each for _ in range(10) for each in await home.esi.detail_permits(1)]
        home.sim.spend("killmail", "127.0.0.1", 200 - 2 - 6)

        async def send(permit: Permit, ref: dict[str, Any]) -> None:
            await home.esi.killmail(permit, ref["killmail_id"], ref["killmail_hash"])

        for permit, ref in zip(permits[:3], refs[1:4], strict=True):
            await send(permit, ref)
        for permit, ref in zip(permits[3:], refs[4:11], strict=True):
            with pytest.raises(RateLimited):
                await send(permit, ref)
        with pytest.raises(RateLimited):
            await home.esi.detail_permits(1)
        assert home.sim.counters()["breaches"] == 0


class AheadClock(SystemClock):
    """A wall clock that is an hour ahead."""

    def now(self) -> float:
        return super().now() + 3600.0


async def test_restarts_after_a_clock_was_put_right_ask_nothing_too_early(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(pilots=1)) as sim:
        async with door_on(sim.base_url, tmp_path, clock=AheadClock()) as esi:
            await esi.status()
        for _ in range(3):
            async with door_on(sim.base_url, tmp_path) as esi:
                with pytest.raises(NotBefore):
                    await esi.status()
        assert sim.breaches() == []


async def test_heavy_callers_leave_the_last_part(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=60, group_limits={"killmail": 100}) as home:
        refs = home.sim.mails(home.pilot)
        done, _ = await until_limited(lambda number: home.fetch_now(refs[number], heavy=True))
        assert 40 <= done <= 42  # of 85 tokens, the last of which are fewer than a request holds
        for ref in refs[done : done + 5]:
            await home.fetch_now(ref)


@pytest.mark.parametrize("heavy", [True, False])
async def test_what_the_dead_had_reserved_is_looked_for_by_any_caller(tmp_path: Path, heavy: bool) -> None:
    """Daemons that were killed hold all there is for such callers: one request tells what was spent."""
    async with house(tmp_path, pilots=1, history=60, group_limits={"killmail": 600}) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch_now(refs[0])  # ESI's clock and limits are known
        await home.settled()
        await home.reserved_by_the_dead("killmail", limit=600, keep=FLOOR if heavy else LOOKS)
        for ref in refs[1:]:
            await home.fetch_now(ref, heavy=heavy)


async def test_429_without_and_with_headers(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=5) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch(refs[0])
        home.sim.script("status", "killmail", status=429, retry_after=2, count=1)
        with pytest.raises(RateLimited) as caught:
            await home.fetch(refs[1])
        assert caught.value.at is not None
        assert 2 < caught.value.until - home.clock.now() < 6
        with pytest.raises(RateLimited):
            await home.esi.detail_permits(1)
        (budget,) = [each for each in await home.esi.budgets() if each.group == "killmail"]
        assert budget.remaining == 0
        assert budget.next_tokens_at is not None
        assert budget.next_tokens_at - home.clock.now() < 6
        await home.fetch(refs[1])
        home.sim.script("status", "killmail", status=429, bare=True, count=1)
        with pytest.raises(RateLimited) as caught:
            await home.fetch(refs[2])
        assert 59 < caught.value.until - home.clock.now() < 80
    async with door_on("http://127.0.0.1:1", tmp_path) as esi:
        with pytest.raises(RateLimited):  # a restart does not shorten it
            await esi.detail_permits(1)


async def test_retry_after_may_be_a_date(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=5) as home:
        (ref, *_) = home.sim.mails(home.pilot)
        until = home.clock.now() + 300
        date = formatdate(until, usegmt=True)
        home.sim.script("status", "killmail", status=429, bare=True, headers={"Retry-After": date}, count=1)
        with pytest.raises(RateLimited) as caught:
            await home.fetch(ref)
        assert until - 1 < caught.value.until < until + 10


async def test_420_shuts_every_route(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=5) as home:
        refs = home.sim.mails(home.pilot)
        home.sim.script("status", "killmail", status=420, headers={"X-ESI-Error-Limit-Reset": "2"}, count=1)
        with pytest.raises(RateLimited):
            await home.fetch(refs[0])
        with pytest.raises(RateLimited):
            await home.esi.list_page(character(home.pilot), 1, token=home.token(home.pilot))
        with pytest.raises(RateLimited):
            await home.esi.names([1])
        with pytest.raises(RateLimited):
            await home.esi.status()
        await home.fetch(refs[0])


async def test_errors_of_names_are_rationed(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, bad_ids=frozenset({4_000_000})) as home:
        assert [name.id for name in await home.esi.names([home.pilot])] == [home.pilot]

        async def unknown(_: int) -> None:
            with pytest.raises(EsiStatus) as caught:
                await home.esi.names([4_000_000])
            assert caught.value.status == 404

        refused, limited = await until_limited(unknown)
        assert refused == 20
        assert 0 < limited.until - home.clock.now() < 125
        with pytest.raises(ValueError, match="different ids"):
            await home.esi.names([1, 1])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "truncate"}, ResponseTruncated),
        ({"kind": "malformed"}, MalformedResponse),
        ({"kind": "ids_as_strings"}, MalformedResponse),
        ({"kind": "html"}, MalformedResponse),
        ({"kind": "big", "size": 9_000_000}, TooLarge),
        ({"kind": "stall"}, ResponseTruncated),
        ({"kind": "hang", "seconds": 30.0}, NoResponseReceived),
        ({"kind": "status", "status": 500}, EsiStatus),
        ({"kind": "status", "status": 422}, EsiStatus),
        ({"kind": "status", "status": 404}, EsiStatus),
        ({"kind": "body", "body": "[]"}, MalformedResponse),
        ({"kind": "body", "body": "null"}, MalformedResponse),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
async def test_a_detail_goes_wrong_and_the_next_one_does_not(
    tmp_path: Path, fault: dict[str, object], error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with house(tmp_path, pilots=1, history=3, esi={"timeout": 0.5}) as home:
        refs = home.sim.mails(home.pilot)
        kind = str(fault["kind"])
        home.sim.script(kind, "killmail", count=1, **{k: v for k, v in fault.items() if k != "kind"})
        with pytest.raises(error) as caught:
            await home.fetch(refs[0])
        assert refs[0]["killmail_hash"] not in str(caught.value) + caplog.text
        assert (await home.fetch(refs[0])).killmail.killmail_id == refs[0]["killmail_id"]
        assert home.esi.stats.in_flight == 0


async def test_a_lost_connection_is_tried_once_more(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=3) as home:
        ref = home.sim.mails(home.pilot)[0]
        await home.fetch(ref)
        home.sim.script("reset", "killmail", count=1)
        assert (await home.fetch(ref)).killmail.killmail_id == ref["killmail_id"]
        home.sim.script("reset", "killmail", count=2)
        with pytest.raises(NoResponseReceived):
            await home.fetch(ref)


async def test_where_every_connection_is_lost_none_is_tried_twice(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=3) as home:
        ref = home.sim.mails(home.pilot)[0]
        home.sim.script("reset", "killmail")
        for _ in range(4):
            with pytest.raises(NoResponseReceived):
                await home.fetch(ref)
        assert home.sim.counters()["requests"]["esi.killmail"] == {"0": 5}, "a second try for the first alone"
        assert home.esi.stats.requests["killmail", "unanswered"] == 5


async def test_a_list_goes_wrong(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=3, esi={"timeout": 0.5}) as home:
        token = home.token(home.pilot)
        asked = []

        def alongside(at: float) -> Tx[None]:
            asked.append(at)
            yield from ()

        async def ask() -> object:
            return await home.esi.list_page(character(home.pilot), 1, token=token, alongside=alongside)

        home.sim.script("status", "character_killmails", status=500, count=1)
        with pytest.raises(EsiStatus) as refused:
            await ask()
        assert refused.value.at is not None
        assert refused.value.expires_at is None
        home.sim.script("reset", "character_killmails", count=1)
        with pytest.raises(NoResponseReceived) as silent:
            await ask()
        assert silent.value.at is None  # it may be cached over there
        assert silent.value.expires_at is not None
        assert silent.value.expires_at >= asked[-1] + 300
        home.sim.script("truncate", "character_killmails", count=1)
        with pytest.raises(ResponseTruncated) as torn:
            await ask()
        assert torn.value.expires_at is not None
        assert torn.value.at is not None
        assert torn.value.expires_at > torn.value.at


async def test_the_list_is_not_sent_when_it_cannot_be_written_down(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1) as home:
        token = home.token(home.pilot)

        def refuse(at: float) -> Tx[None]:
            yield from ()
            raise KeyError("the lease is lost")

        with pytest.raises(KeyError):
            await home.esi.list_page(character(home.pilot), 1, token=token, alongside=refuse)
        assert home.sim.counters()["requests"].get("esi.character_killmails") is None
        page = await home.esi.list_page(character(home.pilot), 1, token=token)
        assert page.status == 200


async def test_a_corporations_list(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        director = next(each for each in home.sim.pilots() if each["director"])
        page = await home.esi.list_page(
            Source(SourceKind.CORPORATION, director["corporation_id"]),
            1,
            token=str(
                home.sim.grant(director["character_id"], ["esi-killmails.read_corporation_killmails.v1"])[
                    "access_token"
                ]
            ),
            character_id=director["character_id"],
        )
        assert page.entries
        assert home.esi.stats.requests["corp-killmail", "2xx"] == 1


async def test_pages_and_page_two_unchanged(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=25, page_size=10, cache=1.0) as home:
        token = home.token(home.pilot)
        first = await home.esi.list_page(character(home.pilot), 1, token=token)
        assert first.pages == 3
        pages = [await home.esi.list_page(character(home.pilot), each, token=token) for each in (2, 3)]
        assert [len(page.entries or ()) for page in (first, *pages)] == [10, 10, 5]


async def test_few_errors_left_stop_the_routes_without_a_group(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1) as home:
        told = {"X-ESI-Error-Limit-Remain": "20", "X-ESI-Error-Limit-Reset": "30"}
        home.sim.script("headers", "names", headers=told, count=1)
        await home.esi.names([home.pilot])
        with pytest.raises(RateLimited) as caught:
            await home.esi.names([home.pilot])
        assert 30 < caught.value.until - home.clock.now() < 34
        await home.esi.list_page(character(home.pilot), 1, token=home.token(home.pilot))


@pytest.mark.postgres
async def test_daemons_of_one_address_share_its_window(tmp_path: Path) -> None:
    url = await create_database()
    try:
        async with Simulator(
            SimulatorConfig(pilots=1, history=70, window=1.0, group_limits={"killmail": 60})
        ) as sim:
            refs = sim.mails(sim.pilots()[0]["character_id"])
            async with postgres_doors(url, sim.base_url, 3) as doors:

                async def fetch(esi: EsiClient, ref: dict[str, object]) -> None:
                    while True:
                        try:
                            permit = await wait_for_permit(esi)
                            await esi.killmail(
                                permit, int(str(ref["killmail_id"])), str(ref["killmail_hash"])
                            )
                            return
                        except RateLimited as wait:
                            await esi.changed(wait.until)

                await asyncio.gather(*(fetch(doors[n % 3], ref) for n, ref in enumerate(refs)))
            counters = sim.counters()
            assert counters["detail_requests"] == 70
            assert sim.breaches() == []
    finally:
        await drop_database(url)


async def test_nobody_there(tmp_path: Path) -> None:
    async with door_on("http://127.0.0.1:1", tmp_path) as esi:
        kinds = []
        for number in range(3):
            (permit,) = await esi.detail_permits(1)
            with pytest.raises((NotSent, Downtime)) as caught:
                await esi.killmail(permit, number + 1, "0" * 40)
            assert "0" * 40 not in str(caught.value)
            kinds.append(type(caught.value))
        assert kinds == [NotSent, NotSent, Downtime]
        assert esi.stats.unheard == 3
        assert esi.downtime is not None
        with pytest.raises(Downtime):
            await esi.detail_permits(1)


async def test_downtime_closes_the_door_and_the_status_opens_it(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=5, status_cache=1.0) as home:
        refs = home.sim.mails(home.pilot)
        home.sim.downtime(status=503)
        outcomes = []
        for ref in refs[:3]:
            with pytest.raises((EsiStatus, Downtime)) as caught:
                await home.fetch_now(ref)
            outcomes.append(type(caught.value))
        assert outcomes[-1] is Downtime
        details = home.sim.counters()["detail_requests"]
        with pytest.raises(Downtime):
            await home.fetch_now(refs[0])
        with pytest.raises(Downtime):
            await home.esi.list_page(character(home.pilot), 1, token=home.token(home.pilot))
        assert home.sim.counters()["detail_requests"] == details
        home.sim.downtime(on=False)
        await home.fetch(refs[0])  # waits for the status
        assert home.esi.downtime is None


async def test_the_status_is_held_while_it_is_cached(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.esi.status()
        assert await home.esi.status() is first
        assert home.sim.counters()["requests"]["esi.status"] == {"200": 1}
    async with door_on(home.sim.base_url, tmp_path) as esi:
        with pytest.raises(NotBefore):
            await esi.status()


async def test_the_pace_is_kept(tmp_path: Path) -> None:
    async with house(
        tmp_path, pilots=1, history=60, limits=False, esi={"requests_per_second": 100.0}
    ) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch(refs[0])
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(home.fetch(ref) for ref in refs[1:51]))
        # 50 requests, of which a tenth of a second's worth may go at once.
        assert asyncio.get_running_loop().time() - began >= 0.38


async def test_cancelled_requests_stay_booked_and_nothing_leaks(tmp_path: Path) -> None:
    async with house(tmp_path, pilots=1, history=10, latency=5.0) as home:
        refs = home.sim.mails(home.pilot)
        task = asyncio.create_task(home.fetch(refs[0]))
        await home.sim_has_seen_something()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert home.esi.stats.in_flight == 0
    async with door_on("http://127.0.0.1:1", tmp_path) as esi:
        (view,) = [each for each in await esi.budgets() if each.group == "killmail"]
        assert view.limit - view.remaining == 5


async def test_eta_and_budgets(tmp_path: Path) -> None:
    async with house(
        tmp_path, pilots=1, history=10, group_limits={"killmail": 20}, esi={"requests_per_second": 10.0}
    ) as home:
        refs = home.sim.mails(home.pilot)
        await home.fetch(refs[0])
        await home.settled()
        assert await home.esi.eta(9) == pytest.approx(0.9)
        assert 895 < await home.esi.eta(10) < 910
        assert await home.esi.eta(0) == 0
        (view,) = [each for each in await home.esi.budgets() if each.group == "killmail"]
        assert (view.limit, view.remaining, view.window_seconds) == (20, 18, 900)
        assert view.next_tokens_at is not None


async def test_what_is_asked_sooner_leaves_half_of_a_list_s_window(tmp_path: Path) -> None:
    """Of 30 tokens 15 are left for others, also after a restart: what is spent is written down."""
    async with house(tmp_path, pilots=1, cache=0.0) as home:
        token, source = home.token(home.pilot), character(home.pilot)

        async def ask(number: int) -> None:
            await home.esi.list_page(source, 1, token=token, keep=0.5)

        asked, limited = await until_limited(ask)
        assert limited.group == "char-killmail"
        spent = home.sim.counters()["tokens_spent"]["char-killmail"]
        assert spent == 2 * asked
        assert 0 < spent <= 15
        await home.esi.list_page(source, 1, token=token)
        assert home.sim.counters()["breaches"] == 0
