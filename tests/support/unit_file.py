"""A systemd unit file as values, and sets of system calls as systemd spells them out."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

UNIT = Path(__file__).parents[2] / "systemd/killsyncd.service"


def read_unit(path: Path = UNIT) -> dict[str, list[str]]:
    """Settings of every section by name, each with all of its values; comments left out."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith(("#", ";", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name.strip(), []).append(value.strip())
    return found


def yes(unit: dict[str, list[str]], name: str) -> bool:
    """Whether a switch is on."""
    return unit.get(name, ["no"])[-1] in ("yes", "true", "on", "1")


def allowed_calls(unit: dict[str, list[str]]) -> set[str]:
    """What `SystemCallFilter=` leaves: the first line allows, those with `~` take away again."""
    calls: set[str] = set()
    for value in unit["SystemCallFilter"]:
        deny = value.startswith("~")
        for word in value.lstrip("~").split():
            named = calls_of(word) if word.startswith("@") else {word}
            calls = calls - named if deny else calls | named
    # systemd adds what it needs to start a program at all.
    return calls | calls_of("@default") | {"execve"}


@cache
def calls_of(group: str) -> frozenset[str]:
    """The system calls of a set, as `systemd-analyze syscall-filter` lists them; sets in it spelled out."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    found: set[str] = set()
    for line in text.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= calls_of(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return frozenset(found)
