"""Waits that a wall clock wrote, set anew when that clock turns out to have been wrong."""

from __future__ import annotations

from killsyncd.storage.repository import Repository, writes
from killsyncd.storage.transaction import Run, Tx

WAITS = ("wants", "refs", "names", "grants", "tokens", "revocations")


class Waits(Repository):
    """See `sync.clock_watch`, which is its only caller."""

    @writes
    def sooner(self, seconds: float) -> Tx[None]:
        """The clock was put back by so much: what waits by it waits no longer than it was meant to."""
        for each in WAITS:
            yield Run(f"waits.{each}_sooner", {"seconds": seconds})

    @writes
    def shifted(self, seconds: float) -> Tx[None]:
        """The clock was set by so much: what webhooks may send, and when, stays where it was meant to be.

        Not on a shared database, whose times are its server's own.
        """
        if not self._store.exclusive:
            return
        for each in ("webhooks_shifted", "webhook_requests_lifted"):
            yield Run(f"waits.{each}", {"seconds": seconds})
        yield Run("waits.webhook_requests_shifted", {})

    @writes
    def anew(self, longest: float) -> Tx[None]:
        """Look at every list again that waits without having failed, or for longer than `longest` seconds."""
        yield Run("waits.wants_anew", {"longest": longest})
