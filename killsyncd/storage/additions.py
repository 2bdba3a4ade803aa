"""What operators have added to a SQLite database, so that a migration does not stumble over it.

SQLite reads every view and trigger again whenever a column is dropped or renamed, and refuses where one of
them does not fit, if only until the next statement. So they are taken away before a migration and made again
after it, word for word, in the same transaction. PostgreSQL has nothing of the kind, and keeps rights on its
views that would be lost: migrations drop nothing there that could be somebody's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.storage.transaction import Sql, Tx

_DROPS_COLUMN = re.compile(r"\s*ALTER TABLE (\w+) DROP COLUMN", re.I)
_MADE_AGAIN = ("view", "index", "trigger")  # in this order: triggers may stand on views


@dataclass(frozen=True, slots=True)
class Addition:
    """A view, index or trigger. text: the statement that made it."""

    kind: str
    name: str
    table: str
    text: str

    @property
    def drop(self) -> str:
        """The statement that takes it away."""
        quoted = self.name.replace('"', '""')
        return f'DROP {self.kind.upper()} IF EXISTS "{quoted}"'


def additions(dialect: str, ours: frozenset[str]) -> Tx[list[Addition]]:
    """Views, indexes and triggers that are not in `ours`; none on PostgreSQL."""
    if dialect != "sqlite":
        return []
    rows = yield Sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
        " WHERE type IN ('view', 'index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
        {},
    )
    found = [Addition(*(str(row[at]) for at in range(4))) for row in rows]
    return [each for each in found if each.name not in ours]


def around(statements: Sequence[str], found: Sequence[Addition]) -> list[str]:
    """The statements of a migration, between those that take these away and make them again."""
    narrowed = {match[1] for each in statements if (match := _DROPS_COLUMN.match(each))}
    # An index costs as long to make as its table is large: only those that would be in the way.
    aside = [each for each in found if each.kind != "index" or each.table in narrowed]
    again = sorted(aside, key=lambda each: _MADE_AGAIN.index(each.kind))
    return [*(each.drop for each in aside), *statements, *(each.text for each in again)]
