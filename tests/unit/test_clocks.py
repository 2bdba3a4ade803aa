"""The tests' clock keeps its word, since everything about time rests on it."""

from __future__ import annotations

import asyncio

from tests.support.clocks import ManualClock


async def test_sleepers_wake_in_order_each_at_its_time() -> None:
    clock = ManualClock()
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        start = clock.monotonic()
        await clock.sleep(seconds)
        woke.append((name, clock.monotonic() - start))

    tasks = [asyncio.create_task(sleeper(*args)) for args in (("c", 30.0), ("a", 10.0), ("b", 10.0))]
    await clock.sleeping(3)
    assert clock.next_wake == 10
    await clock.advance(29)
    assert woke == [("a", 10.0), ("b", 10.0)]
    await clock.advance(1)
    assert woke[-1] == ("c", 30.0)
    await asyncio.gather(*tasks)
    assert clock.next_wake is None


async def test_a_loop_runs_once_a_period() -> None:
    clock = ManualClock()
    times: list[float] = []

    async def loop() -> None:
        while True:
            await clock.sleep(5)
            times.append(clock.now())

    start = clock.now()
    task = asyncio.create_task(loop())
    await clock.advance(60)
    assert times == [start + 5 * n for n in range(1, 13)]
    task.cancel()
    await clock.settle()
    assert clock.sleepers == 0


async def test_the_wall_can_be_put_back_without_waking_anybody() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(10))
    await clock.sleeping()
    clock.set_wall(0.0)
    await clock.advance(9)
    assert not task.done()
    assert clock.now() == 9
    clock.tick(1)
    await task
