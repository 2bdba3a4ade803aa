"""The event loop's lag."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from killsyncd.metrics import LoopLag
from tests.support.clocks import ManualClock


async def test_counts_by_how_much_a_timer_rang_late() -> None:
    clock = ManualClock()
    lag = LoopLag(clock)
    task = asyncio.create_task(lag.run())
    await clock.sleeping()
    clock.tick(1.3)  # the loop was busy for 0.3 s beyond the timer
    await clock.settle()
    await clock.advance(2.0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    buckets = dict(lag.buckets())
    assert buckets["0.001"] == 2
    assert buckets["0.25"] == 2
    assert buckets["0.5"] == buckets["+Inf"] == 3
    assert abs(lag.sum - 0.3) < 1e-6


def test_a_timer_that_rings_early_is_no_lag() -> None:
    lag = LoopLag(ManualClock())
    lag.saw(-0.002)
    assert lag.sum == 0.0
    assert lag.buckets()[0] == ("0.001", 1.0)
