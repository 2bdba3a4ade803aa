"""Where the daemon's control socket may be, for a user who may not even read its configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from killsyncd.config.configuration import keys_of
from killsyncd.config.paths import candidates, find_places
from killsyncd.config.types import BadValue

FILE_NAME = "killsyncd.sock"


@dataclass(frozen=True)
class SocketCandidate:
    """A path to try, and why (for the error that lists what was tried)."""

    path: Path
    why: str


def control_sockets(path: Path | None, environ: Mapping[str, str]) -> list[SocketCandidate]:
    """The sockets to try, in order, each path once.

    The configuration's own comes first if it can be read; a file that cannot,
    or that does not hold, is no error here: the daemon checks it, not its client.
    A daemon of the same user without any configuration comes last.
    """
    found: list[SocketCandidate] = []

    def add(candidate: Path | None, why: str) -> None:
        if candidate is not None and all(each.path != candidate for each in found):
            found.append(SocketCandidate(candidate, why))

    if text := environ.get("KILLSYNCD_CONTROL_SOCKET"):
        add(_expanded(text, environ), "$KILLSYNCD_CONTROL_SOCKET")
    named = path or (Path(environ["KILLSYNCD_CONFIG"]) if environ.get("KILLSYNCD_CONFIG") else None)
    for file in [named] if named else candidates(environ):
        if (text := _socket_in(file)) is not None:
            add(_expanded(text, environ), f"control.socket of {file}")
            break
    for variable, inside in (("RUNTIME_DIRECTORY", ""), ("XDG_RUNTIME_DIR", "killsyncd")):
        value = environ.get(variable, "").partition(":")[0]
        if value.startswith("/"):
            add(Path(value) / inside / FILE_NAME, f"${variable}")
    add(Path("/run/killsyncd") / FILE_NAME, "the system's service")
    default = keys_of("control")["socket"].raw
    add(_expanded(default, environ), "the default")
    return found


def _expanded(text: object, environ: Mapping[str, str]) -> Path | None:
    try:
        expanded = find_places(environ).expand(text)
    except BadValue:
        return None
    return Path(expanded) if isinstance(expanded, str) and expanded.startswith("/") else None


def _socket_in(file: Path) -> str | None:
    """The socket that a file names; None if it names none or cannot be read."""
    try:
        table = tomllib.loads(file.read_text("utf-8-sig")).get("control")
    except (OSError, ValueError, RecursionError):
        return None
    value = table.get("socket") if isinstance(table, dict) else None
    return value if isinstance(value, str) else None
