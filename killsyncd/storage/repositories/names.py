"""Ids of EVE and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.esi.responses import ResolvedName
from killsyncd.storage.transaction import Many, Run, Store, Tx, one


def _unresolved(limit: int) -> Tx[list[int]]:
    return [int(row[0]) for row in (yield Run("names.unresolved", {"limit": limit}))]


def _next_due() -> Tx[float | None]:
    row = one((yield Run("names.next_due", {})))
    return None if row is None or row["due"] is None else float(row["due"])


def _resolved(names: Sequence[ResolvedName], unknown: Sequence[int], wait: float) -> Tx[None]:
    if names:
        yield Many(
            "names.resolved",
            [{"id": each.id, "name": each.name, "category": each.category} for each in names],
        )
    if unknown:
        yield Many("names.unknown", [{"id": each, "wait": wait} for each in unknown])


class NameRepository:
    """The names table as the task sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def unresolved(self, limit: int) -> list[int]:
        """Ids that wait for a name and may be asked for now."""
        return await self._store.read(_unresolved, limit)

    async def next_due(self) -> float | None:
        """When the next id may be asked for, in seconds since 1970; None when all have names."""
        return await self._store.read(_next_due)

    async def resolved(self, names: Sequence[ResolvedName], unknown: Sequence[int], wait: float) -> None:
        """Write names down, and ids that ESI does not know: asked for again after `wait` seconds."""
        await self._store.write(_resolved, names, unknown, wait)
