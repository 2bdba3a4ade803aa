"""Ids of EVE and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.esi.responses import ResolvedName
from killsyncd.storage.transaction import Many, Run, Store, Tx, one
from killsyncd.sync.ports import NameWaits


def _unresolved(limit: int) -> Tx[list[int]]:
    rows = yield Run("names.unresolved", {"limit": limit})
    new = [int(row["id"]) for row in rows if not row["attempts"]]
    return new or [int(row["id"]) for row in rows]


def _next_due() -> Tx[float | None]:
    row = one((yield Run("names.next_due", {})))
    return None if row is None or row["due"] is None else float(row["due"])


def _resolved(names: Sequence[ResolvedName], unknown: Sequence[int], waits: NameWaits) -> Tx[None]:
    if names:
        yield Many(
            "names.resolved",
            [{"id": each.id, "name": each.name, "category": each.category} for each in names],
        )
    if unknown:
        told = {f"wait{number}": wait for number, wait in enumerate(waits, start=1)}
        yield Many("names.unknown", [{"id": each, **told} for each in unknown])


def _retry() -> Tx[int]:
    return len((yield Run("names.retry", {})))


class NameRepository:
    """The names table as the task sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def unresolved(self, limit: int) -> list[int]:
        """Ids that wait for a name and may be asked for now: new ones, or such that were refused before."""
        return await self._store.read(_unresolved, limit)

    async def next_due(self) -> float | None:
        """When the next id may be asked for, in seconds since 1970; None when all have names."""
        return await self._store.read(_next_due)

    async def resolved(self, names: Sequence[ResolvedName], unknown: Sequence[int], waits: NameWaits) -> None:
        """Write names down, and ids that ESI does not know.

        waits: seconds until such an id is asked for again, the first time, the second, and so on.
        """
        await self._store.write(_resolved, names, unknown, waits)

    async def retry(self) -> int:
        """Ask for every missing name again at once; answers how many there are."""
        return await self._store.write(_retry)
