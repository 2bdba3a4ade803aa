"""What the use cases need of the database; `storage/repositories` fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from killsyncd.core.background import TaskState
from killsyncd.core.model import Origin, Queued, QueueDepth, QueuedSource, SourceKind, User, UserState
from killsyncd.core.read_model import MailValue, SystemFacts, TypeFacts
from killsyncd.core.sources import SourceView
from killsyncd.service.health import UserTrouble, WaitingList
from killsyncd.service.measures import Measures
from killsyncd.service.results import Explained, Failed, FeedLine, Unreadable, Verified, VerifiedCorporation
from killsyncd.sync.batch import Arrival, Stored


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """What the database knows for `status`, from one snapshot. Times in seconds since 1970.

    producer_*: None where it never ran. daemons: how many are alive on this database.
    ready: users who can be synced; holding: those of them whose access token has not ended.
    waiting: lists that wait, the longest wait first. retrying: killmails that failed and wait for their
    next attempt, the first of which comes at next_retry_at. unread: lists that were read before and have
    nobody who reads them now. tasks: what one daemon does for all.
    """

    now: float
    users: int
    ready: int
    first_user_at: float | None
    troubles: tuple[UserTrouble, ...]
    users_by_state: Mapping[UserState, int]
    switches: Mapping[str, float]
    pending: int
    oldest_pending_at: float | None
    quarantined: int
    quarantined_since: float | None
    revocations: int
    producer_last_at: float | None
    producer_last_queued: int
    producer_next_at: float | None
    producer_running: bool
    feed_cursor: str
    daemons: int
    holding: int = 0
    waiting: tuple[WaitingList, ...] = ()
    retrying: int = 0
    next_retry_at: float | None = None
    unread: tuple[SourceView, ...] = ()
    tasks: tuple[TaskState, ...] = ()

    @classmethod
    def unknown(cls, now: float) -> StatusFacts:
        """What can be said without a database."""
        return cls(
            now=now,
            users=0,
            ready=0,
            first_user_at=None,
            troubles=(),
            users_by_state={},
            switches={},
            pending=0,
            oldest_pending_at=None,
            quarantined=0,
            quarantined_since=None,
            revocations=0,
            producer_last_at=None,
            producer_last_queued=0,
            producer_next_at=None,
            producer_running=False,
            feed_cursor="",
            daemons=0,
        )


@dataclass(frozen=True, slots=True)
class LoggedOutUser:
    """A user who was logged out. revocation_id: the revocation to work off, None where there was no grant."""

    revocation_id: int | None
    erased_killmails: int
    erased_pending: int


class OperationsRows(Protocol):
    """What only `Operations` asks of the database."""

    async def status_facts(self) -> StatusFacts: ...

    async def set_switch(self, name: str, *, on: bool) -> bool:
        """Turn a switch; False where it stood so already."""

    async def unreadable(self, limit: int) -> list[Unreadable]:
        """Entries of lists that were set aside, the latest first."""

    async def failed(self, limit: int) -> list[Failed]:
        """Quarantined mails, the newest first."""

    async def verify(self, user_ids: Sequence[str]) -> list[Verified]: ...
    async def verify_corporations(self) -> list[VerifiedCorporation]: ...

    async def explain(self, killmail_id: int) -> Explained: ...

    async def logout(self, user_id: str, *, erase: bool) -> LoggedOutUser | None:
        """Forget the tokens, leaving a pending revocation; erase: what only this user brought too.

        One transaction.
        """

    async def feed_start(self, after: str | None) -> int:
        """The position a cursor stands for, or the feed's end. Raises BadInput."""

    async def feed_after(self, position: int, limit: int, *, fresh_only: bool) -> tuple[list[FeedLine], int]:
        """Mails after a position in order, and the position that was looked at up to."""


class UserRows(Protocol):
    """Users in the database."""

    async def all(self) -> list[User]: ...
    async def get(self, user_id: str) -> User | None: ...
    async def find(self, words: str) -> list[User]: ...
    async def pause(self, user_id: str, *, paused: bool) -> bool: ...
    async def queue(
        self,
        user_ids: Sequence[str],
        priority: int,
        origin: Origin,
        *,
        skip_within: float | None = None,
        full: bool = False,
    ) -> list[Queued]: ...


class SourceRows(Protocol):
    """Sources in the database."""

    async def all(self, kind: SourceKind | None = None) -> list[SourceView]:
        """Every source, or those of a kind."""

    async def npc_corporations(self) -> list[SourceView]:
        """NPC corporations that pilots of ours are in, and why their lists are not read."""

    async def some(self, source_ids: Sequence[int]) -> list[SourceView]:
        """These sources, by kind."""

    async def find(self, words: str, kind: SourceKind | None = None) -> list[SourceView]:
        """Sources by the id of their subject, or its name (any case)."""

    async def of_killmails(self, killmail_ids: Sequence[int]) -> dict[int, list[int]]:
        """Through which sources each of these mails came: ids of sources."""

    async def queue(
        self,
        source_ids: Sequence[int],
        priority: int,
        origin: Origin,
        *,
        skip_within: float | None = None,
        full: bool = False,
    ) -> list[QueuedSource]:
        """Ask for syncs of lists in one transaction, in the order given."""

    async def pause(self, source_id: int, *, paused: bool) -> bool:
        """Stop or restart one source that is no pilot's own list; False: no change."""


class RetryRows(Protocol):
    """The ledger, as far as `retry` goes."""

    async def retry(self, ids: Sequence[int] | None = None) -> list[int]: ...


class RetryNames(Protocol):
    """The names table, as far as `retry` goes."""

    async def retry(self) -> int:
        """Ask for every missing name again at once; answers how many there are."""


class QueueDepthRows(Protocol):
    """The queue of sync requests."""

    async def depths(self) -> list[QueueDepth]:
        """Every queue: the first is that of pilots' lists."""


@dataclass(frozen=True, slots=True)
class OperationsStorage:
    """The database, as far as `Operations` uses it."""

    rows: OperationsRows
    users: UserRows
    sources: SourceRows
    ledger: RetryRows
    names: RetryNames
    queue: QueueDepthRows


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A stored mail as ESI sent it."""

    killmail_id: int
    killmail_hash: str = field(repr=False)
    raw: bytes = field(repr=False)


class ImportExportRows(Protocol):
    """The database, for exports and imports."""

    async def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None
    ) -> list[StoredDocument]:
        """The next mails with a higher id, in order of ids; empty when there is none. since: of the kill."""

    async def ids_of(self, character_id: int, after: int, limit: int) -> list[int]:
        """Mails with a higher id that a character is on, on either side, in order of ids."""

    async def documents_of(self, ids: Sequence[int], since: datetime | None = None) -> list[StoredDocument]:
        """The first of these mails, in order of ids; empty when there is none. since: of the kill."""

    async def names(self, ids: Sequence[int]) -> dict[int, str]:
        """Names that are resolved."""

    async def values(self, ids: Sequence[int]) -> dict[int, MailValue]:
        """What mails were worth, as far as they are valued."""

    async def systems(self, ids: Sequence[int]) -> dict[int, SystemFacts]:
        """What the static data say of systems."""

    async def types(self, ids: Sequence[int]) -> dict[int, TypeFacts]:
        """What the static data say of types."""

    async def import_source(self) -> int:
        """The source that stands for files."""

    async def import_mails(
        self, source_id: int, arrivals: Sequence[Arrival], names: Sequence[int], at: float
    ) -> Stored:
        """Store mails that are not stored; one transaction."""


class MeasuredRows(Protocol):
    """The database, for the metrics."""

    async def measure(self) -> Measures: ...
