"""The fetcher's branches of failure: what is wanted is fetched, once, and nothing kills or blinds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.errors import RowRefused, Unavailable
from killsyncd.core.model import HEAVY_PENDING, WaitsFor
from killsyncd.esi.responses import Downtime, EsiStatus, MalformedResponse, NoResponseReceived, RateLimited
from killsyncd.sync import mail_writer
from killsyncd.sync.batch import Arrival, Stored
from killsyncd.sync.detail_storm import IN_A_ROW
from killsyncd.sync.failure_policy import MALFORMED, PATIENCE, REFUSALS
from killsyncd.sync.mail_writer import BATCH
from tests.support.storage_world import Pilot, arrival
from tests.support.sync_world import SyncWorld, eventually


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


@pytest.fixture
async def pilot(core: SyncWorld) -> Pilot:
    return await core.world.pilot(90000001)


async def passing(core: SyncWorld, holds: Any, seconds: float = 0.5) -> None:
    """Let time go by until something holds."""
    async with asyncio.timeout(20):
        while not holds():
            core.clock.tick(seconds)
            await asyncio.sleep(0.002)


# -- what goes well ------------------------------------------------------------------------------


async def test_what_is_wanted_is_stored_once(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1, 2, 3)
    async with core.running(core.fetcher.run):
        await eventually(lambda: core.fetcher.stored == 3)
    assert sorted(core.details.asked) == [1, 2, 3]
    assert await core.world.refs() == {}
    assert sorted(await core.world.stored_ids()) == [1, 2, 3]


async def test_what_is_listed_while_it_runs_is_fetched(core: SyncWorld, pilot: Pilot) -> None:
    async with core.running(core.fetcher.run):
        await core.world.listed(pilot, 1)
        core.fetcher.listed(pilot.source_id)
        await eventually(lambda: core.fetcher.stored == 1)


async def test_the_drain_stores_what_is_in_flight(core: SyncWorld, pilot: Pilot) -> None:
    core.details.held = asyncio.Event()
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run) as stopping:
        await eventually(lambda: core.fetcher.in_flight == 1)
        stopping.set()
        core.details.held.set()
    assert await core.world.stored_ids() == [1]


async def test_paused_fetches_nothing(core: SyncWorld, pilot: Pilot) -> None:
    core.paused = True
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run):
        await core.clock.advance(60)
        assert core.details.asked == []
        core.paused = False
        core.events.tell("switches")
        await eventually(lambda: core.fetcher.stored == 1)


async def test_a_paused_user_is_left_alone_until_resumed(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1)
    await core.world.users.pause(pilot.user_id, paused=True)
    async with core.running(core.fetcher.run):
        await core.clock.advance(30)
        assert core.details.asked == []
        await core.world.users.pause(pilot.user_id, paused=False)
        core.events.tell("switches")
        await eventually(lambda: core.fetcher.stored == 1)


# -- details that fail ---------------------------------------------------------------------------


async def test_a_failed_mail_is_tried_again_although_others_wait_for_ever(
    core: SyncWorld, pilot: Pilot
) -> None:
    """A dry window behind a big first sync must not keep another pilot's retry out of sight."""
    big = await core.world.pilot(90000002)
    await core.world.listed(big, *range(1000, 1060))
    await core.world.listed(pilot, 1)
    core.details.faults = {
        1: [EsiStatus(500, "oops")],
        **{n: [NoResponseReceived("x")] * 99 for n in range(1000, 1060)},
    }
    async with core.running(core.fetcher.run):
        await eventually(lambda: 1 in core.details.asked)
        await passing(core, lambda: core.fetcher.stored == 1)
    assert core.details.asked.count(1) == 2


