"""The producer: when it runs, whom it queues, and that nothing stops it for good."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.core.model import Origin
from killsyncd.storage.repositories.producer_runs import ProducerRuns
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.sync.producer import LONGEST_JITTER, Producer
from killsyncd.sync.settings import ProducerSettings
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld, eventually

INTERVAL = 600.0
MIN_AGE = 480.0


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


def make(core: SyncWorld, active_for: float = 0.0) -> Producer:
    return Producer(
        ProducerSettings(INTERVAL, MIN_AGE, active_for),
        runs=ProducerRuns(core.world.store, core.world.holder),
        sources=SourceRepository(core.world.store),
        esi_now=core.clock.now,
        events=core.events,
        clock=core.clock,
        rng=random.Random(1),
        paused=lambda: core.paused,
    )


async def wanted(core: SyncWorld) -> int:
    return int(await core.world.value("SELECT COUNT(*) FROM wants"))


async def synced(core: SyncWorld) -> None:
    """Everybody's job is worked off."""
    await core.world.rows("UPDATE sources SET last_sync_at = {now_time}")
    await core.world.rows("DELETE FROM wants")


async def test_it_queues_everybody_and_rests_for_the_interval(core: SyncWorld) -> None:
    for each in range(450):
        await core.world.pilot(90000001 + each)
    producer = make(core)
    wait = await producer.round()
    assert await wanted(core) == 450
    assert INTERVAL <= wait <= INTERVAL + LONGEST_JITTER
    await synced(core)
    core.clock.tick(wait - 1)
    assert 0 < await producer.round() <= 1.01
    assert await wanted(core) == 0
    core.clock.tick(2)
    await producer.round()
    assert await wanted(core) == 450, "the minimum age is below the interval: nobody is left out"


async def test_it_leaves_out_who_waits_or_was_synced_or_cannot(core: SyncWorld) -> None:
    pilots = [await core.world.pilot(90000001 + each) for each in range(5)]
    await core.world.want(pilots[0], priority=8)
    await core.world.rows("UPDATE sources SET last_sync_at = {now_time} WHERE id = :i", i=pilots[1].source_id)
    await core.world.users.pause(pilots[2].user_id, paused=True)
    await core.world.rows("UPDATE users SET state = 'needs_login' WHERE id = :i", i=pilots[3].user_id)
    await make(core).round()
    rows = await core.world.rows("SELECT source_id, priority FROM wants ORDER BY source_id")
    assert [tuple(each) for each in rows] == [(pilots[0].source_id, 8), (pilots[4].source_id, 3)]


async def test_a_restart_neither_forgets_nor_begins_a_herd(core: SyncWorld) -> None:
    await core.world.pilot(90000001)
    wait = await make(core).round()
    await synced(core)
    assert await make(core).round() == pytest.approx(wait, abs=1)
    assert await wanted(core) == 0


@pytest.mark.parametrize("transaction", ["queue", "finish", "begin"])
async def test_a_database_that_stumbles_during_a_run_does_not_end_background_sync(
    core: SyncWorld, transaction: str
) -> None:
    await core.world.pilot(90000001)
    core.store.failing = {transaction}
    producer = make(core)
    async with core.running(producer.run):
        await eventually(lambda: core.store.refused > 0)
        core.store.failing = set()
        await core.clock.advance(16)

        async def over() -> bool:
            core.clock.tick(1)
            return await core.world.value("SELECT last_finished_at FROM producer") is not None

        await eventually(over)
    assert await wanted(core) == 1
    assert await core.world.value("SELECT holder FROM producer") is None


async def test_another_daemon_at_it_is_waited_for(core: SyncWorld) -> None:
    await core.world.pilot(90000001)
    await core.world.rows(
        "INSERT INTO daemons (id, host, pid, egress, version, started_at, alive_until)"
        " VALUES ('other', 'h', 1, 'e', '0', 0, 9e9)"
    )
    await core.world.rows("UPDATE producer SET holder = 'other'")
    assert await make(core).round() == 2.0
    assert await wanted(core) == 0


async def test_paused_it_queues_nobody(core: SyncWorld) -> None:
    await core.world.pilot(90000001)
    core.paused = True
    async with core.running(make(core).run):
        await core.clock.advance(60)
        assert await wanted(core) == 0
        core.paused = False
        core.events.tell("switches")

        async def queued() -> bool:
            return await wanted(core) == 1

        await eventually(queued)


