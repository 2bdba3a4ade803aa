"""What only the metrics ask of the database: counts and ages, from one snapshot."""

from __future__ import annotations

from killsyncd.service.measures import Measures
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Run, Tx, needed_datetime, one

LAST_BACKUP = "last_backup_at"
"""Key in `meta`: when a backup was last finished and checked, in seconds since 1970."""


class MetricsRepository(Repository):
    """See `service.ports.MeasuredRows`."""

    @reads
    def measure(self) -> Tx[Measures]:
        """Counts and ages, from one snapshot."""
        moment = one((yield Run("meta.now", {})))
        assert moment is not None, "a SELECT without a table answers one row"
        jobs: dict[tuple[str, int], int] = {}
        oldest: float | None = None
        for row in (yield Run("measuring.jobs", {})):
            jobs[str(row["state"]), int(row["priority"])] = int(row["n"])
            if row["state"] == "waiting":
                since = float(row["since"])
                oldest = since if oldest is None else min(oldest, since)
        readable = [
            # A list that was never read: since the pilot's first login.
            float(row["expires_at"]) if row["expires_at"] else needed_datetime(row["created_at"]).timestamp()
            for row in (yield Run("measuring.readable_since", {}))
        ]
        tokens = {str(row["state"]): int(row["n"]) for row in (yield Run("measuring.access_tokens", {}))}
        feed = one((yield Run("operations.feed", {})))
        backup = one((yield Run("meta.get", {"key": LAST_BACKUP})))
        size = one((yield Run("measuring.size", {})))
        return Measures(
            now=float(moment["now"]),
            jobs=jobs,
            oldest_job_at=oldest,
            readable_since=readable,
            access_tokens=tokens,
            feed_position=int(feed["position"]) if feed is not None else 0,
            last_backup_at=float(backup["value"]) if backup is not None else None,
            size_bytes=int(size["bytes"]) if size is not None else None,
        )

    @writes
    def backed_up(self, at: float) -> Tx[None]:
        """A backup was finished at that time, seconds since 1970."""
        yield Run("meta.put", {"key": LAST_BACKUP, "value": repr(at)})
