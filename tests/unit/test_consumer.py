"""The consumer's branches of failure: a job's row always lets go, and no mail is lost or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from killsyncd.auth.grant import GrantUnusable, SsoUnavailable
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import PRIORITY_LOGIN, Origin, SyncMode, UserState
from killsyncd.esi.responses import (
    Downtime,
    EsiStatus,
    MalformedResponse,
    NoResponseReceived,
    NotBefore,
    RateLimited,
    SetAside,
)
from killsyncd.sync.consumer import STUCK_AFTER
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld, eventually


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


@pytest.fixture
async def pilot(core: SyncWorld) -> Pilot:
    return await core.world.pilot(90000001)


async def wanted(core: SyncWorld, pilot: Pilot, mode: SyncMode = SyncMode.INCREMENTAL) -> None:
    await core.world.want(pilot, mode)


async def walks(core: SyncWorld, pilot: Pilot) -> list[str]:
    rows = await core.world.rows(
        "SELECT state FROM walks WHERE source_id = :id ORDER BY id", id=pilot.source_id
    )
    return [str(row[0]) for row in rows]


async def given_back(core: SyncWorld) -> int:
    """Jobs whose rows say why they wait."""
    return int(await core.world.value("SELECT COUNT(*) FROM wants WHERE last_error IS NOT NULL"))


# -- what goes well ------------------------------------------------------------------------------


async def test_a_list_ends_in_the_ledger_and_the_job_is_acknowledged(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(3, 1, pages=2)], 2: [core.lists.page(2, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert set(await core.world.refs()) == {1, 2, 3}
    assert await core.want_row(pilot) is None
    assert core.listed == [pilot.source_id, pilot.source_id]
    assert (core.consumer.jobs_done, core.consumer.jobs_failed, core.consumer.working) == (1, 0, 0)
    assert await walks(core, pilot) == ["complete"]


async def test_what_is_wanted_is_announced_also_when_the_list_has_nothing_new(
    core: SyncWorld, pilot: Pilot
) -> None:
    """A ref that was lost from the fetcher's sight, or written anew, finds somebody who fetches it."""
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.listed.clear()
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(1, etag="other")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.listed == [pilot.source_id]


async def test_a_second_look_sends_the_etag_and_stops_at_304(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(2, pages=2, etag="e1")], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(pages=2, unchanged=True)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", "e1")
    assert await walks(core, pilot) == ["complete", "stopped"]


