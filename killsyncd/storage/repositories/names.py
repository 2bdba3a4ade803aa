"""Ids of EVE and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.esi.responses import ResolvedName
from killsyncd.storage.name_index import words
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Many, Run, Tx, one
from killsyncd.sync.ports import NameWaits


class NameRepository(Repository):
    """The names table as the name resolver sees it."""

    @reads
    def unresolved(self, limit: int) -> Tx[list[int]]:
        """Ids that wait for a name and may be asked for now: new ones, or such that were refused before."""
        rows = yield Run("names.unresolved", {"limit": limit})
        new = [int(row["id"]) for row in rows if not row["attempts"]]
        return new or [int(row["id"]) for row in rows]

    @reads
    def next_due(self) -> Tx[float | None]:
        """When the next id may be asked for, in seconds since 1970; None when all have names."""
        row = one((yield Run("names.next_due", {})))
        return None if row is None or row["due"] is None else float(row["due"])

    @writes
    def resolved(self, names: Sequence[ResolvedName], unknown: Sequence[int], waits: NameWaits) -> Tx[None]:
        """Write names down, and ids that ESI does not know.

        waits: seconds until such an id is asked for again, the first time, the second, and so on.
        """
        if names:
            yield Many(
                "names.resolved",
                [{"id": each.id, "name": each.name, "category": each.category} for each in names],
            )
            yield words([(each.id, each.name) for each in names])
        if unknown:
            told = {f"wait{number}": wait for number, wait in enumerate(waits, start=1)}
            yield Many("names.unknown", [{"id": each, **told} for each in unknown])

    @writes
    def retry(self) -> Tx[int]:
        """Ask for every missing name again at once; answers how many there are."""
        return len((yield Run("names.retry", {})))
