"""When the collector looks through everything: that holds the loop, the longer the more there is."""

from __future__ import annotations

import gc
from collections.abc import Callable

from killsyncd.core.clock import Clock

COLLECT_AFTER = 10_000
"""Objects made and not freed before the collector looks for cycles. A batch of mails holds thousands of
rows and not one cycle; at Python's own 700 looking through them costs 4% of a sync."""

_YOUNG = 2  # such times, and it looks at those that it kept, too: at ten times it held the loop 58 ms
_NEVER = 1_000_000  # times that it has looked through some, before it looks through all by itself

EVERY = 30.0
"""Seconds between two looks at everything, while no query is under way."""

LATEST = 300.0
"""Seconds after which it looks although there always is one."""


def freeze() -> None:
    """What starting made lives as long as we do: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, _YOUNG, _NEVER)


async def collect(clock: Clock, busy: Callable[[], bool]) -> None:
    """Look through everything now and then, until cancelled. busy: whether a query is under way."""
    last = clock.monotonic()
    while True:
        await clock.sleep(EVERY)
        if not busy() or clock.monotonic() - last >= LATEST:
            gc.collect()
            last = clock.monotonic()
