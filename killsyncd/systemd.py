"""The service manager's side: readiness, status line, watchdog (sd_notify(3)). Elsewhere: nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable

from killsyncd.clock import Clock
from killsyncd.logs import get_logger

log = get_logger(__name__)


class Notifier:
    """Speaks to systemd's notify socket; silent where there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._status = ""

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`. A manager that does not listen is no reason to fail."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
                client.connect(self._address)
                client.send("\n".join(lines).encode())
        except OSError as error:
            log.debug("the service manager does not listen", reason=str(error))

    def ready(self) -> None:
        """Every task is at work."""
        self.send("READY=1")

    def stopping(self) -> None:
        """The drain has begun."""
        self.send("STOPPING=1", "STATUS=finishing what is under way")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; told only when it changes."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")


async def watchdog(notifier: Notifier, clock: Clock, seconds: float, alive: Callable[[], str | None]) -> None:
    """Feed the watchdog while the daemon makes progress.

    seconds: systemd's limit; half of it is our pace. alive: None while all is well, else what
    stands still: then the watchdog is not fed, and systemd restarts us. ESI's health is no
    part of that.
    """
    silent = ""
    while True:
        still = alive()
        if still is None:
            notifier.send("WATCHDOG=1")
        elif still != silent:
            log.error("no progress; the watchdog is not fed", task=still)
        silent = still or ""
        await clock.sleep(seconds / 2)


async def tell_status(notifier: Notifier, clock: Clock, text: Callable[[], str]) -> None:
    """Keep the status line up to date."""
    while True:
        notifier.status(text())
        await clock.sleep(5.0)
