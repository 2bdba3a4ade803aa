"""Sessions of the dashboard that were ended before their time.

A session is a signed cookie, so that only those that must not be believed any more are kept, and only for as
long as they would have held. Only who has the token can begin one: they are few.
"""

from __future__ import annotations

import json

from killsyncd.core.clock import Clock
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Run, Store, Tx, one

KEY = "ended_sessions"

_MOST = 1_000


class SessionRepository(Repository):
    """What the API must remember of sessions. Every method raises Unavailable when the store is."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store)
        self._clock = clock

    @reads
    def load(self) -> Tx[dict[str, float]]:
        """The ended sessions, and until when each would have held, in seconds since 1970."""
        row = one((yield Run("meta.get", {"key": KEY})))
        known = json.loads(row["value"]) if row is not None else {}
        return {str(session): float(until) for session, until in known.items()}

    @writes
    def end(self, session: str, until: float) -> Tx[None]:
        """Remember that a session has ended."""
        known = yield from self.load.tx()
        kept = {each: end for each, end in known.items() if end > self._clock.now()}
        kept[session] = until
        last = dict(sorted(kept.items(), key=lambda each: each[1])[-_MOST:])
        yield Run("meta.put", {"key": KEY, "value": json.dumps(last)})
