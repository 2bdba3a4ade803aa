"""The nouns of the field, as plain values. Knows nobody."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

PRIORITY_LOGIN = 8
PRIORITY_MANUAL = 5
PRIORITY_PRODUCER = 3

HEAVY_PENDING = 50
"""A source with more mails pending than this leaves the last part of the window to the others."""

WAIT_LASTS = 60.0
"""Seconds after which a wait for ESI's budget that was not met again counts as over."""

FRESH_SECONDS = 3600.0
"""A mail is fresh when it was at most this old when first listed."""


class UserState(enum.StrEnum):
    """What stands between a user and being synced. `paused` lies over the others."""

    OK = "ok"
    NEEDS_LOGIN = "needs_login"
    OWNER_CHANGED = "owner_changed"
    SCOPE_MISSING = "scope_missing"
    LEFT = "left"
    PAUSED = "paused"


REMEDIES = {
    UserState.OK: "",
    UserState.NEEDS_LOGIN: "log this character in again: killsyncd login",
    UserState.OWNER_CHANGED: "the character was transferred; its new owner logs in: killsyncd login",
    UserState.SCOPE_MISSING: "log in again and leave the killmail scope ticked: killsyncd login",
    UserState.LEFT: "nothing to do; a new login has it synced again: killsyncd login",
    UserState.PAUSED: "killsyncd ctl resume --user NAME",
}


class SyncMode(enum.StrEnum):
    """How far a sync walks a list."""

    INCREMENTAL = "INCREMENTAL"
    FIRST_SYNC = "FIRST_SYNC"
    FULL_SYNC = "FULL_SYNC"

    @property
    def label(self) -> str:
        """As the console shows it, e.g. `[FIRST SYNC]`."""
        return f"[{self.value.replace('_', ' ')}]"


class WaitsFor(enum.StrEnum):
    """What keeps a sync request or a killmail waiting. The values are public (`ctl status`, GraphQL)."""

    CACHE = "cache"
    """ESI's answer is cached: asking before its `Expires` is forbidden."""
    UNANSWERED = "unanswered"
    """ESI was asked and did not answer: it may have cached an answer, so it is asked again after that."""
    EARLIER_LIFE = "earlier_life"
    """It was, or may have been, asked before the pilot was erased or a backup was restored."""
    BUDGET = "budget"
    """ESI's rate limit: the window is spent and returns tokens."""
    BLOCKED = "blocked"
    """ESI asked us to wait (429)."""
    ERROR_LIMIT = "error_limit"
    """ESI's error limit (420) shuts every route."""
    DOWNTIME = "downtime"
    """EVE or ESI is down."""
    CLOCK = "clock"
    """This machine's clock is wrong, and ESI may not be asked for the time yet."""
    RETRY = "retry"
    """An attempt failed; the next one comes after a pause."""


class Origin(enum.StrEnum):
    """Who asked for a sync."""

    LOGIN = "login"
    MANUAL = "manual"
    PRODUCER = "producer"
    ACTIVE = "active"
    """The producer, sooner than its interval: the list showed a fresh kill lately."""
    MESSAGE = "message"


class SourceKind(enum.StrEnum):
    """What kind of list, or file, brings killmails. The values stand in the database and in `ctl explain`."""

    CHARACTER = "character"
    """A character's list at ESI."""
    CORPORATION = "corporation"
    """A corporation's list at ESI."""
    ZKILLBOARD = "zkillboard"
    """What zKillboard says a character or a corporation took part in."""
    IMPORT = "import"
    """Files that somebody imported."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that brings killmails. subject_id: EVE's id of the character or corporation; imports: 0."""

    kind: SourceKind
    subject_id: int


@dataclass(frozen=True, slots=True)
class Affiliation:
    """The corporation that ESI says a character is in."""

    character_id: int
    corporation_id: int


@dataclass(frozen=True, slots=True)
class User:
    """A pilot who logged in. `id` is opaque and never the character's."""

    id: str
    character_id: int
    character_name: str
    state: UserState
    state_reason: str | None
    paused: bool
    last_killmail_sync_at: datetime | None
    last_killmail_id: int | None
    expires_at: datetime | None
    created_at: datetime
    pending: int = 0
    source_id: int | None = None

    @property
    def shown_state(self) -> UserState:
        """The state as users see it: a paused user who could sync shows as paused."""
        return UserState.PAUSED if self.paused and self.state is UserState.OK else self.state


