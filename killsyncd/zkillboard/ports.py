"""What reading zKillboard needs of the database.

Every method raises Unavailable where the database does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from killsyncd.zkillboard.walk import ListedPage, Subject


@dataclass(frozen=True, slots=True)
class PageKept:
    """What became of a page. new: mails that the source had not listed; wanted: those not stored yet."""

    ended: bool
    new: int
    wanted: int


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How far the stream was read. sequence: of the last file; None: never. Times in seconds since 1970."""

    sequence: int | None
    unbroken_at: float | None
    read_at: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A mail of the stream with somebody of ours on it. source_ids: of those subjects."""

    killmail_id: int
    killmail_hash: str
    source_ids: tuple[int, ...]


class ZkillboardRows(Protocol):
    """Subjects, and how far each of them and the stream was read."""

    async def watch(self, *, corporations: bool) -> None:
        """Give everybody a subject who is to be looked for and has none.

        Pilots who have logged out, or were sold, are looked for no more.
        """

    async def watched(self) -> Mapping[int, int]:
        """The id of everybody who is to be looked for, with the source."""

    async def next_subject(self) -> Subject | None:
        """Whose page is to be asked for next; None: nobody's just now."""

    async def next_due(self) -> float | None:
        """Seconds until somebody's page is; None: nobody is there."""

    async def page_read(
        self, subject: Subject, page: ListedPage, at: float, *, streaming: bool
    ) -> PageKept | None:
        """Keep a page: its mails, and how far the subject was read. None: the subject is gone.

        streaming: whether the stream tells what comes next.
        """

    async def subject_failed(self, source_id: int, wait: float, reason: str | None) -> None:
        """A page did not come; the subject is asked for again in `wait` seconds.

        reason: shown as the source's trouble; None: it is none yet.
        """

    async def stream_position(self) -> StreamPosition:
        """How far the stream was read."""

    async def stream_begins(self, sequence: int) -> None:
        """The stream is read from after `sequence` on, with a gap before it: the lists are to fill it."""

    async def stream_read(
        self, sequence: int, found: Sequence[Found], at: float, *, at_end: bool, gap: bool
    ) -> Sequence[int]:
        """Keep what the files up to `sequence` brought; answers the sources with mails that are not stored.

        at_end: there was nothing behind it then. gap: files were missing, and the lists are to fill that.
        """
