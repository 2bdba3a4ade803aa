"""Finds out that a database can be written again, also while nobody has anything to write."""

from __future__ import annotations

from contextlib import suppress

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.storage.transaction import Run, Store, Tx

PROBE_SECONDS = 5.0


def probe(now: float) -> Tx[None]:
    """A write that changes something: taking the lock alone works on a full disk, too."""
    yield Run("meta.put", {"key": "probed_at", "value": str(now)})


def touch() -> Tx[None]:
    """A transaction that takes the write lock and changes nothing."""
    yield Run("meta.now", {})


async def keep_probing(store: Store, clock: Clock) -> None:
    """While the store is in trouble, try a write now and then; until cancelled."""
    while True:
        await clock.sleep(PROBE_SECONDS)
        if store.trouble is not None:
            with suppress(Unavailable):
                await store.write(probe, clock.now())
