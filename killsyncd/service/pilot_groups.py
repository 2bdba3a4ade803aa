"""Pilots that are one player's: the operator says so, and the ranking shows them as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from killsyncd.core.errors import UsageError
from killsyncd.service.operations import Operations
from killsyncd.service.results import PilotGroup

MAX_NAME = 60


class PilotGroupRows(Protocol):
    """The database, as far as groups go."""

    async def all(self) -> list[PilotGroup]: ...
    async def put(self, name: str, characters: Sequence[int]) -> None: ...


class PilotGroups:
    """The use cases. Raises, from any method: NotFound, UsageError, Unavailable."""

    def __init__(self, rows: PilotGroupRows, operations: Operations) -> None:
        self._rows = rows
        self._operations = operations

    async def all(self) -> list[PilotGroup]:
        """Every group, by name."""
        return await self._rows.all()

    async def put(self, name: str, selectors: Sequence[str]) -> list[PilotGroup]:
        """Make a group of these users (name, character id or our id), who leave the groups that they were in.

        Nobody: the group ends. Answers all groups.
        """
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise UsageError(
                "that is no name of a group", f"1 to {MAX_NAME} characters, such as 'Aldo and alts'"
            )
        users = [await self._operations.user(each) for each in selectors]
        await self._rows.put(name, [each.character_id for each in users])
        return await self._rows.all()
