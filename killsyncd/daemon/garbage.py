"""When the collector looks through everything, and what goes back to the system.

Looking through everything holds the loop, the longer the more there is.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from functools import cache

from killsyncd.core.clock import Clock

COLLECT_AFTER = 5_000
"""Objects made and not freed before the collector looks for cycles. A batch of mails holds thousands of
rows and not one cycle; at Python's own 700 looking through them costs 4% of a sync."""

_YOUNG = 2  # such times, and it looks at those that it kept, too: at ten times it held the loop 58 ms
_NEVER = 1_000_000  # times that it has looked through some, before it looks through all by itself

EVERY = 30.0
"""Seconds between two looks at everything, while no query is under way."""

LATEST = 300.0
"""Seconds after which it looks although there always is one."""


_ARENAS = 2
"""Heaps that the C library divides its threads among. Unasked it has eight a core, each of which keeps what
it was once given: where clients ask for much, 50 MB that nobody uses."""

_MAPPED = 256 * 1024
"""Bytes from which on a block is the system's own again as soon as it is freed: large answers."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of mallopt(3)


@cache
def _library() -> ctypes.CDLL | None:
    """The C library, where it is one that can be told: glibc."""
    try:
        found = ctypes.CDLL(None)
        found.mallopt, found.malloc_trim  # noqa: B018 - whether it has them
    except (OSError, AttributeError, TypeError):
        return None
    return found


def keep_little() -> None:
    """Have the C library keep less of what was freed; before there are threads."""
    library = _library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED)


def _give_back() -> None:
    library = _library()
    if library is not None:
        library.malloc_trim(0)


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
            await asyncio.to_thread(_give_back)
            last = clock.monotonic()
