"""The consumer's branches of failure: a job's row always lets go, and no mail is lost or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.auth.grant import GrantUnusable, SsoUnavailable
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import PRIORITY_LOGIN, Origin, UserState
from killsyncd.esi.responses import (
    Downtime,
    EsiStatus,
    NotBefore,
    RateLimited,
)
from tests.support.consumer_looks import given_back, wanted
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld, eventually


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


@pytest.fixture
async def pilot(core: SyncWorld) -> Pilot:
    return await core.world.pilot(90000001)


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
