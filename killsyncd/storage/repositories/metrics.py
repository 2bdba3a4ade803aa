"""What only the metrics ask of the database: counts and ages, from one snapshot."""

from __future__ import annotations

from collections import Counter

from killsyncd.core.background import HISTORY, PRICES, STATIC_DATA, VALUES
from killsyncd.core.model import SourceKind
from killsyncd.service.measures import Measures
from killsyncd.storage.repositories.background import all_tasks
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.static_data import StaticDataRepository, build_number
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Run, Store, Tx, needed_datetime, one

LAST_BACKUP = "last_backup_at"
"""Key in `meta`: when a backup was last finished and checked, in seconds since 1970."""


DAY = 86_400.0

COUNT_EVERY = 600.0
"""Seconds between two counts of what the static data do not know."""


class MetricsRepository(Repository):
    """See `service.ports.MeasuredRows`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._counted = 0.0, 0, (0, 0)

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
        of_corporations = [float(row["since"]) for row in (yield Run("measuring.corporations_since", {}))]
        tokens = {str(row["state"]): int(row["n"]) for row in (yield Run("measuring.access_tokens", {}))}
        feed = one((yield Run("operations.feed", {})))
        backup = one((yield Run("meta.get", {"key": LAST_BACKUP})))
        size = one((yield Run("measuring.size", {})))
        tasks = {each.name: each for each in (yield from all_tasks())}
        lists = yield from SourceRepository(self._store).all.tx(SourceKind.CORPORATION)
        build = yield from build_number()
        day = yield Run("measuring.last_day", {"since": int(float(moment["now"]) - DAY)})
        types, systems = yield from self._unknown(build, float(moment["now"]))
        return Measures(
            last_day={str(row["side"]): (int(row["n"]), float(row["isk"]) / 100) for row in day},
            corporations=Counter(each.state.value for each in lists),
            now=float(moment["now"]),
            jobs=jobs,
            oldest_job_at=oldest,
            readable_since=readable,
            corporations_readable_since=of_corporations,
            access_tokens=tokens,
            feed_position=int(feed["position"]) if feed is not None else 0,
            last_backup_at=float(backup["value"]) if backup is not None else None,
            size_bytes=int(size["bytes"]) if size is not None else None,
            valued_position=tasks[VALUES].position if VALUES in tasks else 0,
            static_build=build,
            static_unknown={"types": types, "systems": systems} if build else {},
            task_ages={
                name: max(0.0, float(moment["now"]) - task.succeeded_at)
                for name in (STATIC_DATA, PRICES, HISTORY)
                if (task := tasks.get(name)) is not None and task.succeeded_at is not None
            },
        )

    def _unknown(self, build: int, now: float) -> Tx[tuple[int, int]]:
        """Types and systems that the static data do not know; counted anew every few minutes, for that reads
        every name.
        """
        counted_at, of, found = self._counted
        if of != build or not counted_at <= now < counted_at + COUNT_EVERY:
            found = yield from StaticDataRepository(self._store).unknown.tx()
            self._counted = now, build, found
        return found

    @writes
    def backed_up(self, at: float) -> Tx[None]:
        """A backup was finished at that time, seconds since 1970."""
        yield Run("meta.put", {"key": LAST_BACKUP, "value": repr(at)})
