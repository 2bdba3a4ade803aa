"""Transactions as generators, and what a driver of a database has to offer.

A hop into SQLite's thread costs 40 to 260 microseconds, so a transaction must
take one; on PostgreSQL every statement is awaited. Writing a transaction as a
generator that yields its statements lets one text serve both:

    def rename(user_id: str, name: str) -> Tx[int]:
        rows = yield Run("users.rename", {"user_id": user_id, "name": name})
        return len(rows)

    await store.write(rename, "u1", "John Doe")

A driver commits when the generator returns and rolls back on anything raised,
cancellation included. A transaction may be run again from its start (PostgreSQL
asks for that after a serialization failure or a deadlock), so it keeps no state
outside its own frame.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol, TypeVar

from killsyncd.core.errors import RowRefused

__all__ = [
    "Bulk",
    "Ids",
    "Many",
    "Row",
    "RowRefused",
    "Rows",
    "Run",
    "Sql",
    "Step",
    "Store",
    "Tx",
    "as_datetime",
    "needed_datetime",
    "one",
    "savepoint",
]

P = ParamSpec("P")
T = TypeVar("T")


class Row(Protocol):
    """One row of an answer: `sqlite3.Row` or `asyncpg.Record`."""

    def __getitem__(self, key: str | int) -> Any: ...
    def __len__(self) -> int: ...


Rows = Sequence[Row]


class Ids(tuple[int, ...]):
    """Many ids as one parameter, for `{in_ids}`: SQLite's driver binds JSON text, PostgreSQL's an array."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One named statement (`file.name`, see `sql/`) with its parameters."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Many:
    """One named statement, once for each set of parameters; answers nothing."""

    name: str
    params: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Bulk:
    """Insert rows into a table; rows whose key exists are left alone; answers nothing.

    rows: read once; may be a generator, and building rows while they are written is the faster way.
    """

    table: str
    columns: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement composed at run time, for filters. `:name` parameters as in the files.

    The text is made of this package's own fragments; values travel as parameters only.
    """

    text: str
    params: Mapping[str, Any]


Step = Run | Many | Bulk | Sql
Tx = Generator[Step, Rows, T]


@dataclass(slots=True)
class TransactionCounts:
    """Transactions that were begun; one that was run again counts once."""

    reads: int = 0
    writes: int = 0

    def by_kind(self) -> dict[str, int]:
        """As metrics show them."""
        return {"read": self.reads, "write": self.writes}


class Store(Protocol):
    """A database that transactions run on."""

    dialect: str
    """`sqlite` or `postgres`."""

    exclusive: bool
    """Nobody else can be using this database: claims need not be written down."""

    stuck: bool
    """Writes wait for somebody's lock and get nowhere: no progress, as the watchdog means it."""

    counts: TransactionCounts
    """Transactions since the start."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written just now, as the last write found."""

    async def write(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction that may write. Raises RowRefused, Unavailable."""

    async def read(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction that only reads, on one snapshot. Raises Unavailable."""

    def listen(self, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Call back with a channel's name (`feed`, `wants`, ...) when another daemon has committed."""

    async def notify(self, channel: str) -> None:
        """Tell the other daemons that something changed which this channel stands for."""

    def hurry(self) -> None:
        """The daemon is stopping: from now on no transaction waits for a database that does not answer."""

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""


def one(rows: Rows) -> Row | None:
    """The first row, or None."""
    return rows[0] if rows else None


def savepoint(inner: Tx[T], name: str = "part") -> Tx[T]:
    """Run a part of a transaction; what it raises undoes the part alone and is raised again."""
    yield Sql(f"SAVEPOINT {name}", {})
    try:
        result = yield from inner
    except RowRefused:
        yield Sql(f"ROLLBACK TO SAVEPOINT {name}", {})
        yield Sql(f"RELEASE SAVEPOINT {name}", {})
        raise
    yield Sql(f"RELEASE SAVEPOINT {name}", {})
    return result


def as_datetime(value: Any) -> datetime | None:
    """A time column as an aware datetime: text on SQLite, timestamptz on PostgreSQL."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)


def needed_datetime(value: Any) -> datetime:
    """As `as_datetime`, for a column that is never null."""
    result = as_datetime(value)
    if result is None:
        raise RowRefused("a time that must be there is null in the database", "killsyncd check")
    return result