async def test_retries_come_while_the_queue_is_never_empty(core: SyncWorld, pilot: Pilot) -> None:
    heavy = await core.world.pilot(90000002)
    await core.world.listed(heavy, *range(1000, 1100))
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [EsiStatus(503, "oops")]}
    permits = core.details.detail_permits

    async def light_only(count: int = 1, *, heavy: bool = False) -> Any:
        if heavy:
            raise RateLimited("dry", core.clock.now() + 600.0, group="killmail")
        return await permits(count, heavy=heavy)

    core.details.detail_permits = light_only  # type: ignore[method-assign]
    async with core.running(core.fetcher.run):
        await eventually(lambda: core.details.asked == [1])
        await passing(core, lambda: core.fetcher.stored == 1)
        assert len(await core.world.refs()) == 100, "the others are still wanted"
        core.details.detail_permits = permits  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (EsiStatus(422, "wrong pair"), REFUSALS),
        (MalformedResponse("no JSON"), MALFORMED),
        (EsiStatus(404, "not found"), PATIENCE),
    ],
)
async def test_a_mail_that_stays_refused_is_quarantined(
    core: SyncWorld, pilot: Pilot, fault: Exception, tries: int
) -> None:
    await core.world.listed(pilot, 1, 2)
    core.details.faults = {1: [fault] * 99}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.quarantined == 1, 5.0)
        await eventually(lambda: core.fetcher.stored == 1)
    assert core.details.asked.count(1) == tries
    assert await core.world.refs() == {1: "quarantined"}
    assert await core.world.last_id(pilot) is None, "not past the gap"


@pytest.mark.parametrize("away", [set[str](), {"store_batch"}, {"store_batch", "ref_failed"}])
async def test_bodies_that_are_none_beside_a_good_one(core: SyncWorld, pilot: Pilot, away: set[str]) -> None:
    """Tried again, the good one too where the database was away meanwhile, and nobody stands in the way."""
    await core.world.listed(pilot, 1, 2, 3, 4)
    another = arrival(9, core.clock.now()).raw
    core.details.bodies = {1: [b"[]"], 2: [another], 3: [b'{"killmail_id"']}
    core.store.failing = away
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.failed == 3)
        if away:
            await passing(core, lambda: core.store.refused > 3)
            assert core.fetcher.trouble == "the disk is full"
            assert core.fetcher.stored == 0
            core.store.failing = set()
        await passing(core, lambda: core.fetcher.stored == 4)
        assert core.fetcher.trouble is None
    assert core.fetcher.failed == 3, "each once"
    assert core.details.asked.count(4) == 1
    assert await core.world.refs() == {}


ILL = [
    EsiStatus(404, "not found"),
    EsiStatus(403, "forbidden"),
    EsiStatus(422, "Invalid killmail_id and/or killmail_hash"),
    EsiStatus(500, "oops"),
    NoResponseReceived("ESI did not answer: timed out"),
    b"<!DOCTYPE html><h1>We'll be back</h1>",
    b'{"killmail_id": 7, "victim"',
]


@pytest.mark.parametrize("ill", ILL, ids=lambda each: str(each)[:20])
async def test_a_storm_costs_little_and_holds_nothing_against_a_mail(
    core: SyncWorld, pilot: Pilot, ill: Exception | bytes
) -> None:
    """Every mail fails alike for an hour: ESI is ill. Then all come home by themselves."""
    await core.world.listed(pilot, *range(1, 201))
    core.details.ill = ill
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.storm is not None, 0.1)
        begun = len(core.details.asked)
        assert IN_A_ROW <= begun <= 2 * IN_A_ROW
        for _ in range(720):
            core.clock.tick(5.0)
            await asyncio.sleep(0.001)
        assert begun < len(core.details.asked) <= begun + 20, "one now and then, at a growing pause"
        assert core.fetcher.quarantined == 0
        said = core.fetcher.storm
        assert said is not None
        assert "is tried again at" in said
        core.details.ill = None
        await passing(core, lambda: core.fetcher.stored == 200, 5.0)
        assert core.fetcher.storm is None
        last = len(core.details.asked)
    assert last <= begun + 20 + 200
    assert await core.world.refs() == {}


