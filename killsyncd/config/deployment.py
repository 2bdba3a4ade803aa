"""How the daemon of this machine is run: as a systemd service, or by hand."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from killsyncd.config.paths import FILE_NAME, SYSTEM_DIRECTORY, candidates
from killsyncd.core.deployment import Deployment

UNIT = "killsyncd.service"
_UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
SERVICE_SOCKET = "/run/killsyncd/killsyncd.sock"


def find_deployment(
    file: str | None,
    socket: str | None,
    environ: Mapping[str, str],
    words: Sequence[str] = (),
    root: Path = Path("/"),
) -> Deployment:
    """How the daemon is run that a command with these words is about.

    file: from --config. socket: from --socket. root: where the file system begins (tests).
    """
    named = file or environ.get("KILLSYNCD_CONFIG") or ""
    by_root = os.geteuid() == 0
    if _is_the_services(named, socket, environ, root):
        return Deployment(unit=UNIT, root=by_root, words=shlex.join(words))
    absolute = os.path.abspath(named) if named else ""
    return Deployment(config=absolute, root=by_root, words=shlex.join(words))


def deployment_of_daemon(
    file: str | None, environ: Mapping[str, str], cgroup: Path = Path("/proc/self/cgroup")
) -> Deployment:
    """How this very process, a daemon, is run. cgroup: where the kernel tells of which unit it is."""
    named = file or environ.get("KILLSYNCD_CONFIG") or ""
    if environ.get("NOTIFY_SOCKET"):
        unit, of_user = _unit_in(cgroup)
        usual = named in ("", str(SYSTEM_DIRECTORY / FILE_NAME))
        return Deployment(
            unit=unit or UNIT, user_unit=of_user, config="" if usual else os.path.abspath(named)
        )
    return Deployment(config=os.path.abspath(named) if named else "")


def _unit_in(cgroup: Path) -> tuple[str, bool]:
    """The unit of a process, and whether it is of a user's own manager; empty where that is not told."""
    try:
        path = cgroup.read_text("utf-8", "replace").splitlines()[-1].rpartition(":")[2]
    except (OSError, IndexError):
        return "", False
    units = [part for part in path.split("/") if part.endswith(".service")]
    return (units[-1] if units else ""), any(part.startswith("user@") for part in units[:-1])


def _is_the_services(named: str, socket: str | None, environ: Mapping[str, str], root: Path) -> bool:
    if not (root / "run/systemd/system").is_dir():
        return False  # not booted by systemd: a unit's file alone starts nothing
    if not any(_exists(root / folder / UNIT) for folder in _UNIT_FOLDERS):
        return False
    if socket is not None:
        return socket == SERVICE_SOCKET
    system = SYSTEM_DIRECTORY / FILE_NAME
    if named:
        return Path(os.path.abspath(named)) == system
    # Somebody with a configuration of their own means the daemon of that one.
    return not any(_exists(each) for each in candidates(environ) if each != system)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