@dataclass(frozen=True, slots=True)
class Queued:
    """What came of asking for a user's sync. reason: why not, or what it waits for.

    plain_at: when a plain request takes this user again; None where it does. list_at: when the list may be
    asked; None: at once.
    """

    user: User
    mode: SyncMode | None
    queued: bool
    reason: str | None
    plain_at: datetime | None = None
    list_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueuedSource:
    """What came of asking for a source's sync. reason: why not, or what it waits for.

    name: of its subject, None until it is known. via: the name of the pilot whose token reads it.
    last_sync_at: of the one before. plain_at, list_at: as in `Queued`.
    """

    source: Source
    name: str | None
    via: str | None
    mode: SyncMode | None
    queued: bool
    reason: str | None
    last_sync_at: datetime | None = None
    plain_at: datetime | None = None
    list_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed sync request: sync this source now. Times in seconds since 1970.

    source_id: the source's row. subject_name: of what its list is of, None until it is known. user_id,
    character_id, character_name: who lends the access token. last_killmail_id: of the source.
    start: what the claim read besides (`sync.job_start.JobStart`), None where it read nothing more.
    """

    source_id: int
    source: Source
    user_id: str
    character_id: int
    character_name: str
    mode: SyncMode
    priority: int
    origin: Origin
    queued_at: float
    attempts: int
    version: int
    last_killmail_id: int | None
    subject_name: str | None = None
    start: object | None = field(default=None, compare=False, repr=False)


class Doubt(enum.StrEnum):
    """Why a walk that came to its end is no proof that the list is complete: what an answer lacked."""

    UNCHANGED = "unchanged"
    """A page was answered 304: what ESI sent before stands, and of today it says nothing."""
    LENGTH = "length"
    """The first page did not say how many there are (`X-Pages`)."""
    AGE = "age"
    """The first page did not say how old it is (`Expires`, `Last-Modified`)."""
    GENERATION = "generation"
    """One page of several did not say of which list it is (`Last-Modified`)."""
    NO_LIST = "no_list"
    """404, although this source has listed mails that must still stand there."""
    CACHED = "cached"
    """A page behind the first was passed: ESI forbids to ask for it for unusually long (`Expires`)."""


@dataclass(frozen=True, slots=True)
class PageState:
    """What we know of one page of one source's list. Times are ESI's, in seconds since 1970.

    body_at: when its entries were last sent. not_before: another reason not to ask before then: it was
    asked for before an erase or a restore. gone_at: since when ESI says that there is no such page; 0: it
    does not.
    """

    page: int
    etag: str | None
    last_modified: str | None
    expires_at: float
    asked_at: float
    answered_at: float
    pages: int
    body_at: float = 0.0
    not_before: float = 0.0
    gone_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Walk:
    """One way through the pages of a source; it goes on where it stopped.

    made_at: when ESI made this list, by its clock. doubt: why the walk vouches for nothing.
    """

    id: int
    source_id: int
    mode: SyncMode
    next_page: int
    pages: int
    last_modified: str | None
    torn: bool
    started_at: float
    listed: int
    new: int
    made_at: float | None = None
    doubt: Doubt | None = None


QUARANTINE_SECONDS = 86_400.0
"""After so long a quarantined mail is tried once more by itself, for as long as ESI lists it."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A mail that is wanted and not stored yet."""

    killmail_id: int
    killmail_hash: str = field(repr=False)
    attempts: int
    refusals: int
    first_listed_at: float


@dataclass(frozen=True, slots=True)
class PendingOf:
    """What one source waits for: the newest mails to fetch now; how many in all, or at least so many.

    heavy: it leaves the last part of the window to the others however few they are.
    """

    refs: list[Ref]
    total: int
    weight: int
    heavy: bool = False


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail that a batch has just stored: what the console and the feed say of it."""

    killmail_id: int
    feed_position: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class ProducerState:
    """When the producer ran and may run again. Seconds since 1970, by the database's time (`now`)."""

    last_run_at: float | None
    last_finished_at: float | None
    last_queued: int
    next_run_at: float
    holder: str | None
    now: float


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The queue from outside."""

    name: str
    messages: int
    working: int
    by_priority: dict[int, int]


@dataclass(frozen=True, slots=True)
class DetailsWait:
    """Why killmails that could be fetched are not.

    until: seconds since 1970 by this machine's clock. seen_at: monotonic seconds; what was not met again
    for a minute is over. heavy: only sources with much pending wait, which leave the window's last part to
    the others.
    """

    waits_for: WaitsFor
    reason: str
    until: float
    seen_at: float
    heavy: bool = False

    def holds(self, monotonic: float) -> bool:
        """Whether it is still so. Tokens come back one by one: what was dry within the last minute is dry."""
        return monotonic - self.seen_at < WAIT_LASTS


@dataclass(frozen=True, slots=True)
class Problem:
    """Why it does not sync. `code` is stable, `remedy` is what to do.

    source: the source that is not synced; None where a grant is in trouble, or the whole daemon.
    character_id: of the grant, or of the grant by which the source is read; None for the daemon.
    """

    code: str
    reason: str
    remedy: str
    since: float
    character_id: int | None = None
    source: Source | None = None

    @property
    def key(self) -> tuple[str, int | None, Source | None]:
        """What is in trouble, and how: two problems of one key are the same."""
        return self.code, self.character_id, self.source
