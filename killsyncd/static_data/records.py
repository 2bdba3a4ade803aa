"""The tables of CCP's export that we keep, as rows: JSON lines in, tuples out. Pure.

Source: CCP's "Static Data" page and the export itself (JSON Lines variant: one member a table, `_key` is
the id, `name` an object of languages). Other members and fields are passed over; a line that cannot be read
spoils the export, since what is missing could not be told from what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from killsyncd.core.errors import BadInput

MAX_LINE = 1 << 20
"""Bytes of the longest line: descriptions in eight languages take some 40 KB."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A member of the archive and its table. row: makes a row; KeyError, ValueError where it can't."""

    member: str
    table: str
    columns: tuple[str, ...]
    row: Callable[[dict[str, Any]], Row]


def _id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError("not an id")
    return value


def _name(record: dict[str, Any]) -> str:
    name = record["name"]["en"]
    if not isinstance(name, str):
        raise TypeError("a name is a text")
    return name[:200].replace("\x00", "")


def _security(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1.0 <= value <= 1.0:
        raise ValueError("not a security status")
    return float(value)


def _optional(value: Any) -> int | None:
    return None if value is None else _id(value)


TABLES = (
    Table(
        "categories.jsonl",
        "type_categories",
        ("category_id", "name"),
        lambda each: (_id(each["_key"]), _name(each)),
    ),
    Table(
        "groups.jsonl",
        "type_groups",
        ("group_id", "category_id", "name"),
        lambda each: (_id(each["_key"]), _id(each["categoryID"]), _name(each)),
    ),
    Table(
        "types.jsonl",
        "types",
        ("type_id", "group_id", "meta_group_id", "name"),
        lambda each: (
            _id(each["_key"]),
            _id(each["groupID"]),
            _optional(each.get("metaGroupID")),
            _name(each),
        ),
    ),
    Table(
        "mapRegions.jsonl",
        "regions",
        ("region_id", "name"),
        lambda each: (_id(each["_key"]), _name(each)),
    ),
    Table(
        "mapConstellations.jsonl",
        "constellations",
        ("constellation_id", "region_id", "name"),
        lambda each: (_id(each["_key"]), _id(each["regionID"]), _name(each)),
    ),
    Table(
        "mapSolarSystems.jsonl",
        "solar_systems",
        ("system_id", "constellation_id", "region_id", "security", "name"),
        lambda each: (
            _id(each["_key"]),
            _id(each["constellationID"]),
            _id(each["regionID"]),
            _security(each["securityStatus"]),
            _name(each),
        ),
    ),
)

BUILD_MEMBER = "_sde.jsonl"


@dataclass(frozen=True, slots=True)
class Build:
    """Which export it is. number: CCP's build number, which only grows. released: as CCP writes it."""

    number: int
    released: str


def build_of(lines: Iterable[bytes]) -> Build:
    """The build that a `latest.jsonl` or an export's own `_sde.jsonl` names. Raises BadInput."""
    for line in lines:
        record = _record(line, "the build")
        if record.get("_key") == "sde":
            try:
                return Build(_id(record["buildNumber"]), str(record.get("releaseDate", ""))[:40])
            except (KeyError, ValueError):
                break
    raise BadInput("no build number where CCP's static data name theirs", "try again with the next build")


def rows_of(table: Table, lines: Iterable[bytes]) -> Iterator[Row]:
    """The rows of one member. Raises BadInput with the number of the line that cannot be read."""
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _record(line, f"{table.member}, line {number}")
        try:
            yield table.row(record)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{table.member}, line {number}: {type(error).__name__} ({error})") from None
    if not number:
        raise BadInput(f"{table.member} is empty")


def _record(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise BadInput(f"{where}: longer than {MAX_LINE} bytes")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise BadInput(f"{where}: no JSON") from None
    if not isinstance(record, dict):
        raise BadInput(f"{where}: not an object")
    return record
