"""The simulated ESI over real sockets: routes, caches, budgets, breaches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest

from killsyncd.simulator import CORPORATION_SCOPE, KILLMAIL_SCOPE, ROLES_SCOPE, Simulator, SimulatorConfig
from tests.support.simulator_caller import Caller, FakeClock, rules


@asynccontextmanager
async def universe(**options: Any) -> AsyncIterator[tuple[Simulator, Caller]]:
    options = {"pilots": 3, "history": 20, **options}
    simulator = Simulator(SimulatorConfig(**options), FakeClock())
    async with simulator, Caller(simulator) as caller:
        yield simulator, caller


def first(simulator: Simulator) -> tuple[int, str]:
    """A pilot and a token."""
    character = simulator.pilots()[0]["character_id"]
    return character, simulator.grant(character)["access_token"]


class TestLists:
    async def test_a_list_names_the_pilots_mails_newest_first(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            answer = await caller.list(character, token)
            assert answer.status == 200
            listed = answer.json()
            assert listed == sim.mails(character)
            assert [row["killmail_id"] for row in listed] == sorted(
                (row["killmail_id"] for row in listed), reverse=True
            )
            assert answer.headers["X-Pages"] == "1"
            assert answer.headers["X-Ratelimit-Group"] == "char-killmail"
            assert answer.headers["X-Ratelimit-Limit"] == "30/15m"
            assert answer.headers["X-Ratelimit-Remaining"] == "28"
            assert answer.headers["X-Ratelimit-Used"] == "2"
            assert rules(sim) == []

    async def test_pages_are_of_one_moment_and_end_with_404(self) -> None:
        async with universe(page_size=7) as (sim, caller):
            character, token = first(sim)
            pages = [await caller.list(character, token, page) for page in (1, 2, 3)]
            assert {page.headers["X-Pages"] for page in pages} == {"3"}
            assert len({page.headers["Last-Modified"] for page in pages}) == 1
            assert [row for page in pages for row in page.json()] == sim.mails(character)
            past = await caller.list(character, token, 4)
            assert past.status == 404
            assert past.headers["X-Ratelimit-Remaining"] == str(30 - 3 * 2 - 5)
            assert rules(sim) == ["past_the_end"]

    async def test_news_show_when_the_cache_ends_and_not_before(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            before = await caller.list(character, token)
            fresh = sim.add_mails(1, [character])
            sim.set_time(advance=299)
            early = await caller.list(character, token)
            assert early.body == before.body
            assert early.headers["Expires"] == before.headers["Expires"]
            assert rules(sim) == ["expires"]
            sim.set_time(advance=1)
            late = await caller.list(character, token)
            assert late.json()[0] == fresh[0]
            assert late.headers["ETag"] != before.headers["ETag"]
            assert late.headers["Last-Modified"] != before.headers["Last-Modified"]
            assert rules(sim) == ["expires"]

    async def test_whoever_waits_until_expires_breaks_nothing(self) -> None:
        """Expires has whole seconds; the simulator's own clock does not."""
        async with universe(cache=5) as (sim, caller):
            character, token = first(sim)
            for step in (0.3, 0.9, 0.5):
                sim.set_time(advance=step)
                answer = await caller.list(character, token)
                expires = parsedate_to_datetime(answer.headers["Expires"]).timestamp()
                sim.set_time(advance=max(0.0, expires - sim.state()["wall"]))
            assert rules(sim) == []

    async def test_an_etag_saves_body_and_a_token(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            etag = (await caller.list(character, token)).headers["ETag"]
            sim.set_time(advance=300)
            answer = await caller.list(character, token, If_None_Match=etag)
            assert answer.status == 304
            assert answer.body == b""
            assert answer.headers["ETag"] == etag
            assert answer.headers["X-Ratelimit-Remaining"] == "27"
            # A 304 renews Expires: the next one may come after it, not at once.
            assert (await caller.list(character, token, If_None_Match=etag)).status == 304
            assert rules(sim) == ["expires"]

    @pytest.mark.parametrize("page", ["0", "-1", "x", "1.5"])
    async def test_pages_are_numbers(self, page: str) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            answer = await caller.ask(
                f"/characters/{character}/killmails/recent?page={page}",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status == 400
            assert "error" in answer.json()

    async def test_corporation_lists_need_a_director(self) -> None:
        async with universe(sharing=0.0) as (sim, caller):
            director, member, _ = sim.pilots()
            path = f"/corporations/{director['corporation_id']}/killmails/recent"
            tokens = [
                sim.grant(pilot["character_id"], [CORPORATION_SCOPE])["access_token"]
                for pilot in (director, member)
            ]
            answers = [
                await caller.ask(path, headers={"Authorization": f"Bearer {token}"}) for token in tokens
            ]
            assert [answer.status for answer in answers] == [200, 403]
            assert len(answers[0].json()) == 60
            assert answers[0].headers["X-Ratelimit-Group"] == "corp-killmail"
            sim.director(member["character_id"])
            sim.set_time(advance=300)
            again = await caller.ask(path, headers={"Authorization": f"Bearer {tokens[1]}"})
            assert again.status == 200


class TestTokens:
    async def test_tokens_are_checked(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            other = sim.pilots()[1]["character_id"]
            path = f"/characters/{character}/killmails/recent"
            assert (await caller.ask(path)).status == 401
            assert (await caller.list(character, token[:-4] + "AAAA")).status == 401
            assert (await caller.list(other, token)).status == 403
            bare = sim.grant(character, [ROLES_SCOPE])["access_token"]
            assert (await caller.list(character, bare)).status == 403
            both = sim.grant(character, [ROLES_SCOPE, KILLMAIL_SCOPE])["access_token"]
            assert (await caller.list(character, both)).status == 200
            sim.set_time(advance=1200)
            assert (await caller.list(character, both)).status == 401

    async def test_a_dropped_scope_is_403_until_it_is_back(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            assert sim.scopes(character, drop=[KILLMAIL_SCOPE]) == [KILLMAIL_SCOPE]
            assert (await caller.list(character, token)).status == 403
            assert sim.scopes(character, restore=[KILLMAIL_SCOPE]) == []
            assert (await caller.list(character, token)).status == 200

    async def test_client_errors_cost_five(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            other = sim.pilots()[1]["character_id"]
            statuses = [(await caller.list(other, token)).status for _ in range(7)]
            assert statuses == [403] * 6 + [429]
            # The budget is that of application and character, whatever was asked.
            assert (await caller.list(character, token)).status == 429


class TestBudgets:
    async def test_floating_window_and_retry_after(self) -> None:
        async with universe(group_limits={"killmail": 10}) as (sim, caller):
            refs = sim.mails()
            for ref in refs[:5]:
                sim.set_time(advance=1)
                assert (await caller.detail(ref)).status == 200
            refused = await caller.detail(refs[5])
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "896"
            assert refused.headers["X-Ratelimit-Remaining"] == "0"
            assert rules(sim) == ["budget"]
            sim.set_time(advance=5)
            assert (await caller.detail(refs[5])).status == 429
            assert rules(sim) == ["budget", "retry_after", "budget"]
            sim.set_time(advance=891)
            assert (await caller.detail(refs[5])).status == 200
            assert (await caller.detail(refs[6])).status == 429
            sim.set_time(advance=1)
            assert (await caller.detail(refs[6])).status == 200

    async def test_someone_else_may_spend_it(self) -> None:
        async with universe() as (sim, caller):
            assert sim.spend("killmail", "127.0.0.1", 3590) == 10
            answer = await caller.detail(sim.mails()[0])
            assert answer.headers["X-Ratelimit-Remaining"] == "8"

    async def test_limits_may_change_while_it_runs(self) -> None:
        async with universe() as (sim, caller):
            sim.settings(limits={"killmail": 8})
            answer = await caller.detail(sim.mails()[0])
            assert answer.headers["X-Ratelimit-Limit"] == "8/15m"

    async def test_without_limits_nothing_is_refused(self) -> None:
        async with universe(limits=False, group_limits={"killmail": 2}, error_limit=1) as (sim, caller):
            for ref in sim.mails()[:5]:
                assert (await caller.detail(ref)).status == 200
            for _ in range(3):
                assert (await caller.ask("/universe/types/1")).status == 404
            assert rules(sim) == []

    async def test_errors_on_old_routes_block_everything(self) -> None:
        async with universe(error_limit=3) as (sim, caller):
            remain = []
            for _ in range(3):
                answer = await caller.ask("/universe/names", "POST", json=[2**40])
                assert answer.status == 404
                remain.append(answer.headers["X-ESI-Error-Limit-Remain"])
            assert remain == ["2", "1", "0"]
            sim.set_time(advance=1)
            for blocked in (await caller.ask("/status"), await caller.detail(sim.mails()[0])):
                assert blocked.status == 420
                assert blocked.headers["X-ESI-Error-Limit-Reset"] == "59"
            assert rules(sim) == ["error_limited", "error_limited"]
            sim.set_time(advance=59)
            assert (await caller.detail(sim.mails()[0])).status == 200

    async def test_errors_on_grouped_routes_do_not_count(self) -> None:
        async with universe(error_limit=1) as (sim, caller):
            ref = {**sim.mails()[0], "killmail_hash": "00"}
            assert (await caller.detail(ref)).status == 422
            assert (await caller.detail(ref)).status == 422


class TestDetails:
    async def test_the_mail_as_it_is(self) -> None:
        async with universe() as (sim, caller):
            ref = sim.mails()[0]
            answer = await caller.detail(ref)
            assert answer.json() == sim.mail(ref["killmail_id"])
            assert answer.headers["X-Ratelimit-Group"] == "killmail"
            again = await caller.detail(ref, If_None_Match=answer.headers["ETag"])
            assert again.status == 304
            counted = sim.counters()
            assert counted["details"] == {str(ref["killmail_id"]): 2}
            assert counted["refetches"] == 0
            await caller.detail(ref)
            assert sim.counters()["refetches"] == 1

    async def test_a_wrong_pair_is_422(self) -> None:
        async with universe() as (sim, caller):
            one, two = sim.mails()[:2]
            mixed = {"killmail_id": one["killmail_id"], "killmail_hash": two["killmail_hash"]}
            answer = await caller.detail(mixed)
            assert answer.status == 422
            assert "error" in answer.json()


class TestNames:
    async def test_all_or_nothing(self) -> None:
        async with universe(bad_ids=frozenset({34})) as (sim, caller):
            character = sim.pilots()[0]
            answer = await caller.ask(
                "/universe/names", "POST", json=[30000142, 587, character["character_id"]]
            )
            assert {row["id"]: row["name"] for row in answer.json()} == {
                587: "Rifter",
                30000142: "Jita",
                character["character_id"]: character["name"],
            }
            assert (await caller.ask("/universe/names", "POST", json=[587, 34])).status == 404
            assert sim.bad_ids(remove=[34]) == []
            assert (await caller.ask("/universe/names", "POST", json=[587, 34])).status == 200

    @pytest.mark.parametrize("ids", [[], [587, 587], list(range(1, 1002))])
    async def test_a_batch_is_one_to_a_thousand_different_ids(self, ids: list[int]) -> None:
        async with universe() as (sim, caller):
            assert (await caller.ask("/universe/names", "POST", json=ids)).status == 400
            assert rules(sim) == ["names_batch"]

    @pytest.mark.parametrize("body", [b"", b"{}", b'["587"]', b"[1.5]", b"[true]"])
    async def test_other_bodies_are_refused(self, body: bytes) -> None:
        async with universe() as (_, caller):
            assert (await caller.ask("/universe/names", "POST", data=body)).status == 400


class TestManners:
    @pytest.mark.parametrize(
        ("headers", "rule"),
        [
            ({"X-Compatibility-Date": ""}, "compatibility_date"),
            ({"X-Compatibility-Date": "2020-01-01"}, "compatibility_date"),
            ({"User-Agent": ""}, "user_agent"),
            ({"User-Agent": "python-requests/2.0"}, "user_agent"),
            ({"Authorization": "Bearer x"}, "authorization_sent"),
        ],
    )
    async def test_bad_manners_are_written_down(self, headers: dict[str, str], rule: str) -> None:
        async with universe() as (sim, caller):
            await caller.ask("/status", headers=headers)
            assert rules(sim) == [rule]

    @pytest.mark.parametrize("path", ["/status/", "/latest/status", "/v1/status"])
    async def test_old_paths_are(self, path: str) -> None:
        async with universe() as (sim, caller):
            assert (await caller.ask(path)).status == 404
            assert rules(sim) == ["path"]

    async def test_a_breach_says_what_and_when(self) -> None:
        async with universe() as (sim, caller):
            await caller.ask("/status", headers={"User-Agent": "x"})
            (breach,) = sim.breaches()
            assert set(breach) == {"rule", "route", "subject", "detail", "time"}
            assert breach["route"] == "esi.status"
            assert breach["subject"] == "x"
            assert sim.counters()["breaches"] == 1
            sim.reset_counters()
            assert sim.breaches() == []


class TestTime:
    async def test_downtime_comes_and_goes(self) -> None:
        async with universe() as (sim, caller):
            sim.downtime(status=502, seconds=60)
            assert (await caller.ask("/status")).status == 502
            assert (await caller.ask("/oauth/jwks")).status == 200
            sim.set_time(advance=60)
            assert (await caller.ask("/status")).status == 200
            sim.downtime(sso=True)
            assert (await caller.ask("/oauth/jwks")).status == 503
            sim.downtime(on=False)
            assert (await caller.ask("/oauth/jwks")).status == 200

    async def test_a_wrong_clock_shows_in_the_headers_alone(self) -> None:
        async with universe() as (sim, caller):
            character, token = first(sim)
            right = parsedate_to_datetime((await caller.ask("/status")).headers["Date"])
            sim.set_time(offset=-3600)
            answer = await caller.list(character, token)
            wrong = parsedate_to_datetime(answer.headers["Date"])
            assert (right - wrong).total_seconds() == 3600
            assert (parsedate_to_datetime(answer.headers["Expires"]) - wrong).total_seconds() == 300

    async def test_it_grows_while_it_runs(self) -> None:
        async with universe(history=0, rate=6000) as (sim, _):
            async with asyncio.timeout(20):
                while len(sim.mails()) < 3:
                    await asyncio.sleep(0.01)
            sim.settings(rate=0)
            assert sim.settings()["rate"] == 0

    async def test_latency_can_be_turned_up(self) -> None:
        async with universe() as (sim, caller):
            sim.settings(latency=0.2)
            await asyncio.gather(*(caller.ask("/status") for _ in range(5)))
            assert sim.counters()["concurrency_peak"] == 5


class TestOtherRoutes:
    @pytest.mark.parametrize(
        "path",
        [
            "/status",
            "/markets/prices",
            "/meta/status",
            "/meta/compatibility-dates",
            "/universe/types/587",
            "/universe/groups/25",
            "/universe/systems/30000142",
        ],
    )
    async def test_they_answer_and_know_their_etag(self, path: str) -> None:
        async with universe() as (_, caller):
            answer = await caller.ask(path)
            assert answer.status == 200
            assert orjson.loads(answer.body)
            again = await caller.ask(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304

    @pytest.mark.parametrize(
        "path",
        ["/nothing", "/universe/types/1", "/characters/1", "/corporations/1", "/killmails/1", "/wars/x"],
    )
    async def test_what_is_not_there_is_404(self, path: str) -> None:
        async with universe() as (_, caller):
            answer = await caller.ask(path)
            assert answer.status == 404
            assert "error" in answer.json()

    async def test_the_address_itself_says_what_it_is(self) -> None:
        async with universe() as (_, caller):
            answer = await caller.ask("/")
            assert "simulat" in answer.body.decode()