# -- clocks that stood wrong ---------------------------------------------------------------------


async def test_a_next_run_years_ahead_is_due(core: SyncWorld) -> None:
    """Written before the machine's clock was put right; otherwise nobody would ever be synced again."""
    await core.world.pilot(90000001)
    await core.world.rows("UPDATE producer SET next_run_at = :at", at=core.clock.now() + 1e8)
    await make(core).round()
    assert await wanted(core) == 1


async def test_a_sync_in_the_future_keeps_nobody_out(core: SyncWorld) -> None:
    pilot = await core.world.pilot(90000001)
    await core.world.rows("UPDATE sources SET last_sync_at = '2099-01-01 00:00:00'")
    await make(core).round()
    assert await wanted(core) == 1
    (queued,) = await core.world.users.queue([pilot.user_id], 5, Origin.MANUAL, skip_within=900.0)
    assert queued.queued


async def test_what_was_put_off_for_years_is_wanted_now(core: SyncWorld) -> None:
    pilot = await core.world.pilot(90000001)
    await core.world.listed(pilot, 1)
    await core.world.want(pilot)
    far = core.clock.now() + 1e8
    await core.world.rows("UPDATE wants SET not_before = :at", at=far)
    await core.world.rows("UPDATE refs SET not_before = :at", at=far)
    await make(core).round()
    assert await core.claim(pilot) is not None
    assert len((await core.world.ledger.pending_of(pilot.source_id, 5)).refs) == 1


# -- sooner than the interval --------------------------------------------------------------------

HOUR = 3600.0


async def fought(core: SyncWorld, pilot: Pilot, ago: float, cached_for: float) -> None:
    """The pilot's list showed a kill of `ago` seconds before, and is cached for so long."""
    now = core.clock.now()
    await core.world.listed(pilot, 1)
    await core.world.rows(
        "UPDATE sources SET last_fresh_at = :at WHERE id = :id", at=now - ago, id=pilot.source_id
    )
    await core.world.rows(
        "UPDATE pages SET expires_at = :at WHERE source_id = :id", at=now + cached_for, id=pilot.source_id
    )


async def origins(core: SyncWorld) -> dict[int, str]:
    rows = await core.world.rows("SELECT source_id, origin FROM wants")
    return {int(row[0]): str(row[1]) for row in rows}


async def test_who_fought_is_listed_as_soon_as_esi_has_news(core: SyncWorld) -> None:
    """Others wait for the interval, and so does who fought long ago."""
    quick, quiet, long_ago = [await core.world.pilot(90000001 + each) for each in range(3)]
    await fought(core, quick, 600.0, 100.0)
    await core.world.listed(quiet, 2)
    await fought(core, long_ago, HOUR + 1.0, 100.0)
    producer = make(core, HOUR)
    assert await producer.queue_active() == pytest.approx(101.0)
    assert await origins(core) == {}, "ESI's answer is cached"
    core.clock.tick(101.5)
    await producer.queue_active()
    assert await origins(core) == {quick.source_id: "active"}
    assert await producer.queue_active() == 15.0, "once"


async def test_switched_off_nobody_is_listed_sooner(core: SyncWorld) -> None:
    pilot = await core.world.pilot(90000001)
    await fought(core, pilot, 60.0, -10.0)
    await make(core, 0.0).queue_active()
    assert await origins(core) == {}


async def test_every_pilot_is_in_every_run_also_who_is_to_be_listed_sooner(core: SyncWorld) -> None:
    """And then it may spend what others may."""
    pilot = await core.world.pilot(90000001)
    await fought(core, pilot, 60.0, -10.0)
    producer = make(core, HOUR)
    await producer.queue_active()
    assert await origins(core) == {pilot.source_id: "active"}
    await core.world.rows("UPDATE sources SET last_sync_at = NULL")
    await producer.round()
    assert await origins(core) == {pilot.source_id: "producer"}


async def test_a_list_that_did_not_answer_is_left_to_the_interval(core: SyncWorld) -> None:
    pilot = await core.world.pilot(90000001)
    await fought(core, pilot, 60.0, -10.0)
    await core.world.rows("UPDATE pages SET asked_at = answered_at + 5")
    await make(core, HOUR).queue_active()
    assert await origins(core) == {}