async def test_fresh_mails_end_a_storm_that_was_none(core: SyncWorld, pilot: Pilot) -> None:
    """Thirty wrong pairs and nothing else look like one, until something comes."""
    await core.world.listed(pilot, *range(1, 31))
    core.details.faults = {each: [EsiStatus(422, "wrong pair")] * 99 for each in range(1, 31)}
    other = await core.world.pilot(90000002)
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.storm is not None, 0.1)
        await core.world.listed(other, 1000)
        core.fetcher.listed(other.source_id)
        await passing(core, lambda: core.fetcher.stored == 1, 5.0)
        for fresh in range(1001, 1080):
            if list((await core.world.refs()).values()) == ["quarantined"] * 30:
                break
            await core.world.listed(other, fresh)
            core.fetcher.listed(other.source_id)
            for _ in range(60):
                core.clock.tick(5.0)
                await asyncio.sleep(0.001)
    assert await core.world.refs() == dict.fromkeys(range(1, 31), "quarantined")
    assert len(core.details.asked) < 30 * (2 * REFUSALS + 1) + 80, "each is excused once"


async def test_mails_given_up_in_a_storm_are_wanted_again_when_it_ends(core: SyncWorld, pilot: Pilot) -> None:
    """A few mails use up their patience before twenty have failed: they were not to blame either."""
    await core.world.listed(pilot, *range(1, 6))
    core.details.ill = EsiStatus(422, "wrong pair")
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.storm is not None, 1.0)
        core.details.ill = None
        await passing(core, lambda: core.fetcher.stored == 5, 5.0)
    assert await core.world.refs() == {}


async def test_a_quarantined_mail_is_tried_again_daily(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1, 2)
    core.details.faults = {1: [EsiStatus(422, "wrong pair")] * (REFUSALS + 1)}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.quarantined == 1, 5.0)
        await eventually(lambda: core.fetcher.stored == 1)
        await passing(core, lambda: core.fetcher.quarantined == 2, 600.0)
        assert core.details.asked.count(1) == REFUSALS + 1, "a single refusal more is enough"
        assert await core.world.refs() == {1: "quarantined"}
        await passing(core, lambda: core.fetcher.stored == 2, 600.0)
    assert await core.world.refs() == {}


async def test_what_no_list_can_have_any_more_rests(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1, 2)
    core.details.faults = {1: [EsiStatus(422, "wrong pair")] * 99}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.quarantined == 1, 5.0)
        core.clock.tick(90 * 86_400.0)
        asked = len(core.details.asked)
        for _ in range(100):
            core.clock.tick(600.0)
            await asyncio.sleep(0.002)
        assert len(core.details.asked) == asked


@pytest.mark.parametrize("status", [401, 403, 429, 500, 504])
async def test_what_says_nothing_of_the_mail_quarantines_nothing(
    core: SyncWorld, pilot: Pilot, status: int
) -> None:
    """A firewall that says 403 to everything for an hour must not put everything away."""
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [EsiStatus(status, "no")] * 30}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1, 20.0)
    assert core.fetcher.quarantined == 0


async def test_waiting_is_no_failure(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [Downtime("down", core.clock.now() + 5.0)]}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1)
    assert core.fetcher.failed == 0


async def test_a_dry_window_is_waited_for(core: SyncWorld, pilot: Pilot) -> None:
    core.details.dry = RateLimited("dry", core.clock.now() + 30.0, group="killmail", dry=True)
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.waiting is not None, seconds=0.0)
        await core.clock.advance(14)
        assert core.details.asked == []
        core.details.dry = None
        await passing(core, lambda: core.fetcher.stored == 1)
        assert 14 <= core.fetcher.waited <= 30
        before = core.fetcher.waited
        await core.clock.advance(60)
        assert core.fetcher.waited == before, "nothing to fetch is no waiting for tokens"


async def test_a_database_that_reserves_no_tokens_is_no_fault_of_the_mails(
    core: SyncWorld, pilot: Pilot
) -> None:
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [Unavailable("the database does not answer")]}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1)
    assert core.fetcher.failed == 0


async def test_a_bug_counts_as_a_failure(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [ZeroDivisionError()]}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1)
    assert core.fetcher.failed == 1