async def test_a_full_walk_believes_nothing_old(core: SyncWorld, pilot: Pilot) -> None:
    """Asked for by hand, the daily one, and the first: all without ETag."""
    core.lists.script = {1: [core.lists.page(2, pages=2, etag="e1")], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    for _ in range(2):
        core.clock.tick(400)
        core.lists.script[1] = [core.lists.page(2, pages=2, etag="e1")]
        core.lists.script[2] = [core.lists.page(1, pages=2)]
        await wanted(core, pilot, SyncMode.FULL_SYNC)
        await core.work(pilot)
    core.clock.tick(86_500)
    core.lists.script[1] = [core.lists.page(2, pages=2)]
    core.lists.script[2] = [core.lists.page(1, pages=2)]
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked == [(1, "token-1", None), (2, "token-1", None)] * 4
    assert await walks(core, pilot) == ["complete"] * 4


async def test_no_first_page_is_taken_for_unchanged_for_long(core: SyncWorld, pilot: Pilot) -> None:
    """A node of ESI's that says 304 for ever hides mails for an hour, not for a day."""
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    for _ in range(9):
        core.clock.tick(400)
        core.lists.script = {1: [core.lists.page(unchanged=True, etag="e1")]}
        await wanted(core, pilot)
        await core.work(pilot)
    assert [each[2] for each in core.lists.asked[1:]] == ["e1"] * 9
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(2, 1, etag="e2")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", None)
    assert set(await core.world.refs()) == {1, 2}


async def test_304_brings_no_validator_of_entries_that_never_came(core: SyncWorld, pilot: Pilot) -> None:
    """A node that says 304 and names the newest list would have all others call that unchanged, rightly."""
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    for answer in (core.lists.page(unchanged=True, etag="e2"), core.lists.page(2, 1, etag="e2")):
        core.clock.tick(400)
        core.lists.script = {1: [answer]}
        await wanted(core, pilot)
        await core.work(pilot)
        assert core.lists.asked[-1][2] == "e1"
    assert set(await core.world.refs()) == {1, 2}


async def test_a_page_that_could_not_be_read_whole_is_never_called_unchanged(
    core: SyncWorld, pilot: Pilot
) -> None:
    """Broken for a moment, it would be 304 for as long as its list stays the same."""
    broken = replace(core.lists.page(1, etag="e1"), set_aside=(SetAside("entry 2", "not an entry"),))
    core.lists.script = {1: [broken]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(2, 1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1][2] is None
    assert set(await core.world.refs()) == {1, 2}


async def test_a_full_walk_does_not_reuse_a_page_that_was_called_unchanged(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {1: [core.lists.page(2, pages=2)], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(100_000)  # as if page 2 had been answered by 304 a moment ago, and page 1 is due
    values = {"id": pilot.source_id, "now": core.clock.now()}
    await core.world.rows(
        "UPDATE pages SET answered_at = :now, asked_at = :now, expires_at = :now + 200"
        " WHERE source_id = :id AND page = 2",
        **values,
    )
    core.lists.script = {1: [core.lists.page(2, pages=2)]}
    await wanted(core, pilot, SyncMode.FULL_SYNC)
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, 2, 1]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] >= core.clock.now() + 200, "page 2 is asked for once Expires allows"


# -- 404 on a first page -------------------------------------------------------------------------


async def test_404_on_a_first_page_is_an_empty_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(404, "Character not found", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await core.want_row(pilot) is None
    assert await walks(core, pilot) == ["complete"]
    assert (core.consumer.jobs_done, core.consumer.jobs_failed) == (1, 0)
    core.clock.tick(400)  # asked for by hand: no sooner than the interval, for it costs five tokens
    await wanted(core, pilot)
    await core.work(pilot)
    assert len(core.lists.asked) == 1
    core.clock.tick(300)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_404_of_a_gateway_is_no_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(404, "", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["running"]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 1


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_of_a_list_does_not_empty_its_window(
    core: SyncWorld, pilot: Pilot, status: int
) -> None:
    """Each costs five of thirty tokens: six within a minute shut the list for a quarter of an hour."""
    core.lists.script = {1: [EsiStatus(status, "", at=core.clock.now())]}
    await wanted(core, pilot)
    for _ in range(90):
        if await core.claim(pilot) is not None:
            await core.world.rows("UPDATE wants SET holder = NULL")
            await core.work(pilot)
        core.clock.tick(10)
    assert len(core.lists.asked) <= 3


# -- 401, 403 ------------------------------------------------------------------------------------


async def test_401_renews_once_and_asks_once_more(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(401, "expired", at=core.clock.now()), core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert [each[1] for each in core.lists.asked] == ["token-1", "token-2"]
    assert await core.want_row(pilot) is None


async def test_a_second_401_is_a_failure_and_no_third_request(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(401, "expired", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert len(core.lists.asked) == 2
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["holder"], row["attempts"]) == (None, 1)
    assert row["not_before"] > core.clock.now()


async def test_403_in_esis_own_words_ends_the_job(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(403, "token lacks scope", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.tokens.refused == ["token-1"]
    assert await core.want_row(pilot) is None


async def test_403_of_a_gateway_logs_nobody_out(core: SyncWorld, pilot: Pilot) -> None:
    """A firewall's HTML for every pilot at once would have everybody log in again."""
    core.lists.script = {1: [EsiStatus(403, "", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.tokens.refused == []
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 1


async def test_403_for_a_token_with_the_scope_is_asked_again_after_a_pause(
    core: SyncWorld, pilot: Pilot
) -> None:
    """`{"error":"unexpected end of JSON input","sso_status":401}`, once a list, lost all five pilots."""
    refusal = EsiStatus(403, "unexpected end of JSON input", at=core.clock.now())
    core.lists.script = {1: [refusal, core.lists.page(1)]}
    core.tokens.scope = True
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["attempts"], row["not_before"]) == (1, pytest.approx(core.clock.now() + 60.0))
    assert "unexpected end of JSON input" in row["last_error"]
    assert core.tokens.accepted == 0
    core.clock.tick(60)
    await core.work(pilot)
    assert await core.want_row(pilot) is None
    assert core.tokens.accepted == 1, "what was refused before counts no more"


# -- logins that end -----------------------------------------------------------------------------


async def test_a_dead_grant_ends_the_job(core: SyncWorld, pilot: Pilot) -> None:
    core.tokens.fault = GrantUnusable("revoked", "log in", state=UserState.NEEDS_LOGIN)
    await wanted(core, pilot)
    await core.work(pilot)
    assert await core.want_row(pilot) is None


async def test_a_login_while_the_old_grant_dies_is_not_forgotten(core: SyncWorld, pilot: Pilot) -> None:
    """The job must be acknowledged, not its row dropped: it was asked for again meanwhile."""
    core.tokens.fault = GrantUnusable("revoked", "log in", state=UserState.NEEDS_LOGIN)
    await wanted(core, pilot)
    job = await core.claim(pilot)
    assert job is not None
    await core.world.want(pilot, priority=PRIORITY_LOGIN, origin=Origin.LOGIN)
    await core.work_off(job)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["holder"] is None


async def test_trouble_of_the_sso_counts_against_no_pilot(core: SyncWorld, pilot: Pilot) -> None:
    """`invalid_client` for 4,900 pilots is one problem, and not one of each besides."""
    core.tokens.fault = SsoUnavailable("invalid_client", answered=True, retry_after=90.0)
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["attempts"], row["last_error"]) == (0, "invalid_client")
    assert row["not_before"] >= core.clock.now() + 90.0
    assert core.consumer.jobs_failed == 0


async def test_a_refusal_of_one_login_counts_against_its_pilot(core: SyncWorld, pilot: Pilot) -> None:
    core.tokens.fault = SsoUnavailable("refused once", answered=True, retry_after=60.0, everybody=False)
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 1


async def test_a_quiet_poll_is_three_transactions(core: SyncWorld, pilot: Pilot) -> None:
    """The claim with all that is known, the reservation with "asked", the answer with all that follows."""
    core.lists.script = {1: [core.lists.page(9)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(1000)
    core.lists.script = {1: [core.lists.page(unchanged=True)]}
    await wanted(core, pilot)
    before = core.store.counts.by_kind()
    await core.work(pilot)
    after = core.store.counts.by_kind()
    assert {kind: after[kind] - before[kind] for kind in after} == {"read": 0, "write": 3}
    assert core.lists.asked[-1][2] == "etag", "asked with what was known"
    assert await core.want_row(pilot) is None


# -- walks that cannot go on ---------------------------------------------------------------------


def gone_page(core: SyncWorld) -> EsiStatus:
    return EsiStatus(404, "Requested page does not exist!", at=core.clock.now())


async def test_a_list_that_has_shrunk_is_read_from_its_first_page_again(
    core: SyncWorld, pilot: Pilot
) -> None:
    """404 behind the first page: a walk that goes on there would meet it for ever."""
    core.lists.script = {
        1: [core.lists.page(9, pages=3)],
        2: [EsiStatus(404, "Requested page does not exist!", at=core.clock.now())],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "running"]
    core.clock.tick(1000)
    core.lists.script = {1: [core.lists.page(9, 8)]}
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "complete"]
    assert await core.want_row(pilot) is None


async def test_a_404_that_passes_hides_no_page(core: SyncWorld, pilot: Pilot) -> None:
    """Believed at once, the list ended at page 1 for as long as page 1 answered 304."""
    core.lists.script = {1: [core.lists.page(9, pages=2, etag="e1")], 2: [core.lists.page(8, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    await core.world.rows("DELETE FROM refs WHERE killmail_id = 8")
    await core.world.rows("DELETE FROM sightings WHERE killmail_id = 8")
    core.clock.tick(1000)
    again = core.lists.page(pages=None, unchanged=True)  # as an answer without X-Pages
    lost = EsiStatus(404, "Requested page does not exist!", at=core.clock.now())
    core.lists.script = {1: [again], 2: [lost, core.lists.page(8, pages=2, etag="e2")]}
    await wanted(core, pilot, SyncMode.FULL_SYNC)
    await core.work(pilot)
    core.clock.tick(1000)
    await core.work(pilot)
    assert 8 in await core.world.refs()


async def test_a_404_after_another_failure_hides_no_page(core: SyncWorld, pilot: Pilot) -> None:
    """Any failure of the job before it made a single 404 believed."""
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(500, "oops", at=core.clock.now()), gone_page(core)],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(1000)
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "running"]
    core.lists.script = {
        1: [core.lists.page(pages=None, unchanged=True)],  # as an answer without X-Pages
        2: [core.lists.page(8, pages=2)],
    }
    core.clock.tick(1000)
    await core.work(pilot)
    assert 8 in await core.world.refs()


async def test_a_404_of_a_gateway_ends_no_list(core: SyncWorld, pilot: Pilot) -> None:
    html = EsiStatus(404, "", at=core.clock.now())
    core.lists.script = {1: [core.lists.page(9, pages=2)], 2: [html]}
    await wanted(core, pilot)
    for _ in range(4):
        await core.work(pilot)
        core.clock.tick(1000)
    core.lists.script = {
        1: [core.lists.page(pages=None, unchanged=True)],
        2: [core.lists.page(8, pages=2)],
    }
    while await core.want_row(pilot):
        await core.work(pilot)
        core.clock.tick(1000)
    assert 8 in await core.world.refs()


async def test_a_404_that_stays_ends_the_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(404, "Requested page does not exist!", at=core.clock.now())],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.lists.script[1] = [core.lists.page(pages=None, unchanged=True)]
    for _ in range(2):
        core.clock.tick(1000)
        await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, 2, 1, 2, 1]
    assert await core.want_row(pilot) is None


async def test_a_page_that_fails_for_ever_does_not_hide_news_on_the_first(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(500, "oops", at=core.clock.now())],
    }
    await wanted(core, pilot)
    for _ in range(STUCK_AFTER):
        await core.work(pilot)
        core.clock.tick(1000)
    assert [each[0] for each in core.lists.asked] == [1, 2, 2, 2]
    core.lists.script[1] = [core.lists.page(10, 9, pages=2)]
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked][-2:] == [1, 2]
    assert 10 in await core.world.refs()


async def test_a_torn_walk_keeps_the_job_for_another(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2, modified="monday")],
        2: [core.lists.page(8, pages=2, modified="tuesday")],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["torn"]
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["holder"], row["attempts"]) == (None, 0)
    assert row["not_before"] >= core.clock.now() + 300.0, "not before the list's Expires"
    assert set(await core.world.refs()) == {8, 9}


async def test_a_list_about_to_change_is_not_begun_and_waited_for_once(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=8, expires=1.0)],
        **{page: [core.lists.page(page, pages=8)] for page in range(2, 9)},
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 0
    core.clock.tick(10)
    core.lists.script[1] = [core.lists.page(9, pages=8, expires=1.0)]
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, *range(1, 9)]


async def test_a_walk_cut_short_is_acknowledged(core: SyncWorld, pilot: Pilot) -> None:
    core.consumer = core.make_consumer(max_pages=1)
    core.lists.script = {1: [core.lists.page(9, pages=3)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["cut"]
    assert await core.want_row(pilot) is None


# -- Expires, and asks without an answer ---------------------------------------------------------


async def test_expires_gives_the_job_back_without_an_attempt(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["attempts"], row["holder"]) == (0, None)
    assert row["not_before"] >= core.clock.now() + 300.0
    assert len(core.lists.asked) == 1


async def test_a_question_without_an_answer_counts_as_cached(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [NoResponseReceived("time-out")]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(100)
    await core.work(pilot)
    assert len(core.lists.asked) == 1, "ESI may have cached what never reached us"
    core.clock.tick(300)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_what_a_list_waits_for_is_told(core: SyncWorld, pilot: Pilot) -> None:
    """Its Expires; an answer that never came; what was asked for in a life of the database that is over."""

    async def waits_for(column: str) -> object:
        await wanted(core, pilot)
        await core.world.rows("UPDATE wants SET not_before = 0")
        await core.work(pilot)
        return await core.world.value(f"SELECT {column} FROM wants")

    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await waits_for("waits_for") == "cache"
    core.clock.tick(400)
    core.lists.script = {1: [NoResponseReceived("time-out")]}
    await core.work(pilot)
    assert await waits_for("waits_for") == "unanswered"
    core.clock.tick(400)
    await core.world.rows(
        "INSERT INTO gates (name, value) VALUES ('lists-asked', :until)", until=core.clock.now() + 300.0
    )
    assert await waits_for("waits_for") == "earlier_life"
    assert await waits_for("not_before") >= core.clock.now() + 300.0  # type: ignore[operator]
    assert len(core.lists.asked) == 2
    core.clock.tick(301)
    core.lists.script = {1: [core.lists.page(2, 1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1, 2}


async def test_an_answer_of_no_use_takes_the_question_back(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [MalformedResponse("no JSON", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(20)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_a_page_that_could_not_be_written_is_asked_for_without_its_etag(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    core.store.failing = {"write_page"}
    await wanted(core, pilot)
    await core.work(pilot)
    core.store.failing = set()
    core.clock.tick(400)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", None)
    assert set(await core.world.refs()) == {1}


# -- the database --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "transaction"),
    [
        (SsoUnavailable("down", answered=True), "postpone"),
        (NotBefore("cached", 0.0), "postpone"),
        (GrantUnusable("dead", "log in", state=UserState.NEEDS_LOGIN), "finish"),
    ],
)
async def test_a_database_that_is_away_neither_kills_nor_holds_the_job(
    core: SyncWorld, pilot: Pilot, fault: Exception, transaction: str
) -> None:
    """Nobody frees a row of a daemon that lives: it must let go by itself once it can."""
    core.tokens.fault = fault
    core.store.failing = {transaction}
    await wanted(core, pilot)
    job = await core.claim(pilot)
    assert job is not None
    work = asyncio.ensure_future(core.work_off(job))
    await eventually(lambda: core.store.refused > 0)
    assert core.consumer.trouble == "the disk is full"
    core.store.failing = set()
    while not work.done():
        core.clock.tick(2.0)
        await asyncio.sleep(0.002)
    await work
    assert core.consumer.trouble is None
    row = await core.want_row(pilot)
    assert row is None or row["holder"] is None


async def test_the_end_does_not_wait_for_a_database_that_is_away(core: SyncWorld, pilot: Pilot) -> None:
    core.tokens.fault = SsoUnavailable("down", answered=True)
    core.store.failing = {"postpone"}
    await wanted(core, pilot)
    async with core.running(core.consumer.run):
        await eventually(lambda: core.store.refused > 0)


async def test_a_queue_that_cannot_be_read_is_waited_for(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    core.store.failing = {"claim"}
    await wanted(core, pilot)
    async with core.running(core.consumer.run):
        await eventually(lambda: core.store.refused > 0)
        await eventually(lambda: core.consumer.trouble is not None)
        core.store.failing = set()
        while core.consumer.jobs_done < 1:
            core.clock.tick(1.0)
            await asyncio.sleep(0.002)
    assert core.consumer.trouble is None


async def test_a_message_that_cannot_be_acknowledged_kills_nobody(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    core.jobs.fault = Unavailable("the channel is closed")
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.consumer.jobs_done == 1


async def test_a_lost_lease_that_is_still_ours_is_let_go(core: SyncWorld, pilot: Pilot) -> None:
    """The walk ended elsewhere: nothing is written, and the row must not stay held for ever."""
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    job = await core.claim(pilot)
    assert job is not None
    await core.world.rows("UPDATE walks SET state = 'abandoned' WHERE source_id = :id", id=pilot.source_id)
    await core.work_off(job)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["holder"] is None


async def test_a_job_whose_source_was_erased_ends(core: SyncWorld, pilot: Pilot) -> None:
    await wanted(core, pilot)
    job = await core.claim(pilot)
    assert job is not None
    await core.world.rows("DELETE FROM sources WHERE id = :id", id=pilot.source_id)
    await core.work_off(job)
    assert core.consumer.working == 0


async def test_a_bug_is_a_failed_attempt(core: SyncWorld, pilot: Pilot) -> None:
    core.tokens.fault = ZeroDivisionError("secret")
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["last_error"] == "internal error: ZeroDivisionError"


# -- nobody spins, nobody stands still -----------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        lambda now: Downtime("EVE is down", now + 30.0),
        lambda now: RateLimited("420", now + 30.0, group="error-limit"),
    ],
)
async def test_while_esi_is_shut_for_all_jobs_are_left_alone(core: SyncWorld, fault: object) -> None:
    """Ten thousand jobs taken and given back every few seconds would be a busy loop of disk writes."""
    for each in range(20):
        await wanted(core, await core.world.pilot(90000001 + each))
    core.lists.script = {1: [fault(core.clock.now())]}  # type: ignore[operator]
    async with core.running(core.consumer.run):
        await eventually(lambda: given_back(core))
        await eventually(lambda: core.consumer.working == 0)
        await core.clock.advance(5)
        assert 1 <= await given_back(core) <= 5
        core.lists.script = {1: [core.lists.page(1, expires=9000)]}
        await core.clock.advance(31)
        while core.consumer.jobs_done < 20:
            core.clock.tick(1.0)
            await asyncio.sleep(0.002)


async def test_a_time_in_the_past_does_not_spin(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [RateLimited("dry", core.clock.now() - 100.0, group="char-killmail")]}
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] >= core.clock.now() + 0.5
    other = await core.world.pilot(90000002)
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, other)
    await core.work(other)
    assert core.consumer.jobs_done == 1, "one pilot's bucket stops nobody else"


async def test_every_page_of_a_long_walk_is_progress(core: SyncWorld, pilot: Pilot) -> None:
    """Eight first syncs of fifty slow pages must not look like a consumer that hangs."""
    core.lists.script = {page: [core.lists.page(page, pages=3)] for page in (1, 2, 3)}
    seen = []
    real = core.lists.list_page

    async def slow(*args: object, **kwargs: object) -> object:
        seen.append(core.consumer.progress)
        core.clock.tick(60)
        return await real(*args, **kwargs)  # type: ignore[arg-type]

    core.lists.list_page = slow  # type: ignore[assignment, method-assign]
    await wanted(core, pilot)
    await core.work(pilot)
    assert len(set(seen)) == 3


async def test_paused_takes_nothing_and_resumes(core: SyncWorld, pilot: Pilot) -> None:
    core.paused = True
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    async with core.running(core.consumer.run):
        await core.clock.advance(60)
        assert core.lists.asked == []
        core.paused = False
        core.events.tell("switches")
        await eventually(lambda: core.consumer.jobs_done == 1)


async def test_a_user_paused_during_his_job_keeps_what_it_brought(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    job = await core.claim(pilot)
    assert job is not None
    await core.world.users.pause(pilot.user_id, paused=True)
    await core.work_off(job)
    assert set(await core.world.refs()) == {1}
    assert await core.want_row(pilot) is None


async def test_a_clock_that_was_wrong_leads_to_a_full_walk(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    await core.world.rows("UPDATE sources SET full_walk_at = full_walk_at + 1e8")
    core.clock.tick(400)
    await wanted(core, pilot)
    await core.work(pilot)
    mode = await core.world.value("SELECT mode FROM walks ORDER BY id DESC LIMIT 1")
    assert mode == "FULL_SYNC"


async def test_what_is_asked_sooner_leaves_the_rest_of_the_window_to_the_interval(
    core: SyncWorld, pilot: Pilot
) -> None:
    """It is no trouble that anybody is told of, and the producer's next run goes on with it."""
    core.lists.script = {1: [RateLimited("dry", core.clock.now() + 30.0, group="char-killmail", dry=True)]}
    await core.world.want(pilot, origin=Origin.ACTIVE)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] == pytest.approx(core.clock.now() + 600.0)
    assert await core.world.value("SELECT waits_for FROM wants") is None
    await wanted(core, pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] == 0.0
