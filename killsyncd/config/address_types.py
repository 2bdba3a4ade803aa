"""What a value may be that names a place: an address, a host and port, a path, a database or a queue."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from killsyncd.config.types import BadValue, ValueType, text
from killsyncd.core.sources import KILLMAIL_SCOPE as KILLMAIL_SCOPE

if TYPE_CHECKING:
    pass

# sun_path of sockaddr_un holds 108 bytes, the last of them NUL (unix(7)).
UNIX_SOCKET_PATH_BYTES = 107


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
        value = text(raw)
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
        value = text(raw).strip()
        split_listen(value)
        return value

    return ValueType("host:port", 'host:port, such as "127.0.0.1:7420" or "[::1]:7420"', read)


def _path(raw: object) -> Path:
    value = text(raw)
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
        value = text(raw)
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
        value = text(raw)
        if value != "embedded":
            parts = split_url(value)
            if parts.scheme not in ("amqp", "amqps") or not parts.hostname or parts.fragment:
                raise BadValue
        return value

    return ValueType("address", '"embedded" or a RabbitMQ: "amqp://user@host/vhost" (amqps:// too)', read)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback, by address or by name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")


def host_of(url: str) -> str:
    """The host of a web address, in lower case."""
    return (urlsplit(url).hostname or "").lower()
