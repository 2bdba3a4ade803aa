"""How late the event loop is: a task that sleeps, and looks by how much it overslept."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from killsyncd.core.clock import Clock

EVERY = 1.0
"""Seconds between two looks."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """A histogram of the loop's lag, in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(EVERY)
            self.saw(self._clock.monotonic() - before - EVERY)

    def saw(self, seconds: float) -> None:
        """Count one lag; a timer that rang a little early is none."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many were at most that), as Prometheus wants a histogram."""
        bounds = [*(f"{each:g}" for each in BOUNDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
