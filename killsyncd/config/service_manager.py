"""What a service manager tells a service through its environment (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """notify_socket: where to report, None outside of a service. watchdog: seconds between signs of life.

    journal: stderr goes to systemd's journal, which takes a priority before each line (sd-daemon(3)).
    """

    notify_socket: str | None
    watchdog: float | None
    journal: bool = False


def service_manager(environ: Mapping[str, str]) -> ServiceManager:
    """Read `NOTIFY_SOCKET`, `WATCHDOG_*` and `JOURNAL_STREAM`; what does not fit is no service manager."""
    socket = environ.get("NOTIFY_SOCKET", "")
    pid = environ.get("WATCHDOG_PID", "")
    usec = environ.get("WATCHDOG_USEC", "")
    watchdog = None
    if usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid())):
        watchdog = int(usec) / 1_000_000
    notify = socket if socket.startswith(("/", "@")) else None
    return ServiceManager(notify, watchdog, _to_journal(environ.get("JOURNAL_STREAM", "")))


def _to_journal(stream: str, descriptor: int = 2) -> bool:
    """Whether a descriptor is the very stream that systemd connected to its journal, and not redirected."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
