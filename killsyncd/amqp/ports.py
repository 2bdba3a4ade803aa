"""What RabbitMQ's side needs of the queue's rows. Every method raises Unavailable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from killsyncd.sync.job_source import Announcement, WakeupMessage, WakeupResult
from killsyncd.sync.ports import SyncRequestRows


class AnnouncedRows(SyncRequestRows, Protocol):
    """The queue's rows and their messages."""

    async def announce(self, limit: int, lost_after: float | None) -> list[Announcement]:
        """Sync requests that need a message, the most urgent first; from now on they count as having one.

        lost_after: seconds after which a message that nobody got counts as lost; None for never.
        """

    async def unannounce(self, source_ids: Sequence[int]) -> None:
        """Their messages did not get out."""

    async def summon(self, summons: WakeupMessage) -> WakeupResult:
        """Do what a message says: request the sync it asks for, and claim what is requested and due."""

    async def due(self) -> int:
        """Sync requests that wait for nothing but somebody to claim them."""
