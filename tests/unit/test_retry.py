"""A call repeated until it succeeds (`core/retry.py`)."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.core.retry import retry
from tests.support.clocks import ManualClock


class Flaky:
    """Fails so often, then answers how often it was called."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def call(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self.calls


async def test_waits_by_the_given_clock_and_tells_each_failure_that_has_a_next_attempt() -> None:
    clock, flaky = ManualClock(), Flaky(2, Unavailable("away"))
    told: list[tuple[str, float]] = []
    task = asyncio.ensure_future(
        retry(
            lambda: flaky.call(),
            on=Unavailable,
            wait=lambda attempt: 10.0 * attempt,
            sleep=clock.sleep,
            before_wait=lambda error, seconds: told.append((error.message, seconds)),
        )
    )
    await clock.sleeping()
    assert (clock.next_wake, flaky.calls) == (10.0, 1)
    await clock.advance(10.0)
    await clock.sleeping()
    assert (clock.next_wake, flaky.calls) == (20.0, 2)
    await clock.advance(20.0)
    assert await task == 3
    assert told == [("away", 10.0), ("away", 20.0)]


async def test_gives_up_with_the_last_failure_itself() -> None:
    error = Unavailable("away")
    flaky = Flaky(9, error)
    clock = ManualClock()
    with pytest.raises(Unavailable) as raised:
        await retry(flaky.call, on=Unavailable, wait=0.0, sleep=clock.sleep, stop=lambda failed: failed == 3)
    assert raised.value is error
    assert flaky.calls == 3


async def test_another_error_is_raised_at_once() -> None:
    flaky = Flaky(1, BadInput("no"))
    with pytest.raises(BadInput):
        await retry(flaky.call, on=Unavailable, wait=1.0, sleep=ManualClock().sleep)
    assert flaky.calls == 1


async def test_can_be_cancelled_in_the_call_and_in_the_wait() -> None:
    clock, flaky = ManualClock(), Flaky(9, Unavailable("away"))
    waiting = asyncio.ensure_future(retry(flaky.call, on=Unavailable, wait=1.0, sleep=clock.sleep))
    await clock.sleeping()
    calling = asyncio.ensure_future(retry(asyncio.Event().wait, on=Unavailable, wait=1.0, sleep=clock.sleep))
    await asyncio.sleep(0)
    for task in (waiting, calling):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert flaky.calls == 1
