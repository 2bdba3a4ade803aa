"""This machine's clock is set while the daemon runs: what waits by it is set anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.core.clock import StepDetector
from killsyncd.storage.repositories.waits import Waits
from killsyncd.storage.repositories.webhooks import WebhookRepository
from killsyncd.sync.clock_watch import CHANNELS, ClockWatch
from killsyncd.webhooks.model import PaceWindow
from tests.support.clocks import ManualClock
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as world:
        yield world


@pytest.fixture
async def pilot(core: SyncWorld) -> Pilot:
    return await core.world.pilot(1)


def watch(core: SyncWorld) -> tuple[ClockWatch, list[str]]:
    """A watch, and what it told."""
    told: list[str] = []
    for channel in CHANNELS:
        core.events.on(channel, lambda channel=channel: told.append(channel))
    return ClockWatch(Waits(core.store), core.events, core.clock, lambda: told.append("set")), told


def test_a_step_is_what_moves_the_wall_alone() -> None:
    clock = ManualClock()
    detector = StepDetector(clock)
    clock.tick(86_400.0)
    assert detector.step() == 0.0
    clock.set_wall(clock.now() + 3600)
    assert detector.step() == pytest.approx(3600)
    assert detector.step() == 0.0
    clock.tick(2.0)
    clock.set_wall(clock.now() - 0.5)
    assert detector.step() == 0.0, "a clock that is slewed"
    clock.set_wall(clock.now() - 3600)
    assert detector.step() == pytest.approx(-3600)


async def test_an_hour_fast_for_a_minute_and_right_again(core: SyncWorld, pilot: Pilot) -> None:
    """What was put off meanwhile waits as long as it was meant to, not for an hour."""
    watched, told = watch(core)
    await watched.look()
    told.clear()
    core.clock.set_wall(core.clock.now() + 3600)
    await watched.look()
    assert "set" in told
    job = await core.world.job(pilot)
    await core.world.wants.postpone(job, core.clock.now() + 300.0, attempts=0, reason="cached")
    await core.world.rows("UPDATE grants SET not_before = :at", at=core.clock.now() + 60.0)
    core.clock.tick(60.0)
    core.clock.set_wall(core.clock.now() - 3600)
    await watched.look()
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] - core.clock.now() == pytest.approx(240, abs=0.1)
    assert await core.world.value("SELECT not_before FROM grants") <= core.clock.now()
    assert told[-len(CHANNELS) :] == list(CHANNELS)


async def test_a_clock_put_ahead_lets_everything_come_early(core: SyncWorld, pilot: Pilot) -> None:
    watched, _ = watch(core)
    await watched.look()
    job = await core.world.job(pilot)
    await core.world.wants.postpone(job, core.clock.now() + 300.0, attempts=0, reason="cached")
    core.clock.set_wall(core.clock.now() + 3600)
    await watched.look()
    assert await core.claim(pilot) is not None


async def test_what_a_wrong_clock_wrote_before_the_start_is_looked_at_anew(
    core: SyncWorld, pilot: Pilot
) -> None:
    """By how much the clock was set while nobody looked is not known."""
    waits, failed = pilot, await core.world.pilot(2)
    for each, attempts, seconds in ((waits, 0, 3600.0), (failed, 2, 600.0)):
        job = await core.world.job(each)
        at = core.clock.now() + seconds
        await core.world.wants.postpone(job, at, attempts=attempts, reason="no")
    watched, _ = watch(core)
    await watched.look()
    assert await core.claim(waits) is not None
    assert await core.claim(failed) is None, "an attempt that failed has its pause"


async def test_a_step_is_made_good_when_the_database_is_back(core: SyncWorld, pilot: Pilot) -> None:
    watched, _ = watch(core)
    await watched.look()
    job = await core.world.job(pilot)
    await core.world.wants.postpone(job, core.clock.now() + 3700.0, attempts=0, reason="cached")
    core.clock.set_wall(core.clock.now() - 3600)
    core.store.failing.add("sooner")
    await watched.look()
    core.store.failing.clear()
    await watched.look()
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] - core.clock.now() == pytest.approx(3700, abs=0.1)


@pytest.mark.parametrize("step", [3600.0, -86_400.0])
async def test_webhooks_send_neither_early_nor_a_day_late(core: SyncWorld, step: float) -> None:
    """Their other side's clock was not set."""
    watched, _ = watch(core)
    await watched.look()
    rows = WebhookRepository(core.store, core.world.holder)
    pace = (PaceWindow(2, 60.0),)
    await rows.register("corp", "discord", 1)
    assert await rows.claim("corp", 8.0)
    for killmail_id in (1, 2):
        assert await rows.begin("corp", killmail_id, 0, 0, pace) == 0.0
        await rows.failed("corp", "slow down", 300.0 * (killmail_id - 1), counts=False, doubtful=False)
        core.clock.tick(1.0)
    core.clock.set_wall(core.clock.now() + step)
    await watched.look()
    (state,) = await rows.all()
    assert state.asked_to_wait == pytest.approx(299.0, abs=0.1)
    await rows.resume("corp")
    await core.world.rows("UPDATE webhooks SET not_before = 0")
    assert await rows.begin("corp", 3, 0, 0, pace) == pytest.approx(58.0, abs=0.1)
