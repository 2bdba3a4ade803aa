"""What the static data's task needs of the database; `storage/repositories/static_data.py` fills it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from killsyncd.static_data.records import Build, Row, Table


@dataclass(slots=True)
class TableChange:
    """What a new build changes in a table. put: rows that are new or differ; gone: ids that are no more."""

    table: Table
    put: list[Row] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


class StaticDataRows(Protocol):
    """The six tables and the builds that were taken over."""

    async def build(self) -> int:
        """The build in the tables; 0 where they are empty."""

    async def rows(self, table: Table, after: int, limit: int) -> list[Row]:
        """Rows of a table with ids above `after`, in order of ids."""

    async def swap(self, build: Build, before: int, changes: Sequence[TableChange]) -> bool:
        """Change all tables in one transaction. False: `before` is not the build in them any more."""
