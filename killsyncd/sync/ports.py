"""What the pipeline needs of a database. Storage has the repositories; every signature is said here once.

Every method raises Unavailable where the database does not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from killsyncd.core.model import (
    Affiliation,
    Job,
    Origin,
    PageState,
    PendingOf,
    ProducerState,
    QueuedSource,
    Ref,
    SyncMode,
    WaitsFor,
    Walk,
)
from killsyncd.core.sources import Member, Refusal
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.windows import Settlement
from killsyncd.esi.responses import ResolvedName
from killsyncd.sync.batch import Arrival, Stored
from killsyncd.sync.walk import PageNews, PageWritten, SourceState

NameWaits = tuple[float, float, float, float, float]
"""Seconds until an id without a name is asked for again: after the first time, the second, and so on."""


class SyncRequestRows(Protocol):
    """The queue: one row for each source that is to be synced."""

    async def claim(self, source_id: int | None = None) -> Job | None:
        """Take the most urgent job that is due, or this source's; None when there is none."""

    async def next_due(self) -> float | None:
        """When the next waiting job may be claimed, in seconds since 1970; None without one."""

    async def finish(self, job: Job) -> bool:
        """Acknowledge a job; False where the lease was lost."""

    async def postpone(
        self,
        job: Job,
        not_before: float,
        *,
        attempts: int,
        reason: str | None,
        waits_for: WaitsFor | None = None,
        by: float | None = None,
    ) -> None:
        """Give a job back until then (seconds since 1970); nothing happens where the lease was lost.

        by: what the clock shows that not_before was taken from; None: the database's own.
        """


class WalkLedger(Protocol):
    """The ledger, as whoever reads lists needs it. Times are ESI's, in seconds since 1970."""

    async def source_state(self, source_id: int) -> SourceState | None:
        """None: the source is gone (erased)."""

    async def open_walk(self, source_id: int, mode: SyncMode) -> Walk:
        """The walk under way, or a new one, at least as wide as mode."""

    async def restart_walk(self, walk: Walk, ends_at: int | None = None) -> Walk:
        """Begin again at page 1. ends_at: the list is only so many pages long by now."""

    async def page_state(self, source_id: int, page: int) -> PageState | None:
        """What is known of a page; None when it was never asked for."""

    def asking(self, source_id: int, page: int) -> Alongside:
        """Writes down that a page is about to be asked for, with the reservation of the tokens.

        Raises LeaseLost: don't ask.
        """

    async def write_page(
        self, job: Job, walk: Walk, news: PageNews, max_pages: int, settlement: Settlement | None = None
    ) -> PageWritten:
        """One page in one transaction: what it listed, its validators, the walk's progress, the job's end.

        settlement: what requests have cost, to be written down besides.
        """

    async def page_refused(
        self, source_id: int, page: int, at: float, expires_at: float, *, gone: bool = False
    ) -> None:
        """ESI answered, and with nothing of use. expires_at: its Expires, 0 where it had none. gone: 404."""

    async def torn_in_a_row(self, source_id: int) -> int:
        """How many walks in a row were torn, the last one included."""


class DetailLedger(Protocol):
    """The ledger, as whoever fetches killmails needs it."""

    async def pending_sources(self) -> list[int]:
        """Every source that waits for mails and is not paused."""

    async def pending_of(self, source_id: int, limit: int) -> PendingOf:
        """The newest mails of a source that may be fetched now."""

    async def ripe_sources(self, after: float) -> tuple[list[int], float]:
        """Sources with mails to be tried again since `after`, and the time to pass the next time."""

    async def next_retry(self) -> float | None:
        """When a mail that failed may be tried again, in seconds since 1970."""

    async def claim_refs(self, ids: Sequence[int]) -> set[int]:
        """Take mails for fetching; the answer holds those that nobody else has."""

    async def release_refs(self, ids: Sequence[int]) -> None:
        """Give mails back that were claimed and not fetched."""

    async def revive(self, limit: int) -> int:
        """Put those back that were quarantined a day ago and are still listed; answers how many."""

    async def retry(self, ids: Sequence[int] | None = None) -> list[int]:
        """Put quarantined mails back (all, or these, pending ones included); answers which."""

    async def ref_failed(
        self,
        ref: Ref,
        *,
        reason: str,
        not_before: float,
        attempts: int,
        refusals: int,
        quarantine: bool,
        by: float | None = None,
    ) -> bool:
        """A mail did not come: when to try again, or that a person has to look. by: as in `postpone`.

        False: not recorded. Another daemon has it by now, or another hash will be tried.
        """


