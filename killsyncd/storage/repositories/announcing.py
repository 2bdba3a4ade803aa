"""The queue's rows and RabbitMQ's messages: which rows need one, and what a message finds.

A want is announced once; again when its priority was raised, when it was given back,
or when its message must have got lost. Marking comes before publishing, so that
several daemons do not announce the same, and is taken back where publishing failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from killsyncd.core.model import Origin, Source, SourceKind, SyncMode
from killsyncd.storage.repositories.sources import queue_source
from killsyncd.storage.repositories.sync_requests import SyncRequests
from killsyncd.storage.repository import reads, writes
from killsyncd.storage.transaction import Many, Run, Store, Tx, as_datetime, one
from killsyncd.sync.job_source import Announcement, WakeupMessage, WakeupResult

NEVER = 1e9
"""Seconds; longer than any message has been on its way, and shorter than the time since 1970."""


class QueueAnnouncements(SyncRequests):
    """The queue's rows of one kind of list, as the side of RabbitMQ that has a queue for it sees them."""

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        kind: SourceKind = SourceKind.CHARACTER,
        second: str | None = None,
        start: Callable[[int, SyncMode, str], Tx[object | None]] | None = None,
    ) -> None:
        super().__init__(store, name, holder, second, start)
        self._kind = kind

    @writes
    def announce(self, limit: int, lost_after: float | None) -> Tx[list[Announcement]]:
        """Wants that need a message, the most urgent first; from now on they count as having one.

        lost_after: seconds after which a message that nobody got counts as lost; None for never.
        """
        stale = NEVER if lost_after is None else lost_after
        values = {"kind": self._kind.value, "stale": stale, "limit": limit}
        rows = yield Run("wants.unannounced", values)
        found = [
            Announcement(
                source_id=int(row["source_id"]),
                user_id=str(row["user_id"]),
                character_id=int(row["character_id"]),
                character_name=str(row["character_name"]),
                mode=SyncMode(row["mode"]),
                priority=int(row["priority"]),
                queued_at=float(row["queued_at"]),
                expires_at=as_datetime(row["expires_at"]),
                last_killmail_id=None if row["last_killmail_id"] is None else int(row["last_killmail_id"]),
                source=Source(SourceKind(row["kind"]), int(row["subject_id"])),
                subject_name=row["subject_name"],
            )
            for row in rows
        ]
        if found:
            yield Many(
                "wants.announced",
                [{"source_id": each.source_id, "priority": each.priority} for each in found],
            )
        return found

    @writes
    def unannounce(self, source_ids: Sequence[int]) -> Tx[None]:
        """Their messages did not get out."""
        yield Many("wants.unannounce", [{"source_id": each} for each in sorted(source_ids)])

    @writes
    def summon(self, summons: WakeupMessage) -> Tx[WakeupResult]:
        """Do what a message says: want what it asks for, and claim what is wanted and due."""
        key = {"kind": self._kind.value, "subject_id": summons.subject_id}
        row = one((yield Run("wants.summoned", key)))
        if row is None:
            return WakeupResult(None, known=False)
        if not summons.ours:
            synced = as_datetime(row["last_sync_at"])
            at = row["full_walk_at"] if summons.full else (synced.timestamp() if synced else None)
            # A sync that ended after the message was queued is the one it asked for.
            if at is None or summons.queued_at is None or float(at) < summons.queued_at:
                yield from queue_source(
                    int(row["source_id"]),
                    summons.priority,
                    Origin.MESSAGE,
                    skip_within=None,
                    full=summons.full,
                )
        job = yield from self.claim.tx(int(row["source_id"]))
        if job is None:
            # What is wanted only later, or of a paused pilot, has no message from now on.
            yield Run("wants.unannounce", {"source_id": int(row["source_id"])})
        return WakeupResult(job)

    @reads
    def due(self) -> Tx[int]:
        """Wants that wait for nothing but somebody to claim them."""
        row = one((yield Run("wants.due", {"kind": self._kind.value})))
        return int(row["n"]) if row is not None else 0
