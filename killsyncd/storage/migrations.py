"""The schema, by number: each migration runs once, whole, and is remembered with its checksum."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from killsyncd.core.errors import SchemaRefused
from killsyncd.storage.additions import additions, around
from killsyncd.storage.queries import expand
from killsyncd.storage.transaction import Run, Sql, Store, Tx, one

APPLICATION = "killsyncd"

SCHEMA_TABLE = (
    "CREATE TABLE schema_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
    "checksum TEXT NOT NULL, applied_at DOUBLE PRECISION NOT NULL)"
)

EARLIER_TEXTS = {4: frozenset({"578412fb62d2609954bb110d31ebd58b74b9674d30560431bd818e7e19663df1"})}
"""Checksums of texts that a migration had before, each of which made the same schema."""

MOVING = "moving_from"
"""Key of `meta` in a database that a store is being moved into (see `transfer`)."""


_PART = re.compile(r"^-- \[(sqlite|postgres|both)\][^\n]*$", re.M)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file `NNNN_name.sql`. What follows `-- [sqlite]`, `-- [postgres]` or `-- [both]` is for that."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text as it stands in the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def made(self, checksum: str) -> bool:
        """Whether a schema with this checksum is what this migration makes."""
        return checksum == self.checksum or checksum in EARLIER_TEXTS.get(self.number, ())

    def statements(self, dialect: str) -> list[str]:
        """What a driver runs, one after the other."""
        first, *parts = _PART.split(self.text)
        own = (text for of, text in zip(parts[::2], parts[1::2], strict=True) if of in (dialect, "both"))
        text = re.sub(r"--[^\n]*", "", expand("\n".join((first, *own)), dialect))
        return [part.strip() for part in text.split(";") if part.strip()]


class Migratable(Store, Protocol):
    """A store that can run a script as one transaction."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Keep every other migrator out meanwhile."""

    async def script(self, statements: list[str]) -> None:
        """Run statements as one transaction."""


def migrations() -> list[Migration]:
    """Every migration this program knows, in order."""
    found = []
    for entry in (files("killsyncd.storage") / "sql").iterdir():
        match = re.fullmatch(r"(\d{4})_([a-z_0-9]+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text("utf-8")))
    return sorted(found, key=lambda each: each.number)


async def state(store: Migratable, *, moving: bool = False) -> list[int]:
    """The numbers applied so far; empty for a new database.

    Raises SchemaRefused where the tables are somebody else's, newer than this program,
    or made by migrations that differ from ours; and, unless `migrate-store` asks (moving),
    where a store was moved into it and has not arrived whole.
    """
    tables = await store.read(_tables)
    if not tables:
        return []
    if "schema_migrations" not in tables or "meta" not in tables:
        raise SchemaRefused(
            f"the database holds tables that are not killsyncd's ({', '.join(sorted(tables)[:5])})",
            "set [database] url to an empty database; nothing was changed",
        )
    rows = await store.read(_applied)
    known = {each.number: each for each in migrations()}
    for number, checksum in rows:
        if number not in known:
            raise SchemaRefused(
                f"the database has schema {number}, this killsyncd knows {max(known)} at most",
                "install the newer killsyncd again, or restore a backup made by this one; "
                "nothing was changed",
            )
        if not known[number].made(checksum):
            raise SchemaRefused(
                f"schema {number} of the database was made by a different killsyncd",
                "install the release that made it; nothing was changed",
            )
    if not moving and await store.read(_half_moved):
        raise SchemaRefused(
            "a store was being moved into this database, and has not arrived whole",
            "run killsyncd migrate-store again, from the old database's configuration",
        )
    return [number for number, _ in rows]


async def tables_of(store: Migratable) -> set[str]:
    """The names of the tables that are there."""
    return await store.read(_tables)


async def may_create(store: Migratable) -> bool:
    """Whether this user may make tables in a PostgreSQL database."""

    def ask() -> Tx[bool]:
        row = one((yield Sql("SELECT has_schema_privilege(current_schema(), 'CREATE')", {})))
        return row is not None and bool(row[0])

    return await store.read(ask)


async def migrate(
    store: Migratable, *, moving: bool = False, begins: Callable[[int], None] = lambda number: None
) -> list[int]:
    """Bring the schema up to date; answers the numbers applied now. Raises SchemaRefused.

    Daemons that start at once do it one after the other: the second finds it done.
    begins: told each number as its turn comes; one may take minutes where millions of rows are stored.
    """
    async with store.alone():
        return await _migrate(store, moving, begins)


async def _migrate(store: Migratable, moving: bool, begins: Callable[[int], None]) -> list[int]:
    applied = await state(store, moving=moving)
    done: list[int] = []
    for migration in migrations():
        if migration.number in applied:
            continue
        statements = migration.statements(store.dialect)
        if not applied and not done:
            statements = [
                SCHEMA_TABLE,
                *statements,
                f"INSERT INTO meta (key, value) VALUES ('application', '{APPLICATION}')",
                f"INSERT INTO meta (key, value) VALUES ('feed_epoch', '{secrets.token_hex(4)}')",
            ]
        statements.append(
            "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES "
            f"({migration.number}, '{migration.name}', '{migration.checksum}', "
            f"{expand('{now}', store.dialect)})"
        )
        begins(migration.number)
        added = await store.read(additions, store.dialect, _indexes())
        await store.script(around(statements, added))
        done.append(migration.number)
    return done


def _indexes() -> frozenset[str]:
    """The names of all indexes that migrations make."""
    texts = (each.text for each in migrations())
    return frozenset(name for text in texts for name in re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", text))


def _half_moved() -> Tx[bool]:
    return bool((yield Run("meta.get", {"key": MOVING})))


def _tables() -> Tx[set[str]]:
    rows = yield Run("meta.tables", {})
    return {str(row[0]) for row in rows}


def _applied() -> Tx[list[tuple[int, str]]]:
    rows = yield Sql("SELECT number, checksum FROM schema_migrations ORDER BY number", {})
    return [(int(row[0]), str(row[1])) for row in rows]
