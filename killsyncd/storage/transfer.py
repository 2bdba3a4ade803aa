"""`migrate-store`: a whole store is copied into another database and verified, and not one row more.

Tables go one after the other, each in the order of its key, in bounded batches. A batch is one
transaction, so an interrupted move goes on behind the last key that arrived. Afterwards both sides
are read whole and compared, by counts and by sums of row hashes, which do not depend on any order.
Until then the target is marked, and no daemon starts on it. The source is only read.

Compared are values, not how either database writes them: both zeros are one, and NaN is NULL, as in
SQLite. A move that was killed at any moment goes on when it is begun again, and one that had arrived by
then says so.

Left behind is what belongs to running daemons (their rows, their claims). The feed gets a new epoch:
a cursor from before the move is refused, and not taken for another place.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from killsyncd.core.errors import KillsyncdError, Refused, RowRefused, SchemaRefused
from killsyncd.storage.migrations import MOVING, Migratable, migrate, migrations, state
from killsyncd.storage.schema import Table, converters, tables
from killsyncd.storage.transaction import Bulk, Rows, Run, Sql, Store, Tx, one

LEFT_BEHIND = frozenset({"daemons", "outcomes"})
SINGLE = frozenset({"feed", "producer", "zkillboard_stream"})
"""Tables with one row, which a new database has already."""

BATCH = 5000
WIDE_BATCH = 250
"""Rows of documents, which are some 10 KiB each."""

ARRIVED = "moved_from"
"""Key of `meta` in a database that a store was moved into: which one it was."""

UNCOPIED_KEYS = ("feed_epoch", MOVING, ARRIVED)
"""Rows of `meta` that stay each database's own."""

Progress = Callable[[str, int, int], None]
"""Given a table's name, rows that are there, rows in all."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A table that arrived. checksum: of its rows, the same on both databases whatever their order."""

    table: str
    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class TransferReport:
    """A move that is complete. resumed: an earlier one was interrupted, before its end or right after."""

    tables: list[Moved]
    feed_epoch: str
    resumed: bool

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(each.rows for each in self.tables)


def moved_tables() -> list[Table]:
    """The tables that move, those first that others refer to."""
    return [each for name, each in tables().items() if name not in LEFT_BEHIND]


async def transfer(source: Migratable, target: Migratable, progress: Progress) -> TransferReport:
    """Copy everything and verify it. May be interrupted at any time and called again.

    Nobody else may write to either meanwhile. Raises SchemaRefused (source not at today's schema,
    target not ours), Refused (target not empty, or of another move), RowRefused (the target cannot
    hold a row), KillsyncdError (what arrived is not what was sent).
    """
    if await state(source) != [each.number for each in migrations()]:
        raise SchemaRefused(
            "the database to move from has an older schema than this killsyncd",
            "start this killsyncd on it once, and stop it again",
        )
    fingerprint = await source.read(_fingerprint)
    if await _has_arrived(target, fingerprint):
        return await _arrived_before(source, target)
    resumed = await _prepare(target, fingerprint)
    sent, arrived = await _copy_and_compare(source, target, progress)
    if sent != arrived and resumed:
        # The source went on working between the two attempts: what was copied then is old.
        await target.write(_clear)
        resumed = False
        sent, arrived = await _copy_and_compare(source, target, progress)
    if sent != arrived:
        differing = [here.table for here, there in zip(sent, arrived, strict=True) if here != there]
        raise KillsyncdError(
            f"what arrived is not what was sent: {', '.join(differing)}",
            "the old database is as it was; check both with killsyncd check, and move again",
        )
    epoch = secrets.token_hex(4)
    await target.write(_finish, target.dialect, epoch, fingerprint)
    return TransferReport(arrived, epoch, resumed)


async def _has_arrived(target: Migratable, fingerprint: str) -> bool:
    """Whether a move of this source came to its end here, so that nobody may have heard of it."""
    return bool(await state(target, moving=True)) and await target.read(_value_of, ARRIVED) == fingerprint


async def _arrived_before(source: Store, target: Store) -> TransferReport:
    sent = [await _sum_up(source, table) for table in moved_tables()]
    arrived = [await _sum_up(target, table) for table in moved_tables()]
    if sent != arrived:
        raise Refused(
            "this store was moved into that database before, and one of the two was used since",
            "start the daemon on the new database; to move once more, name an empty one",
        )
    return TransferReport(arrived, str(await target.read(_value_of, "feed_epoch")), resumed=True)


async def _prepare(target: Migratable, fingerprint: str) -> bool:
    """Make the target ready; answers whether a move of the same source was interrupted there."""
    known = await state(target, moving=True)
    await migrate(target, moving=True)
    marked = await target.read(_value_of, MOVING)
    if marked == fingerprint:
        return True
    if marked is not None:
        raise Refused(
            "a move from another database into this one was interrupted",
            "finish that one, or name an empty database",
        )
    if known and (filled := await target.read(_filled)):
        raise Refused(
            f"the database to move to is not empty ({', '.join(filled)})",
            "name an empty database; nothing was changed",
        )
    await target.write(_mark, fingerprint)
    return False


async def _copy_and_compare(
    source: Store, target: Store, progress: Progress
) -> tuple[list[Moved], list[Moved]]:
    """Copy what is missing; answers what there is on both sides afterwards."""
    for table in moved_tables():
        await _copy(source, target, table, await source.read(_count, table), progress)
    sent = [await _sum_up(source, table) for table in moved_tables()]
    return sent, [await _sum_up(target, table) for table in moved_tables()]


