"""A clock that stands still until a test moves it. Implements `killsyncd.core.clock.Clock`."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

START = 1_795_000_000.0  # 2026-11-18, a moment like any other


class ManualClock:
    """Time that only `advance`, `tick` and `set_wall` move.

    Sleepers wake in the order of their deadlines (of equal ones, in the order in which
    they lay down), and each sees exactly the time that it asked for.

    Where real sockets or database threads are involved, no number of turns of the event
    loop is enough for them to get on: wait for a signal of theirs, or for `sleeping(n)`.
    """

    def __init__(self, start: float = START) -> None:
        self._wall = start
        self._monotonic = 1000.0
        self._order = count()
        self._heap: list[tuple[float, int, asyncio.Future[None]]] = []
        self._changed: asyncio.Event | None = None

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._lie_down(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], object]:
        woken = self._lie_down(max(0.0, seconds))
        woken.add_done_callback(lambda _: None if woken.cancelled() else callback())
        return woken.cancel

    def _lie_down(self, seconds: float) -> asyncio.Future[None]:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (self._monotonic + seconds, next(self._order), woken))
        if self._changed is not None:
            self._changed.set()
        return woken

    @property
    def sleepers(self) -> int:
        """How many wait at this moment."""
        return sum(not woken.done() for _, _, woken in self._heap)

    @property
    def next_wake(self) -> float | None:
        """Seconds until the first sleeper's time, None where nobody sleeps."""
        deadlines = [deadline for deadline, _, woken in self._heap if not woken.done()]
        return min(deadlines) - self._monotonic if deadlines else None

    async def sleeping(self, at_least: int = 1) -> None:
        """Return once that many sleep: the signal that a task has nothing left to do."""
        while self.sleepers < at_least:
            self._changed = asyncio.Event()
            await self._changed.wait()
        self._changed = None

    def tick(self, seconds: float) -> None:
        """Move time without letting anybody run; sleepers whose time has come run when you next await."""
        self._move(seconds)
        while self._heap and self._heap[0][0] <= self._monotonic:
            self._wake_first()

    async def advance(self, seconds: float) -> None:
        """Move time from one sleeper to the next, letting each run before going on.

        A loop that sleeps five seconds at a time runs twelve times in `advance(60)`.
        """
        end = self._monotonic + seconds
        await self.settle()
        while self._heap and self._heap[0][0] <= end:
            self._move(max(0.0, self._heap[0][0] - self._monotonic))
            self._wake_first()
            await self.settle()
        self._move(end - self._monotonic)
        await self.settle()

    def set_wall(self, seconds: float) -> None:
        """Put the wall clock to another time, as NTP or a hand does; monotonic time goes on undisturbed."""
        self._wall = seconds

    async def settle(self, turns: int = 20) -> None:
        """Let what is ready to run do so (pure coroutines; not sockets, not threads)."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def _move(self, seconds: float) -> None:
        self._wall += seconds
        self._monotonic += seconds

    def _wake_first(self) -> None:
        _, _, woken = heapq.heappop(self._heap)
        if not woken.done():
            woken.set_result(None)
