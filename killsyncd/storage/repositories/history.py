"""Days of public archives that were read, and refs that somebody brings (`service.ports.HistoryRows`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from killsyncd.service.history import DayRead
from killsyncd.storage.repositories.import_export import FILES
from killsyncd.storage.repositories.sightings import sight
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Run, Tx
from killsyncd.sync.walk import Sighted


class HistoryRepository(Repository):
    """What `killsyncd import` needs beside the mails themselves."""

    @reads
    def days(self, archive: str, scope: str) -> Tx[Mapping[int, int]]:
        """Days (YYYYMMDD) that were read for this scope, and how many mails they had then."""
        rows = yield Run("history.days", {"archive": archive, "scope": scope})
        return {int(row["day"]): int(row["mails"]) for row in rows}

    @reads
    def days_refused(self, archive: str, scope: str) -> Tx[Sequence[int]]:
        """Days of which something was refused when they were read."""
        rows = yield Run("history.days_refused", {"archive": archive, "scope": scope})
        return [int(row["day"]) for row in rows]

    @writes
    def day_read(self, day: DayRead) -> Tx[None]:
        """A day was read to its end."""
        values = {"archive": day.archive, "scope": day.scope, "day": day.day, "mails": day.mails}
        counts = {"kept": day.kept, "stored": day.stored, "refused": day.refused}
        yield Run("history.day_read", {**values, **counts})

    @reads
    def ours(self) -> Tx[tuple[Sequence[int], Sequence[int]]]:
        """Our pilots, and the corporations whose lists are read."""
        pilots = yield Run("history.our_pilots", {})
        corporations = yield Run("history.our_corporations", {})
        return [int(row[0]) for row in pilots], [int(row[0]) for row in corporations]

    @writes
    def want(self, pairs: Sequence[tuple[int, str]], at: float) -> Tx[Sighted]:
        """Ids and hashes that somebody brings: what is not stored is wanted from ESI."""
        files = yield from source_id(FILES, None)
        return (yield from sight(files, pairs, at))
