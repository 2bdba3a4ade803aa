"""What a configuration value may be: each kind reads one raw value and says what is allowed.

A raw value comes from TOML (already typed) or from the environment (text, turned
into TOML's type by `from_text` first). Kinds touch neither disk nor environment.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class BadValue(Exception):
    """A value that is not allowed. Its text, if any, says more than the kind's own `allowed`."""


def _same(text: str) -> object:
    return text


@dataclass(frozen=True)
class ValueType(Generic[T]):
    """One kind of value.

    name: its type, as the reference calls it.
    allowed: what is allowed, as the end of "must be ...".
    read: raw value to the value the program uses; raises `BadValue`.
    from_text: an environment variable's text to a raw value; raises `BadValue`.
    expands: `$STATE`, `$RUNTIME` and `~` are replaced in it first.
    """

    name: str
    allowed: str
    read: Callable[[object], T]
    from_text: Callable[[str], object] = _same
    expands: bool = False


# --- numbers and flags ------------------------------------------------------------------------


def flag() -> ValueType[bool]:
    """`true` or `false`."""

    def read(raw: object) -> bool:
        if not isinstance(raw, bool):
            raise BadValue
        return raw

    def from_text(text: str) -> object:
        word = text.strip().lower()
        if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            raise BadValue
        return word in ("true", "yes", "on", "1")

    return ValueType("true or false", "true or false", read, from_text)


def whole(low: int, high: int) -> ValueType[int]:
    """A whole number, both ends included."""

    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise BadValue
        return raw

    def from_text(text: str) -> object:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise BadValue
        return int(text)

    return ValueType("whole number", f"a whole number from {low} to {high}", read, from_text)


def number(above: float, at_most: float) -> ValueType[float]:
    """A number in (above, at_most]."""

    def read(raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not above < raw <= at_most:
            raise BadValue
        return float(raw)

    def from_text(text: str) -> object:
        try:
            return float(text)
        except ValueError:
            raise BadValue from None

    return ValueType("number", f"a number above {above:g} and at most {at_most:g}", read, from_text)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d)?\s*", re.ASCII)


def seconds_of(raw: object) -> float:
    """Seconds of `"500ms"`, `"90s"`, `"10m"`, `"1h"`, `"1d"`, or of a bare number; raises `BadValue`."""
    if isinstance(raw, bool):
        raise BadValue
    if isinstance(raw, (int, float)):
        value = float(raw)
    elif isinstance(raw, str) and (match := _DURATION.fullmatch(raw)):
        value = float(match[1]) * _UNITS[match[2] or "s"]
    else:
        raise BadValue
    if not math.isfinite(value):
        raise BadValue
    return value


def duration(low: str, high: str, *, low_allowed: bool = False) -> ValueType[float]:
    """A duration in seconds between two such texts; the lower end only with `low_allowed`."""
    bottom, top = seconds_of(low), seconds_of(high)

    def read(raw: object) -> float:
        value = seconds_of(raw)
        if value > top or value < bottom or (value == bottom and not low_allowed):
            raise BadValue
        return value

    between = f"{'from' if low_allowed else 'above'} {low} {'to' if low_allowed else 'and at most'} {high}"
    return ValueType("duration", f'a duration {between}, such as "90s", "10m", "1h", "1d", or seconds', read)


# --- words ------------------------------------------------------------------------------------


def text(raw: object) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise BadValue
    return raw


def pattern(expression: str, name: str, allowed: str) -> ValueType[str]:
    """Text that matches a regular expression whole."""
    compiled = re.compile(expression, re.ASCII)

    def read(raw: object) -> str:
        value = text(raw)
        if not compiled.fullmatch(value):
            raise BadValue
        return value

    return ValueType(name, allowed, read)


def choice(*words: str) -> ValueType[str]:
    """One of a few words, whatever their case."""

    def read(raw: object) -> str:
        value = text(raw).strip().lower()
        if value not in words:
            raise BadValue
        return value

    return ValueType("word", "one of " + ", ".join(words), read)


def calendar_date() -> ValueType[str]:
    """A date as `YYYY-MM-DD`, quoted or as TOML's own date."""

    def read(raw: object) -> str:
        if isinstance(raw, date) and not isinstance(raw, datetime):
            return raw.isoformat()
        value = text(raw)
        try:
            parsed = date.fromisoformat(value)
        except ValueError:
            raise BadValue from None
        if parsed.isoformat() != value:  # 3.11 also reads 20260818 and 2026-W34-2
            raise BadValue
        return value

    return ValueType("date", 'a date such as "2026-08-18"', read)


def words(
    item: str, allowed: str, *, must_hold: str = "", may_be_empty: bool = False
) -> ValueType[tuple[str, ...]]:
    """A list of distinct texts, each matching `item`; in the environment separated by commas, or as TOML
    has it."""
    compiled = re.compile(item, re.ASCII)

    def read(raw: object) -> tuple[str, ...]:
        if not isinstance(raw, (list, tuple)):
            raise BadValue
        values = tuple(text(each) for each in raw)
        for value in values:
            if not compiled.fullmatch(value):
                raise BadValue(f"{allowed}; {value!r} is not")
        if len(set(values)) != len(values):
            raise BadValue(f"{allowed}, each once")
        if not values and not may_be_empty:
            raise BadValue
        if must_hold and must_hold not in values:
            raise BadValue(f"{allowed}, with {must_hold!r} among them")
        return values

    def from_text(text: str) -> object:
        if text.lstrip().startswith("["):
            try:
                return tomllib.loads(f"list = {text.strip()}")["list"]
            except tomllib.TOMLDecodeError:
                raise BadValue from None
        return [each.strip() for each in text.split(",") if each.strip()]

    return ValueType("list of text", allowed, read, from_text)


def contact() -> ValueType[str]:
    """How CCP reaches the operator: it goes into the comment of the User-Agent, so latin-1 on one line."""
    allowed = "how CCP can reach you: an e-mail address, a web address or the name of a character"
    address = re.compile(r"[^@\s()<>]+@[^@\s()<>]+|https?://[^\s()<>]+\.[^\s()<>]+", re.ASCII)
    # CCP's naming rules: 3 to 37 characters; letters, digits, spaces, hyphens and apostrophes.
    pilot = re.compile(r"[^\W_][\w .'-]{1,35}[\w.'-]")

    def read(raw: object) -> str:
        value = text(raw).strip()
        if not value:
            raise BadValue
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise BadValue(f"{allowed}, in latin-1 letters (it travels in an HTTP header)") from None
        if len(value) > 200 or any(ord(each) < 32 or 127 <= ord(each) < 160 for each in value):
            raise BadValue(f"{allowed}, on one line of at most 200 characters")
        reachable = any(address.fullmatch(word.strip("+,;")) for word in value.split())
        if (not reachable and not pilot.fullmatch(value)) or set(value) & set("()\\"):
            raise BadValue
        return value

    return ValueType("text", allowed, read)
