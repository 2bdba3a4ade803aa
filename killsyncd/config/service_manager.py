"""What a service manager tells a service through its environment (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """notify_socket: where to report, None outside of a service. watchdog: seconds between signs of life."""

    notify_socket: str | None
    watchdog: float | None


def service_manager(environ: Mapping[str, str]) -> ServiceManager:
    """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; what does not fit is no service manager."""
    socket = environ.get("NOTIFY_SOCKET", "")
    pid = environ.get("WATCHDOG_PID", "")
    usec = environ.get("WATCHDOG_USEC", "")
    watchdog = None
    if usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid())):
        watchdog = int(usec) / 1_000_000
    return ServiceManager(socket if socket.startswith(("/", "@")) else None, watchdog)
