"""The scalars of the schema."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

import orjson
from ariadne import ScalarType
from graphql import GraphQLError

from killsyncd.service import rfc3339

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)

day = ScalarType("Date")
date_time = ScalarType("DateTime")
big_int = ScalarType("BigInt")
any_json = ScalarType("JSON")


@date_time.serializer
def _show_date_time(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"not a datetime: {type(value).__name__}")
    return rfc3339(value)


@date_time.value_parser
def parse_date_time(value: Any) -> datetime:
    """RFC 3339 with any offset, as UTC. Raises GraphQLError."""
    match = _RFC3339.fullmatch(value) if isinstance(value, str) and len(value) < 40 else None
    if match is not None:
        on, at, fraction, offset = match.groups()
        zone = "+00:00" if offset in "Zz" else offset
        try:
            return datetime.fromisoformat(f"{on}T{at}{(fraction or '')[:7]}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError('DateTime is RFC 3339 with an offset, such as "2026-11-18T12:00:00Z".')


@day.serializer
def _show_day(value: Any) -> str:
    if not isinstance(value, date):
        raise TypeError(f"not a day: {type(value).__name__}")
    return value.isoformat()


@big_int.serializer
def _show_big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"not a whole number: {type(value).__name__}")
    return value


@big_int.value_parser
def _parse_big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise GraphQLError("BigInt is a whole number of at most 64 bits.")
    return value


@any_json.serializer
def _show_json(value: Any) -> Any:
    # Bytes are JSON already: they go out as they are, without being read and written again.
    return orjson.Fragment(value) if isinstance(value, bytes) else value


SCALARS = [day, date_time, big_int, any_json]
