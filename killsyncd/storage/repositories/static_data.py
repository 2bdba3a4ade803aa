"""CCP's static data in the database: compared table by table, changed in one transaction."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from killsyncd.pricing.facts import KnownType, StaticFacts
from killsyncd.pricing.valuation import CATEGORY_SKIN, GROUP_CAPSULE, META_GROUP_ABYSSAL
from killsyncd.static_data import records
from killsyncd.static_data.ports import TableChange
from killsyncd.static_data.records import Build, Table
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Bulk, Ids, Run, Sql, Tx, one


def build_number() -> Tx[int]:
    """The build in the tables; 0 where they are empty. A part for other transactions."""
    row = one((yield Run("static_data.build", {})))
    return 0 if row is None else int(row["build"])


class StaticDataRepository(Repository):
    """Implements `StaticDataRows`."""

    @reads
    def build(self) -> Tx[int]:
        """The build in the tables; 0 where they are empty."""
        return (yield from build_number())

    @reads
    def rows(self, table: Table, after: int, limit: int) -> Tx[list[records.Row]]:
        """Rows of a table with ids above `after`, in order of ids."""
        key, columns = table.columns[0], ", ".join(table.columns)
        found = yield Sql(
            f"SELECT {columns} FROM {table.table} WHERE {key} > :after ORDER BY {key} LIMIT :limit",
            {"after": after, "limit": limit},
        )
        return [tuple(row) for row in found]  # type: ignore[arg-type]  # rows are sequences in both drivers

    @reads
    def unknown(self) -> Tx[tuple[int, int]]:
        """How many types and systems stored killmails name that the export does not know."""
        row = one((yield Run("static_data.unknown", {})))
        return (0, 0) if row is None else (int(row["types"]), int(row["systems"]))

    @reads
    def type_facts(self) -> Tx[StaticFacts]:
        """What valuing killmails needs to know of types."""
        build = yield from build_number()
        rows = yield Run(
            "static_data.special_types",
            {"skin": CATEGORY_SKIN, "capsule": GROUP_CAPSULE, "abyssal": META_GROUP_ABYSSAL},
        )
        special = {
            int(row["type_id"]): KnownType(row["group_id"], row["category_id"], row["meta_group_id"])
            for row in rows
        }
        known = array("q", (int(row[0]) for row in (yield Run("static_data.type_ids", {}))))
        return StaticFacts(build, known, special)

    @writes
    def swap(self, build: Build, before: int, changes: Sequence[TableChange]) -> Tx[bool]:
        """Change all tables in one transaction. False: `before` is not the build in them any more."""
        if (yield from build_number()) != before:
            return False
        changed = sum(len(each.put) + len(each.gone) for each in changes)
        values = {"build": build.number, "released": build.released, "changed": changed}
        if not (yield Run("static_data.took_over", values)):
            return False  # another daemon has just done the same
        for change in changes:
            table = change.table
            for ids in _portions([*change.gone, *(int(row[0]) for row in change.put)] if before else []):
                yield Sql(f"DELETE FROM {table.table} WHERE {table.columns[0]} {{in_ids}}", {"ids": ids})
            yield Bulk(table.table, table.columns, change.put)
        return True


def _portions(ids: Sequence[int], size: int = 5000) -> Iterator[Ids]:
    for start in range(0, len(ids), size):
        yield Ids(ids[start : start + size])
