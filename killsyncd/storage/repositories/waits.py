"""Waits that a wall clock wrote, set anew when that clock turns out to have been wrong."""

from __future__ import annotations

from killsyncd.storage.transaction import Run, Store, Tx

WAITS = ("wants", "refs", "names", "grants", "tokens", "revocations")


def _sooner(seconds: float) -> Tx[None]:
    for each in WAITS:
        yield Run(f"waits.{each}_sooner", {"seconds": seconds})


def _anew(longest: float) -> Tx[None]:
    yield Run("waits.wants_anew", {"longest": longest})


class Waits:
    """See `sync.clock_watch`, which is its only caller."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sooner(self, seconds: float) -> None:
        """The clock was put back by so much: what waits by it waits no longer than it was meant to."""
        await self._store.write(_sooner, seconds)

    async def anew(self, longest: float) -> None:
        """Look at every list again that waits without having failed, or for longer than `longest` seconds."""
        await self._store.write(_anew, longest)
