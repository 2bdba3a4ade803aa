"""What the control socket's server needs of the database by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Backup(Protocol):
    """A backup that waits to be sent (`storage/sqlite/backup.py`); the server knows no storage."""

    @property
    def size(self) -> int:
        """Of the whole, in bytes."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The whole, piece by piece."""