# -- the database --------------------------------------------------------------------------------


async def test_a_failure_that_could_not_be_written_down_is_still_wanted(
    core: SyncWorld, pilot: Pilot
) -> None:
    await core.world.listed(pilot, 1)
    core.details.faults = {1: [EsiStatus(500, "oops")]}
    core.store.failing = {"ref_failed"}
    async with core.running(core.fetcher.run):
        await eventually(lambda: core.store.refused == 1)
        await eventually(lambda: core.fetcher.stored == 1)


async def test_a_first_look_that_fails_is_made_again(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1)
    real, calls = core.world.ledger.pending_sources, 0

    async def away() -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("the database is away")
        return await real()

    core.world.ledger.pending_sources = away  # type: ignore[method-assign]
    async with core.running(core.fetcher.run):
        await eventually(lambda: core.fetcher.trouble is not None)
        await passing(core, lambda: core.fetcher.stored == 1)
    assert core.fetcher.trouble is None


async def test_a_source_that_could_not_be_read_is_read_again(core: SyncWorld, pilot: Pilot) -> None:
    real, calls = core.world.ledger.pending_of, 0

    async def away(source_id: int, limit: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("the database is away")
        return await real(source_id, limit)

    core.world.ledger.pending_of = away  # type: ignore[method-assign]
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1)


async def test_what_cannot_be_given_back_kills_nobody(core: SyncWorld, pilot: Pilot) -> None:
    async def away(ids: Sequence[int]) -> None:
        raise Unavailable("the database is away")

    core.world.ledger.release_refs = away  # type: ignore[method-assign]
    core.details.faults = {1: [Downtime("down", core.clock.now() + 5.0)]}
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 1)


async def test_what_cannot_be_stored_does_not_pile_up(core: SyncWorld, pilot: Pilot) -> None:
    """A full disk must neither spend the budget on what it can't keep nor fill the memory."""
    await core.world.listed(pilot, *range(1, 5 * BATCH))
    core.store.failing = {"store_batch"}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.store.refused > 0)
        for _ in range(50):
            core.clock.tick(0.1)
            await asyncio.sleep(0.002)
        assert len(core.details.asked) <= 2 * BATCH + 8 + BATCH
        assert core.fetcher.trouble == "the disk is full"
        core.store.failing = set()
        await passing(core, lambda: core.fetcher.stored == 5 * BATCH - 1)
        assert core.fetcher.trouble is None
    assert len(core.details.asked) == 5 * BATCH - 1


async def test_large_mails_pile_up_by_their_bytes(
    core: SyncWorld, pilot: Pilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the largest fights' a thousand would be gigabytes."""
    monkeypatch.setattr(mail_writer, "BATCH_BYTES", 4_000)
    await core.world.listed(pilot, *range(1, 200))
    core.store.failing = {"store_batch"}
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.store.refused > 0)
        for _ in range(50):
            core.clock.tick(0.1)
            await asyncio.sleep(0.002)
        assert len(core.details.asked) <= 100
        core.store.failing = set()
        await passing(core, lambda: core.fetcher.stored == 199)
    assert len(core.details.asked) == 199


async def test_the_end_does_not_wait_for_a_full_disk(core: SyncWorld, pilot: Pilot) -> None:
    await core.world.listed(pilot, 1)
    core.store.failing = {"store_batch"}
    async with core.running(core.fetcher.run):
        await eventually(lambda: core.store.refused > 0)
    assert await core.world.refs() == {1: "pending"}