class MailStore(Protocol):
    """Where mails are stored."""

    async def store(self, arrivals: Sequence[Arrival], names: Collection[int]) -> Stored:
        """Store what the ledger waits for, in one transaction; names: ids to be named. Raises RowRefused."""


class NameRows(Protocol):
    """The table of names."""

    async def unresolved(self, limit: int) -> list[int]:
        """Ids without a name that may be asked for now."""

    async def next_due(self) -> float | None:
        """When the next id may be asked for, in seconds since 1970."""

    async def resolved(self, names: Sequence[ResolvedName], unknown: Sequence[int], waits: NameWaits) -> None:
        """Write names down, and when to ask again for what ESI does not know. Raises RowRefused."""


class ProducerRunRows(Protocol):
    """When the producer ran, and whose turn it is."""

    async def begin(self, longest: float) -> bool:
        """Take the run that is due. False: it is not due, or another daemon is at it.

        longest: seconds; a next run further away counts as due.
        """

    async def finish(self, queued: int, wait: float) -> None:
        """The run is over; the next one is due in `wait` seconds."""

    async def state(self) -> ProducerState:
        """As the database has it."""


class DueSources(Protocol):
    """Which lists are due, and the way into the queue."""

    async def due(self, before: datetime) -> list[int]:
        """ESI's lists that can be read, were not since `before`, and do not wait already; longest ago
        first."""

    async def active(self, active_for: float, expired_by: float, limit: int) -> list[int]:
        """Lists that showed a fresh kill within `active_for` seconds, whose answer was cached until
        `expired_by` (ESI's clock) at most, and that nobody has asked for; longest ago first."""

    async def next_active(self, active_for: float) -> float | None:
        """Until when the first of those lists is cached, by ESI's clock; None without any."""

    async def queue(
        self,
        source_ids: Sequence[int],
        priority: int,
        origin: Origin,
        *,
        skip_within: float | None = None,
        full: bool = False,
    ) -> list[QueuedSource]:
        """Ask for a sync of each. skip_within: seconds; not of those that were synced since."""


@dataclass(frozen=True, slots=True)
class NewLender:
    """A corporation's list that can be read again. replaced: whether somebody else read it until now."""

    source_id: int
    member: Member
    replaced: bool


class LenderRows(Protocol):
    """Who lends a token to a corporation's list."""

    async def refused(self, source_id: int, user_id: str, refusal: Refusal, words: str) -> float | None:
        """ESI refused the list to this pilot: remember it, and choose another.

        Answers after how many seconds the list may be asked for: 0 with another's token; None with nobody's.
        """

    async def unusable(self, source_id: int) -> float | None:
        """Whoever read the list cannot lend a token any more: choose another. Answers as `refused`."""

    async def accepted(self, source_id: int, user_id: str) -> None:
        """ESI gave the list to this pilot: earlier refusals count no more."""


class CorporationRows(Protocol):
    """Who of our pilots is in which corporation."""

    async def unplaced(self, limit: int, again: float) -> list[int]:
        """Characters whose corporation is to be asked for; nobody else asks for them for `again` seconds."""

    async def next_due(self) -> float | None:
        """After how many seconds somebody's corporation is to be asked for; None without anybody."""

    async def placed(self, found: Sequence[Affiliation], unknown: Sequence[int], wait: float) -> None:
        """ESI said who is in which corporation. unknown: characters that it does not know; wait: seconds
        until they are asked for again."""

    async def without_pilots(self, again: float) -> list[int]:
        """Corporations that none of our pilots is in any more. ESI is to be asked whether they were closed;
        no other daemon gets them for `again` seconds."""

    async def closed(self, corporation_id: int) -> None:
        """ESI says that this corporation was closed."""

    async def settle(self) -> list[NewLender]:
        """Make every corporation of our pilots a source, and see to it that somebody reads each who can.

        Answers those that are read again from now on.
        """


class WaitRows(Protocol):
    """The rows that say when to look again."""

    async def sooner(self, seconds: float) -> None:
        """The clock was put back by so much: what waits by it waits no longer than it was meant to."""

    async def shifted(self, seconds: float) -> None:
        """The clock was set by so much: what webhooks may send, and when, stays where it was meant to be."""

    async def anew(self, longest: float) -> None:
        """Look at every list again that waits without having failed, or for longer than `longest` seconds."""
