"""What a SQLite file is before it is trusted: its schema against ours, its integrity, its counts."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from killsyncd.core.errors import BadInput, SchemaRefused
from killsyncd.storage.migrations import SCHEMA_TABLE, migrations
from killsyncd.storage.sqlite.archive import CHUNK, COUNTED

Object = tuple[str, str, str, str | None]
"""A row of sqlite_master: type, name, table, and the statement that made it (without needless space)."""

_STATISTICS = frozenset(
    {
        ("table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
        ("table", "sqlite_stat4", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
    }
)
"""What somebody's ANALYZE leaves behind."""

_MOST_OBJECTS = 1000
_LONGEST_VALUE = 1 << 27
"""Bytes: no row of ours comes near it."""

_ANOTHER = "take another backup; nothing was changed"


def open_file(path: Path, *, writable: bool = False) -> sqlite3.Connection:
    """Open a database that is there; what its schema may call is taken for hostile."""
    uri = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def faults_in(connection: sqlite3.Connection) -> list[str]:
    """What SQLite's own check has to say; empty where all is well."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def schema_of(connection: sqlite3.Connection, name: Path) -> int:
    """The schema's number, once every table, index, view and trigger is known for one of ours.

    name: of the file, for messages. Nothing of the database is run before that: a view in the place of
    a table could say anything, and a trigger would fire later. Raises SchemaRefused, BadInput (damaged).
    """
    try:
        found = _objects(connection)
        if not _table_of_migrations() <= found:
            raise SchemaRefused(f"the database in {name} is not killsyncd's", "name another file")
        rows = connection.execute(
            "SELECT number, checksum FROM schema_migrations ORDER BY number LIMIT 10000"
        ).fetchall()
    except sqlite3.DatabaseError as error:
        raise BadInput(f"the database in {name} is damaged: {error}", _ANOTHER) from None
    known = {each.number: each for each in migrations()}
    numbers = [number for number, _ in rows]
    if not numbers:
        raise SchemaRefused(f"the database in {name} is not killsyncd's", "name another file")
    newest = int(numbers[-1])
    if newest > max(known):
        raise SchemaRefused(
            f"{name} has schema {newest}, this killsyncd knows {max(known)} at most",
            "install the killsyncd that made it, or a newer one; nothing was changed",
        )
    if numbers != [each for each in known if each <= newest] or not all(
        known[number].made(checksum) for number, checksum in rows
    ):
        raise SchemaRefused(
            f"schema {newest} of {name} was made by a different killsyncd",
            "install the release that made it; nothing was changed",
        )
    _compare(found, _schemas()[newest], name)
    return newest


def _compare(found: frozenset[Object], ours: frozenset[Object], name: Path) -> None:
    foreign = sorted(found - ours - _STATISTICS, key=_tables_first)
    missing = sorted(ours - found, key=_tables_first)
    if foreign or missing:
        kind, called = (foreign or missing)[0][:2]
        visible = "".join(each if each.isprintable() else "?" for each in called[:60])
        what = (
            f"has the {kind} {visible}, which killsyncd did not make"
            if foreign
            else f"lacks the {kind} {visible}"
        )
        raise SchemaRefused(
            f"the database in {name} {what}",
            "take a backup of a database as killsyncd made it; what you added to it has to be dropped first",
        )


def _tables_first(each: Object) -> tuple[bool, str]:
    return each[0] != "table", each[1]


def _objects(connection: sqlite3.Connection) -> frozenset[Object]:
    rows = connection.execute(
        f"SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT {_MOST_OBJECTS}"
    ).fetchall()
    return frozenset(
        (str(kind), str(name), str(table), None if sql is None else " ".join(str(sql).split()))
        for kind, name, table, sql in rows
    )


def _table_of_migrations() -> frozenset[Object]:
    return frozenset(each for each in _schemas()[1] if each[:2] == ("table", "schema_migrations"))


@cache
def _schemas() -> dict[int, frozenset[Object]]:
    """What a database of each schema holds, as this SQLite writes it down: our migrations, run in memory."""
    found = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_function("epoch_now", 0, lambda: 0.0)
        connection.execute(SCHEMA_TABLE)
        for migration in migrations():
            for statement in migration.statements("sqlite"):
                connection.execute(statement)
            found[migration.number] = _objects(connection)
    return found


def counts_of(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows there are of what a manifest counts."""
    return {
        table: int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in COUNTED
    }


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
