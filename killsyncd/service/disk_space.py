"""Free space on the database's disk, without which the work pauses."""

from __future__ import annotations

import shutil
from pathlib import Path

from killsyncd.core.events import Events
from killsyncd.core.text import size
from killsyncd.service.health import Health

LEAST_FREE = 64 * 2**20
"""Bytes on the database's disk below which work pauses: SQLite must still be able to fold its WAL away."""

ENOUGH_FREE = 96 * 2**20


class DiskSpace:
    """The database's disk. Too little of it pauses the work instead of failing it."""

    def __init__(self, folder: Path | None, health: Health, events: Events) -> None:
        """folder: None where the database lies elsewhere."""
        self._folder = folder
        self._health = health
        self._events = events
        self.low = False

    def look(self) -> None:
        """Measure, report, and wake whoever waits for it."""
        if self._folder is None:
            return
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return
        low = free < (ENOUGH_FREE if self.low else LEAST_FREE)
        if low:
            self._health.report(
                "disk_low",
                f"{size(free)} are free on the disk of {self._folder}; work goes on from {size(ENOUGH_FREE)}",
                f"free {size(max(0, ENOUGH_FREE - free))} at the least on the disk of {self._folder}; "
                "work goes on by itself",
            )
        else:
            self._health.clear("disk_low")
        if low is not self.low:
            self.low = low
            self._events.tell("switches")