async def _copy(source: Store, target: Store, table: Table, total: int, progress: Progress) -> None:
    if table.name in SINGLE or table.name == "meta":
        rows = await source.read(_batch, table, None)
        await target.write(_replace, table, list(_converted(table, rows, target.dialect)))
        progress(table.name, total, total)
        return
    # Text has an order of its own in every database: such tables, all short, begin anew.
    ordered = not any(table.kinds[name] == "text" for name in table.key)
    last = await target.read(_last_key, table) if ordered else None
    done = await target.read(_count, table) if ordered else 0
    progress(table.name, done, total)
    while rows := await source.read(_batch, table, last):
        converted = list(_converted(table, rows, target.dialect))
        try:
            await target.write(_put, table, converted)
        except RowRefused as refusal:
            raise RowRefused(
                f"the new database refuses a row of {table.name}: {refusal.message}",
                "the old database is as it was",
            ) from refusal
        done += len(converted)
        last = _key_of(table, rows[-1])
        progress(table.name, min(done, total), total)


async def _sum_up(store: Store, table: Table) -> Moved:
    """Read a table whole. The sum of row hashes is the same in any order, and counts doubles."""
    total, rows, last = 0, 0, None
    while batch := await store.read(_batch, table, last):
        for row in _converted(table, batch, "postgres"):
            digest = hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()
            total += int.from_bytes(digest, "big")
        rows += len(batch)
        last = _key_of(table, batch[-1])
    return Moved(table.name, rows, f"{total % 2**128:032x}")


def _converted(table: Table, rows: Rows, dialect: str) -> Iterator[tuple[Any, ...]]:
    """Rows as a dialect takes them; claims of daemons have fallen."""
    change = converters(list(table.kinds.values()), dialect)
    held = list(table.kinds).index("holder") if "holder" in table.kinds else -1
    for row in rows:
        values = [row[position] for position in range(len(change))]
        if held >= 0:
            values[held] = None
        yield tuple(
            value if value is None or convert is None else convert(value)
            for value, convert in zip(values, change, strict=True)
        )


def _key_of(table: Table, row: Any) -> dict[str, Any]:
    return {f"after_{name}": row[name] for name in table.key}


def _where(table: Table) -> str:
    """What of a table moves."""
    return f"key NOT IN {UNCOPIED_KEYS!r}" if table.name == "meta" else "1 = 1"


def _batch(table: Table, after: dict[str, Any] | None) -> Tx[Rows]:
    columns, key = ", ".join(table.kinds), ", ".join(table.key)
    where = _where(table)
    if after:
        where += f" AND ({key}) > ({', '.join(f':{name}' for name in after)})"
    limit = WIDE_BATCH if "bytes" in table.kinds.values() else BATCH
    text = f"SELECT {columns} FROM {table.name} WHERE {where} ORDER BY {key} LIMIT {limit}"
    return (yield Sql(text, after or {}))


def _last_key(table: Table) -> Tx[dict[str, Any] | None]:
    key = ", ".join(table.key)
    order = ", ".join(f"{name} DESC" for name in table.key)
    row = one((yield Sql(f"SELECT {key} FROM {table.name} ORDER BY {order} LIMIT 1", {})))
    return _key_of(table, row) if row is not None else None


def _count(table: Table) -> Tx[int]:
    rows = yield Sql(f"SELECT COUNT(*) FROM {table.name} WHERE {_where(table)}", {})
    return int(rows[0][0])


def _put(table: Table, rows: Sequence[tuple[Any, ...]]) -> Tx[None]:
    yield Bulk(table.name, tuple(table.kinds), rows)


def _replace(table: Table, rows: Sequence[tuple[Any, ...]]) -> Tx[None]:
    yield Sql(f"DELETE FROM {table.name} WHERE {_where(table)}", {})
    yield Bulk(table.name, tuple(table.kinds), rows)


def _clear() -> Tx[None]:
    for table in reversed(moved_tables()):
        if table.name not in SINGLE and table.name != "meta":
            yield Sql(f"DELETE FROM {table.name}", {})


def _fingerprint() -> Tx[str]:
    """Which database this is: its feed's epoch, drawn by lot when it was made."""
    epoch = yield from _value_of("feed_epoch")
    assert epoch is not None, "migration 1 makes it"
    return epoch


def _value_of(key: str) -> Tx[str | None]:
    row = one((yield Run("meta.get", {"key": key})))
    return str(row["value"]) if row is not None else None


def _mark(fingerprint: str) -> Tx[None]:
    yield Run("meta.put", {"key": MOVING, "value": fingerprint})


def _filled() -> Tx[list[str]]:
    """Tables that hold rows of somebody's."""
    found = []
    for table in moved_tables():
        if table.name not in SINGLE and table.name != "meta" and (yield from _count(table)):
            found.append(table.name)
    return found


def _finish(dialect: str, epoch: str, fingerprint: str) -> Tx[None]:
    """Numbers go on above those that came along; the feed has a new epoch; daemons may start."""
    for table in moved_tables():
        if dialect != "sqlite" and table.identity is not None:
            yield Sql(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{table.identity}'),"
                f" GREATEST(1, (SELECT COALESCE(MAX({table.identity}), 0) + 1 FROM {table.name})), false)",
                {},
            )
    yield Run("meta.put", {"key": "feed_epoch", "value": epoch})
    yield Run("meta.put", {"key": ARRIVED, "value": fingerprint})
    yield Sql("DELETE FROM meta WHERE key = :key", {"key": MOVING})