async def test_a_mail_the_database_refuses_keeps_no_other_out(core: SyncWorld, pilot: Pilot) -> None:
    """A value that only the last statement meets: the batch falls apart, and that mail is quarantined."""
    await core.world.listed(pilot, 1, 2, 3)
    real = core.world.storing.store

    async def picky(arrivals: Sequence[Arrival], names: Sequence[int]) -> Stored:
        if any(each.killmail.killmail_id == 2 for each in arrivals):
            raise RowRefused("the database refuses a row: out of range")
        return await real(arrivals, names)

    core.world.storing.store = picky  # type: ignore[method-assign]
    async with core.running(core.fetcher.run):
        await passing(core, lambda: core.fetcher.stored == 2 and core.fetcher.quarantined == 1)
        assert await core.world.refs() == {2: "quarantined"}
        core.world.storing.store = real  # type: ignore[method-assign]
        assert await core.world.ledger.retry([2]) == [2]
        core.events.tell("refs")
        await passing(core, lambda: core.fetcher.stored == 3)  # nothing of it was still under way
    assert await core.world.refs() == {}


async def test_a_writer_that_dies_ends_the_fetcher(core: SyncWorld, pilot: Pilot) -> None:
    """Not fetching on, for ever, what nobody stores."""

    async def broken(arrivals: Sequence[Arrival], names: Sequence[int]) -> Stored:
        raise ZeroDivisionError

    core.world.storing.store = broken  # type: ignore[method-assign]
    await core.world.listed(pilot, 1)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(5):
            await core.fetcher.run(asyncio.Event())


async def test_a_commit_that_never_ends_is_a_standstill(core: SyncWorld, pilot: Pilot) -> None:
    begun, hung = asyncio.Event(), asyncio.Event()
    real = core.world.storing.store

    async def hangs(arrivals: Sequence[Arrival], names: Sequence[int]) -> Stored:
        begun.set()
        await hung.wait()
        return await real(arrivals, names)

    core.world.storing.store = hangs  # type: ignore[method-assign]
    await core.world.listed(pilot, 1)
    async with core.running(core.fetcher.run):
        await eventually(begun.is_set)
        before = core.clock.monotonic()
        await core.clock.advance(200)
        assert core.fetcher.progress <= before
        hung.set()
        await eventually(lambda: core.fetcher.stored == 1)


async def test_what_nobody_told_of_is_found_when_it_is_quiet(core: SyncWorld, pilot: Pilot) -> None:
    async with core.running(core.fetcher.run):
        await core.clock.settle()
        await core.world.listed(pilot, 1)  # and no word to the fetcher
        await passing(core, lambda: core.fetcher.stored == 1, 1.0)


async def test_a_clock_put_back_hides_no_retry(core: SyncWorld, pilot: Pilot) -> None:
    async with core.running(core.fetcher.run):
        await core.clock.advance(20)
        core.clock.set_wall(core.clock.now() - 86_400)
        await core.world.listed(pilot, 1)
        await core.world.rows("UPDATE refs SET not_before = :at", at=core.clock.now() + 3)
        await passing(core, lambda: core.fetcher.stored == 1)


@pytest.mark.parametrize("dry", [True, False])
async def test_only_a_budget_that_is_spent_counts_as_dry(core: SyncWorld, pilot: Pilot, dry: bool) -> None:
    core.details.dry = RateLimited("wait", core.clock.now() + 30.0, group="killmail", dry=dry)
    await core.world.listed(pilot, 1)
    assert core.fetcher.waiting is None
    async with core.running(core.fetcher.run):
        await eventually(lambda: False in core.details.permits_asked and core.clock.sleepers > 0)
        assert (core.fetcher.waiting is not None) is dry
        core.details.dry = None


async def test_a_long_list_that_must_leave_the_last_part_says_so_and_until_when(
    core: SyncWorld, pilot: Pilot
) -> None:
    """With the window's last part kept for others, whoever waits for the rest is no less waiting."""
    until = core.clock.now() + 700.0
    core.details.dry = RateLimited(
        "no tokens left", core.clock.now() + 2.0, group="killmail", dry=True, tokens_at=until
    )
    await core.world.listed(pilot, *range(1, HEAVY_PENDING + 2))
    async with core.running(core.fetcher.run):
        await eventually(lambda: True in core.details.permits_asked and core.clock.sleepers > 0)
        wait = core.fetcher.waiting
        assert wait is not None
        assert (wait.waits_for, wait.heavy, wait.until) == (WaitsFor.BUDGET, True, until)
        core.details.dry = None
