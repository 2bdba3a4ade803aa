"""The producer's own row: one run at a time, whichever daemon does it, also across restarts."""

from __future__ import annotations

from killsyncd.core.model import ProducerState
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Run, Store, Tx, one

LONGEST_WAIT = 7200.0
"""Nothing is put off for longer than this, in seconds. What is was put off while the clock stood wrong."""


class ProducerRuns(Repository):
    """When the producer ran, and whose turn it is. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder

    @writes
    def begin(self, longest: float) -> Tx[bool]:
        """Take the run that is due. False: it is not due, or another daemon is at it.

        longest: seconds. A next run further away counts as due: it was written while the clock stood wrong.
        """
        if not (yield Run("producer.begin", {"holder": self._holder, "longest": longest})):
            return False
        for table in ("wants", "refs"):
            yield Run(f"producer.heal_{table}", {"longest": LONGEST_WAIT})
        return True

    @writes
    def finish(self, queued: int, wait: float) -> Tx[None]:
        """The run is over; the next may begin in `wait` seconds."""
        yield Run("producer.finish", {"holder": self._holder, "queued": queued, "wait": wait})

    @reads
    def state(self) -> Tx[ProducerState]:
        """How things stand, by the database's time. holder: another daemon that is at it."""
        row = one((yield Run("producer.state", {})))
        assert row is not None, "migration 1 makes the producer's row"
        return ProducerState(
            row["last_run_at"],
            row["last_finished_at"],
            int(row["last_queued"]),
            float(row["next_run_at"]),
            # A run of our own that ended without a word (the database went away) holds nobody up.
            None if row["holder"] == self._holder else row["holder"],
            float(row["now"]),
        )
