"""Turns at the event loop: queries work in slices, and everything else of the daemon gets in between.

Executing a query is Python from end to end. Wherever it may have worked for long - at each item of a list,
and whenever something it waited for has come - it asks whether the slice of this round of the loop is used
up, and then waits for a later round. Those who wait are served query by query in a circle, so that a small
query passes a large one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from time import perf_counter

SLICE_SECONDS = 0.008
"""How long all queries together may work in one round of the loop."""

_AT_ONCE = 2  # of those who wait, how many are woken for a round; each makes ready, or works on one row


class Turns:
    """Who may work now. One for all queries of a daemon."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self._counting = False
        self._until = 0.0

    def over(self) -> bool:
        """Whether the slice of this round is used up."""
        if self._counting:
            return perf_counter() >= self._until
        self._count(asyncio.get_running_loop())
        return False

    async def take(self, who: Hashable) -> None:
        """Wait for a round in which there is time. who: the query; its own are served in their order."""
        if self.over():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(who, deque()).append(future)
            await future

    def release(self, who: Hashable) -> None:
        """Nobody of this query waits any more: it is over."""
        for future in self._waiting.pop(who, ()):
            if not future.done():
                future.set_result(None)

    def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not loop.time(): uvloop's stands still within a round.
        self._counting = True
        self._until = perf_counter() + SLICE_SECONDS
        loop.call_soon(self._next)

    def _next(self) -> None:
        """A new round of the loop has begun."""
        self._counting = False
        woken = 0
        while self._waiting and woken < _AT_ONCE:
            who, futures = self._waiting.popitem(last=False)
            future = futures.popleft()
            if futures:
                self._waiting[who] = futures
            if not future.done():
                future.set_result(None)
                woken += 1
        if woken:
            self._count(asyncio.get_running_loop())
