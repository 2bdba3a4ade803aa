"""The queue's rows: order, widening, leases."""

from __future__ import annotations

import asyncio

from killsyncd.core.model import Origin, SyncMode
from killsyncd.storage.repositories.daemons import LEASE_SECONDS
from tests.support.storage_world import StorageWorld, run


async def test_the_most_urgent_comes_first_then_who_waits_longest(world: StorageWorld) -> None:
    pilots = [await world.pilot(each) for each in (1, 2, 3, 4)]
    for pilot, priority in zip(pilots, (3, 5, 8, 5), strict=True):
        await world.want(pilot, priority=priority)
        await world.timed.pass_time(1.0)
    order = []
    while (job := await world.wants.claim()) is not None:
        order.append(job.character_id)
    assert order == [3, 2, 4, 1]


async def test_a_claim_says_all_that_a_job_needs(world: StorageWorld) -> None:
    pilot = await world.pilot(7, "John Doe")
    await world.want(pilot, SyncMode.FULL_SYNC, 5, Origin.MANUAL)
    job = await world.wants.claim()
    assert job is not None
    assert (job.user_id, job.source_id, job.character_id) == (pilot.user_id, pilot.source_id, 7)
    assert (job.character_name, job.mode, job.priority) == ("John Doe", SyncMode.FULL_SYNC, 5)
    assert (job.origin, job.attempts, job.last_killmail_id) == (Origin.MANUAL, 0, None)
    assert abs(job.queued_at - await world.now()) < 60
    assert await world.wants.claim() is None


async def test_asking_again_widens_and_raises_and_never_narrows(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    assert await world.want(pilot, SyncMode.INCREMENTAL, 3) is SyncMode.INCREMENTAL
    assert await world.want(pilot, SyncMode.FULL_SYNC, 8, Origin.LOGIN) is SyncMode.FULL_SYNC
    assert await world.want(pilot, SyncMode.INCREMENTAL, 3) is SyncMode.FULL_SYNC, "it will walk that far"
    job = await world.wants.claim()
    assert job is not None
    assert (job.mode, job.priority, job.origin) == (SyncMode.FULL_SYNC, 8, Origin.LOGIN)
    assert (await world.wants.depth()).by_priority == {8: 1}


async def test_a_job_asked_for_while_it_runs_gets_another_round(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    await world.want(pilot, SyncMode.FULL_SYNC, 5, Origin.MANUAL)
    assert await world.wants.finish(job)
    again = await world.wants.claim()
    assert again is not None
    assert again.mode is SyncMode.FULL_SYNC
    assert await world.wants.finish(again)
    assert await world.wants.claim() is None


async def test_the_producer_coming_round_does_not_ask_for_another(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    await world.want(pilot)
    assert await world.wants.finish(job)
    assert await world.wants.claim() is None


async def test_a_job_given_back_waits_until_its_time(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    until = await world.now() + 100.0
    await world.wants.postpone(job, until, attempts=3, reason="ESI sleeps")
    assert await world.wants.claim() is None
    assert await world.wants.claim(pilot.source_id) is None
    assert await world.wants.next_due() == until
    await world.timed.pass_time(101.0)
    again = await world.wants.claim()
    assert again is not None
    assert again.attempts == 3


async def test_a_login_does_not_wait_for_a_postponed_job(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    await world.wants.postpone(job, await world.now() + 100.0, attempts=1, reason="failed")
    await world.want(pilot, priority=8, origin=Origin.LOGIN)
    job = await world.wants.claim()
    assert job is not None
    assert job.priority == 8


async def test_who_cannot_sync_is_not_claimed(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot)
    await world.users.pause(pilot.user_id, paused=True)
    assert await world.wants.claim() is None
    assert await world.wants.next_due() is None
    await world.users.pause(pilot.user_id, paused=False)
    assert await world.wants.claim() is not None


async def test_depth_counts_waiting_and_working(world: StorageWorld) -> None:
    for each in (1, 2, 3):
        await world.want(await world.pilot(each), priority=each)
    assert await world.wants.claim() is not None
    depth = await world.wants.depth()
    assert (depth.messages, depth.working, depth.by_priority) == (2, 1, {1: 1, 2: 1, 3: 1})


async def test_what_a_source_wants_can_be_forgotten(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    await world.wants.drop(pilot.source_id)
    assert not await world.wants.finish(job)
    assert await world.wants.claim() is None


async def test_claims_fall_when_the_daemon_s_row_goes(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    await world.store.write(run, "meta.daemon_leave", id=world.holder)
    assert not await world.wants.finish(job)
    row = await world.row("SELECT holder FROM wants WHERE source_id = :id", id=pilot.source_id)
    assert row[0] is None


async def test_two_daemons_never_claim_the_same(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    for each in range(1, 31):
        await one.want(await one.pilot(each))

    async def claim_all(world: StorageWorld) -> list[int]:
        found = []
        while (job := await world.wants.claim()) is not None:
            found.append(job.source_id)
        return found

    claimed = await asyncio.gather(*(claim_all(each) for each in (one, two, one, two)))
    flat = [source for each in claimed for source in each]
    assert len(flat) == len(set(flat)) == 30


async def test_many_who_ask_for_one_make_one_row(worlds: list[StorageWorld]) -> None:
    pilot = await worlds[0].pilot(1)
    answers = await asyncio.gather(
        *(world.want(pilot, priority=p, origin=Origin.MANUAL) for world in worlds for p in range(3, 9))
    )
    assert set(answers) == {SyncMode.INCREMENTAL}
    assert (await worlds[0].wants.depth()).by_priority == {8: 1}


async def test_a_dead_daemon_s_jobs_go_to_the_living(worlds: list[StorageWorld]) -> None:
    dead, living = worlds
    pilot = await dead.pilot(1)
    job = await dead.job(pilot)
    assert await living.wants.claim() is None
    await living.timed.pass_time(LEASE_SECONDS + 1.0)
    # The living one was silent as long, so its first beat loses its own lease too, and sweeps the other's.
    await living.member.beat()
    again = await living.wants.claim()
    assert again is not None
    assert again.source_id == pilot.source_id
    assert not await dead.wants.finish(job)
    assert await living.wants.finish(again)


async def test_a_wait_by_a_wrong_clock_is_as_long_as_it_was_meant(world: StorageWorld) -> None:
    """A daemon whose clock is an hour fast shares the database: it waits a minute all the same."""
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    wrong = await world.now() + 3600.0
    await world.wants.postpone(job, wrong + 60.0, attempts=1, reason="failed", by=wrong)
    due = await world.wants.next_due()
    assert due is not None
    assert 50.0 < due - await world.now() <= 60.0
