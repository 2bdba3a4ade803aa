"""The service manager's side: readiness, status line, watchdog (sd_notify(3)). Elsewhere: nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from killsyncd.core.clock import Clock
from killsyncd.core.logging import get_logger

START_GRACE = 120
"""Seconds within which a daemon whose start takes long has to be heard of again."""

log = get_logger(__name__)


class Notifier:
    """Speaks to systemd's notify socket; silent where there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._status = ""
        self._serving = False
        self._unsent: list[str] = []

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`. A manager that does not listen is no reason to fail."""
        if self._address is None:
            return
        self._unsent.append("\n".join(lines))
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.connect(self._address)
                while self._unsent:
                    client.send(self._unsent[0].encode())
                    self._unsent.pop(0)
        except BlockingIOError:
            # It does not read just now, and this is the event loop: nobody waits for it here. Signs of life
            # and status lines come again by themselves, the rest is sent with them.
            self._unsent = [each for each in self._unsent if not each.startswith(("WATCHDOG=", "STATUS="))]
            self._status = ""
        except OSError as error:
            self._unsent.clear()
            log.debug("the service manager does not listen", reason=str(error))

    def ready(self) -> None:
        """Every task is at work."""
        self._serving = True
        self.send("READY=1")

    def starting(self, text: str) -> None:
        """The start takes longer, and why. The manager gives it `START_GRACE` seconds more from now on."""
        self.send(f"EXTEND_TIMEOUT_USEC={START_GRACE * 1_000_000}", f"STATUS={text}")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """The configuration is read again. With the time, as `Type=notify-reload` wants it."""
        if self._serving:  # before, READY=1 would be a lie; afterwards, it would take back STOPPING=1
            self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        yield
        if self._serving:
            self.send("READY=1")

    def stopping(self) -> None:
        """The drain has begun."""
        self._serving = False
        self.send("STOPPING=1", "STATUS=finishing what is under way")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; told only when it changes."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")


async def watchdog(notifier: Notifier, clock: Clock, seconds: float, alive: Callable[[], str | None]) -> None:
    """Feed the watchdog while the daemon makes progress.

    seconds: systemd's limit; a quarter of it is our pace, since a sign may get lost. alive: None
    while all is well, else what stands still: then the watchdog is not fed, and systemd restarts us.
    ESI's health is no part of that.
    """
    silent = ""
    while True:
        still = alive()
        if still is None:
            notifier.send("WATCHDOG=1")
        elif still != silent:
            log.error("no progress; the watchdog is not fed", task=still)
        silent = still or ""
        await clock.sleep(seconds / 4)


async def tell_status(notifier: Notifier, clock: Clock, text: Callable[[], str]) -> None:
    """Keep the status line up to date."""
    while True:
        notifier.status(text())
        await clock.sleep(5.0)
