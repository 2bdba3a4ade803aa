"""What the tables hold, read from the migrations: the one place where that is written down.

A column's kind is the macro it was declared with (see `queries`), because the databases themselves
do not tell: SQLite keeps truths as numbers and times as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from killsyncd.storage.migrations import migrations

CANARY = "key_canary"
"""Key of `meta`: a text encrypted with the key, by which the key is known (see `key_rotation`)."""

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"

_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)^\)", re.S | re.M)
_COLUMN = re.compile(r"^\s+(\w+) (TEXT|\{\w+\})(.*)$", re.M)
_KEY = re.compile(r"^\s+PRIMARY KEY \(([\w, ]+)\)", re.M)
_ADDED = re.compile(r"^ALTER TABLE (\w+) ADD COLUMN (\w+) (TEXT|\{\w+\})", re.M)
_COLUMN_DROPPED = re.compile(r"^ALTER TABLE (\w+) DROP COLUMN (\w+)", re.M)
_COLUMN_RENAMED = re.compile(r"^ALTER TABLE (\w+) RENAME COLUMN (\w+) TO (\w+)", re.M)
_DROPPED = re.compile(r"^DROP TABLE (\w+)", re.M)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns with their kinds, and its primary key."""

    name: str
    kinds: Mapping[str, str]
    key: tuple[str, ...]

    @property
    def identity(self) -> str | None:
        """The column that the database numbers by itself."""
        return next((name for name, kind in self.kinds.items() if kind == "identity"), None)


@cache
def tables() -> Mapping[str, Table]:
    """Every table of today's schema."""
    found: dict[str, Table] = {}
    for migration in migrations():
        text = re.sub(r"--[^\n]*", "", migration.text)
        for name, body in _TABLE.findall(text):
            columns = _COLUMN.findall(body)
            kinds = {column: _kind(declared) for column, declared, _ in columns}
            inline = [c for c, declared, rest in columns if "PRIMARY KEY" in rest or declared == "{identity}"]
            composed = _KEY.search(body)
            key = tuple(re.findall(r"\w+", composed[1])) if composed else tuple(inline)
            found[name] = Table(name, kinds, key)
        for name, column, declared in _ADDED.findall(text):
            known = found[name]
            found[name] = Table(name, {**known.kinds, column: _kind(declared)}, known.key)
        for name, column in _COLUMN_DROPPED.findall(text):
            known = found[name]
            kinds = {each: kind for each, kind in known.kinds.items() if each != column}
            found[name] = Table(name, kinds, known.key)
        for name, column, called in _COLUMN_RENAMED.findall(text):
            known = found[name]
            kinds = {called if each == column else each: kind for each, kind in known.kinds.items()}
            found[name] = Table(name, kinds, known.key)
        for name in _DROPPED.findall(text):
            del found[name]
    return found


def _kind(declared: str) -> str:
    return declared.strip("{}").lower()


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    # SQLite's text has no fractions: without them a value is the same on both.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def _time_text(value: Any) -> str:
    return _time(value).strftime(TIME_FORMAT)


def _real(value: Any) -> float | None:
    # SQLite has one zero (it keeps whole numbers as integers) and stores NaN as NULL.
    number = float(value)
    return None if math.isnan(number) else number + 0.0


_READERS: Mapping[str, Callable[[Any], Any]] = {"bool": bool, "time": _time, "real": _real, "bytes": bytes}
_WRITERS: Mapping[str, Callable[[Any], Any]] = {**_READERS, "bool": int, "time": _time_text}


def converters(kinds: Sequence[str], dialect: str) -> list[Callable[[Any], Any] | None]:
    """What turns a value of either database into one for a database of this dialect; None for nothing."""
    known = _WRITERS if dialect == "sqlite" else _READERS
    return [known.get(kind) for kind in kinds]
