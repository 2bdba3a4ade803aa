"""What a configuration value may be: each kind reads one raw value and says what is allowed.

A raw value comes from TOML (already typed) or from the environment (text, turned
into TOML's type by `from_text` first). Kinds touch neither disk nor environment.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

T = TypeVar("T")

# sun_path of sockaddr_un holds 108 bytes, the last of them NUL (unix(7)).
UNIX_SOCKET_PATH_BYTES = 107


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


def _text(raw: object) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise BadValue
    return raw


def pattern(expression: str, name: str, allowed: str) -> ValueType[str]:
    """Text that matches a regular expression whole."""
    compiled = re.compile(expression, re.ASCII)

    def read(raw: object) -> str:
        value = _text(raw)
        if not compiled.fullmatch(value):
            raise BadValue
        return value

    return ValueType(name, allowed, read)


def choice(*words: str) -> ValueType[str]:
    """One of a few words, whatever their case."""

    def read(raw: object) -> str:
        value = _text(raw).strip().lower()
        if value not in words:
            raise BadValue
        return value

    return ValueType("word", "one of " + ", ".join(words), read)


def calendar_date() -> ValueType[str]:
    """A date as `YYYY-MM-DD`, quoted or as TOML's own date."""

    def read(raw: object) -> str:
        if isinstance(raw, date) and not isinstance(raw, datetime):
            return raw.isoformat()
        value = _text(raw)
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
        values = tuple(_text(each) for each in raw)
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
        value = _text(raw).strip()
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


# --- addresses and places -----------------------------------------------------------------------

_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?", re.ASCII
)


def split_url(value: str) -> SplitResult:
    """`urlsplit` with every way to be malformed as `BadValue`."""
    if re.search(r"[\x00-\x20\x7f\\]", value):
        raise BadValue
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise BadValue from None
    if port == 0:
        raise BadValue
    return parts


def http_url(*, bare: bool) -> ValueType[str]:
    """An http or https address without credentials, query or fragment.

    bare: a base address; a slash at its end is dropped.
    """
    allowed = "an http:// or https:// address without user, password, query or fragment"

    def read(raw: object) -> str:
        value = _text(raw)
        parts = split_url(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise BadValue
        if "?" in value or "#" in value or not _is_host(parts.hostname):
            raise BadValue
        return value.rstrip("/") if bare else value

    return ValueType("address", allowed, read)


def optional_http_url() -> ValueType[str]:
    """A base address as above, or nothing."""
    address = http_url(bare=True)
    return ValueType(
        "address", f"{address.allowed}, or empty", lambda raw: "" if raw == "" else address.read(raw)
    )


def _is_host(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return bool(_HOST.fullmatch(host))
    return True


def split_listen(value: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:7420` or `[::1]:7420`; raises `BadValue`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%A-Za-z0-9]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", value, re.ASCII)
    if not match or int(match[3]) > 65535:
        raise BadValue
    host = match[1] or match[2]
    if match[1]:
        try:
            ip_address(host)
        except ValueError:
            raise BadValue from None
    elif not _is_host(host):
        raise BadValue
    return host, int(match[3])


def listen() -> ValueType[str]:
    """Host and port to listen on; port 0 takes any free one."""

    def read(raw: object) -> str:
        value = _text(raw).strip()
        split_listen(value)
        return value

    return ValueType("host:port", 'host:port, such as "127.0.0.1:7420" or "[::1]:7420"', read)


def _path(raw: object) -> Path:
    value = _text(raw)
    if not value.startswith("/") or value.endswith("/"):
        raise BadValue
    return Path(value)


_PATH = "an absolute path ($STATE, $RUNTIME, $CREDENTIALS_DIRECTORY and ~ may begin it)"


def path() -> ValueType[Path]:
    """An absolute path once the variables are replaced."""
    return ValueType("path", _PATH, _path, expands=True)


def optional_path() -> ValueType[Path | None]:
    """A path as above; empty is None."""

    def read(raw: object) -> Path | None:
        return None if raw == "" else _path(raw)

    return ValueType("path", f"{_PATH}, or empty", read, expands=True)


def socket_path() -> ValueType[Path]:
    """A path as above, short enough for a unix socket."""

    def read(raw: object) -> Path:
        value = _path(raw)
        if len(os.fsencode(value)) > UNIX_SOCKET_PATH_BYTES:
            raise BadValue(
                f"a path of at most {UNIX_SOCKET_PATH_BYTES} bytes, which is what a unix socket may have"
            )
        return value

    return ValueType("path", _PATH, read, expands=True)


def database_url() -> ValueType[str]:
    """`sqlite:///` and an absolute path, or `postgresql://`."""
    allowed = 'a database: "sqlite:////absolute/path.db" or "postgresql://user@host/database"'

    def read(raw: object) -> str:
        value = _text(raw)
        if value.startswith("sqlite:"):
            file = value.removeprefix("sqlite:///")
            if file == value or not file.startswith("/") or file.endswith("/") or "?" in file:
                raise BadValue(
                    '"sqlite:///" and an absolute path, so four slashes: "sqlite:////var/lib/killsyncd/killsyncd.db"'
                )
            return value
        parts = split_url(value)
        if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/") or parts.fragment:
            raise BadValue
        return "postgresql" + value[len(parts.scheme) :]

    return ValueType("address", allowed, read, expands=True)


def queue_url() -> ValueType[str]:
    """`embedded`, or a RabbitMQ."""

    def read(raw: object) -> str:
        value = _text(raw)
        if value != "embedded":
            parts = split_url(value)
            if parts.scheme not in ("amqp", "amqps") or not parts.hostname or parts.fragment:
                raise BadValue
        return value

    return ValueType("address", '"embedded" or a RabbitMQ: "amqp://user@host/vhost" (amqps:// too)', read)
