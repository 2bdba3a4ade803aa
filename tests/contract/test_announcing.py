"""The queue's rows and the messages that lead to them."""

from __future__ import annotations

import asyncio

from killsyncd.core.model import Origin, SyncMode, UserState
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.sync.job_source import WakeupMessage
from tests.support.storage_world import StorageWorld


def rows_of(world: StorageWorld) -> QueueAnnouncements:
    return QueueAnnouncements(world.store, "queue", world.holder)


def old(character_id: int, queued_at: float | None = None, *, full: bool = False) -> WakeupMessage:
    return WakeupMessage(character_id, 3, ours=False, full=full, queued_at=queued_at)


def ours(character_id: int) -> WakeupMessage:
    return WakeupMessage(character_id, 3, ours=True)


async def announced(world: StorageWorld, lost_after: float | None = None) -> list[int]:
    return [each.character_id for each in await rows_of(world).announce(10, lost_after)]


async def test_a_want_is_announced_once_and_says_everything(world: StorageWorld) -> None:
    await world.want(await world.pilot(1), priority=3)
    await world.want(await world.pilot(2, "Jane"), SyncMode.FULL_SYNC, 8)
    first, second = await rows_of(world).announce(10, None)
    assert (first.character_id, first.character_name, first.mode) == (2, "Jane", SyncMode.FULL_SYNC)
    assert (first.priority, first.last_killmail_id, second.character_id) == (8, None, 1)
    assert first.expires_at is not None
    assert abs(first.queued_at - await world.now()) < 60
    assert await announced(world) == []


async def test_a_raised_priority_is_announced_again(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot, priority=3)
    assert await announced(world) == [1]
    await world.want(pilot, priority=3)
    assert await announced(world) == []
    await world.want(pilot, priority=8, origin=Origin.LOGIN)
    assert await announced(world) == [1]


async def test_what_is_worked_on_later_or_paused_is_not_announced(world: StorageWorld) -> None:
    working, later, paused = [await world.pilot(each) for each in (1, 2, 3)]
    await world.job(working)
    await world.want(later, not_before=await world.now() + 100.0)
    await world.want(paused)
    await world.users.pause(paused.user_id, paused=True)
    assert await announced(world) == []
    assert await rows_of(world).due() == 0
    await world.timed.pass_time(101.0)
    assert await announced(world) == [2]
    assert await rows_of(world).due() == 1


async def test_a_job_given_back_is_announced_again_when_due(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot)
    assert await announced(world) == [1]
    job = (await rows_of(world).summon(ours(1))).job
    assert job is not None
    await world.wants.postpone(job, await world.now() + 50.0, attempts=1, reason="no")
    assert await announced(world) == []
    await world.timed.pass_time(51.0)
    assert await announced(world) == [1]


async def test_a_message_that_did_not_get_out_or_got_lost_is_announced_again(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot)
    assert await announced(world) == [1]
    await rows_of(world).unannounce([pilot.source_id])
    assert await announced(world) == [1]
    assert await announced(world, 30.0) == []
    await world.timed.pass_time(31.0)
    assert await announced(world) == []
    assert await announced(world, 30.0) == [1]


async def test_our_message_claims_what_is_wanted_and_wants_nothing(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    nothing = await rows_of(world).summon(ours(1))
    assert (nothing.job, nothing.known) == (None, True)
    await world.want(pilot)
    summoned = await rows_of(world).summon(ours(1))
    assert summoned.job is not None
    assert summoned.job.source_id == pilot.source_id
    assert (await rows_of(world).summon(ours(1))).job is None


async def test_an_early_message_leaves_the_want_to_another(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot)
    assert await announced(world) == [1]
    await world.users.pause(pilot.user_id, paused=True)
    assert (await rows_of(world).summon(ours(1))).job is None
    await world.users.pause(pilot.user_id, paused=False)
    assert await announced(world) == [1]


async def test_strangers_are_never_made_users(world: StorageWorld) -> None:
    summoned = await rows_of(world).summon(old(404))
    assert (summoned.job, summoned.known) == (None, False)
    assert await world.users.all() == []


async def test_an_old_message_asks_for_a_sync(world: StorageWorld) -> None:
    await world.pilot(1)
    await world.pilot(2)
    full = (await rows_of(world).summon(old(1, full=True))).job
    assert full is not None
    assert (full.mode, full.origin, full.priority) == (SyncMode.FULL_SYNC, Origin.MESSAGE, 3)
    first = (await rows_of(world).summon(old(2))).job
    assert first is not None
    assert first.mode is SyncMode.FIRST_SYNC


async def test_an_old_message_that_was_overtaken_asks_for_nothing(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    queued_at = await world.now() - 10.0
    await world.listed(pilot, 1)
    for full in (False, True):
        assert (await rows_of(world).summon(old(1, queued_at, full=full))).job is None
    assert (await world.wants.depth()).by_priority == {}
    later = await world.now() + 10.0
    # ESI's list is the one we have until it expires, which the door knows: put back, the want waits, and the
    # message is done with.
    job = (await rows_of(world).summon(old(1, later))).job
    assert job is not None
    await world.wants.postpone(job, await world.now() + 300.0, attempts=0, reason="ESI's answer is cached")
    assert (await world.wants.depth()).by_priority == {3: 1}
    assert await announced(world) == []
    await world.timed.pass_time(301.0)
    assert await announced(world) == [1]


async def test_an_old_message_does_not_make_a_running_job_go_round_again(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    job = await world.job(pilot)
    await rows_of(world).summon(old(1))
    assert await world.wants.finish(job)
    assert (await world.wants.depth()).by_priority == {}


async def test_who_cannot_sync_is_not_wanted_for_an_old_message(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, "gone")
    assert (await rows_of(world).summon(old(1))).job is None
    assert (await world.wants.depth()).by_priority == {}


async def test_daemons_do_not_announce_the_same(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    for each in range(1, 41):
        await one.want(await one.pilot(each))
    batches = await asyncio.gather(*(announced(each) for each in (one, two) * 4))
    flat = [each for batch in batches for each in batch]
    assert len(flat) == len(set(flat))
    rest = [each for _ in range(10) for each in await announced(one)]
    assert sorted(flat + rest) == list(range(1, 41))
