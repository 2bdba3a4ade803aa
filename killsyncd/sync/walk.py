"""How a walk goes through the pages of a list: pure rules, no database, no network.

ESI promises no order and mails surface late, so neither the last id nor a short
page ends a walk. Sightings decide: a page is known whole when this source has
listed every entry of it before, and it stops an incremental walk only once this
source has been through an unbroken walk, and not right after a walk that was torn
or given up.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.core.errors import KillsyncdError
from killsyncd.core.model import Doubt, SyncMode, Walk
from killsyncd.esi.responses import SetAside


class LeaseLost(KillsyncdError):
    """Somebody else has the job now, or its source was erased. Nothing of ours was written."""


class Outcome(enum.StrEnum):
    """What becomes of a walk after a page. The values but `GO_ON` are states of the table."""

    GO_ON = "running"
    COMPLETE = "complete"
    """Every page of one generation of the list was seen."""
    STOPPED = "stopped"
    """An incremental walk met a page that was known whole."""
    TORN = "torn"
    """The list changed between two pages: what was seen is kept, but it counts as no whole walk."""
    CUT = "cut"
    """`producer.max_pages` ended it; verify says so."""


@dataclass(frozen=True, slots=True)
class PageNews:
    """What ESI answered for one page. entries is None for 304: unchanged. Times are seconds since 1970.

    made_at: when ESI made the list, None where it did not say. set_aside: entries that cannot be read.
    held: it was not asked for: what ESI has sent of it is still fresh. no_list: 404. passed: it may not be
    asked for, and the walk goes on without it.
    """

    page: int
    entries: Sequence[tuple[int, str]] | None
    etag: str | None
    last_modified: str | None
    expires_at: float
    pages: int | None
    at: float
    made_at: float | None = None
    set_aside: Sequence[SetAside] = ()
    held: bool = False
    no_list: bool = False
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Sighted:
    """Mails on a page: listed; of these new to this source, stored already, failing so far."""

    listed: int = 0
    new: int = 0
    stored: int = 0
    failing: int = 0


@dataclass(frozen=True, slots=True)
class PageWritten:
    """A page as it ended in the ledger. held: False means the lease was lost and nothing was written."""

    held: bool
    outcome: Outcome
    walk: Walk
    expires_at: float
    sighted: Sighted = Sighted()
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class SourceState:
    """What decides how far a sync walks. Times in seconds since 1970, None for never."""

    unbroken_at: float | None
    full_walk_at: float | None


@dataclass(frozen=True, slots=True)
class PageSeen:
    """What the ledger found out about a page while writing it down."""

    page: int
    pages: int
    last_modified: str | None
    known_whole: bool


_WIDTH = {SyncMode.INCREMENTAL: 0, SyncMode.FIRST_SYNC: 1, SyncMode.FULL_SYNC: 2}


def wider(first: SyncMode, second: SyncMode) -> SyncMode:
    """The one that walks further."""
    return max(first, second, key=lambda mode: _WIDTH[mode])


def is_torn(walk: Walk, seen: PageSeen) -> bool:
    """Whether this page belongs to another generation of the list than those before it.

    A 304 without Last-Modified says nothing either way.
    """
    return walk.torn or (
        walk.last_modified is not None
        and seen.last_modified is not None
        and seen.last_modified != walk.last_modified
    )


def doubt_after(walk: Walk, news: PageNews, pages: int) -> Doubt | None:
    """Why this walk vouches for nothing, once it has read this page. pages: how long the list is.

    Whatever vouches must have been in an answer: what it lacks is no value.
    """
    if news.passed:
        return Doubt.CACHED  # before any other: the next walk must not stop ahead of this page
    if walk.doubt is not None:
        return walk.doubt
    if news.entries is None and not news.held:
        return Doubt.UNCHANGED
    if news.page == 1 and news.pages is None:
        return Doubt.LENGTH
    if news.page == 1 and news.made_at is None:
        return Doubt.AGE
    if pages > 1 and news.last_modified is None:
        return Doubt.GENERATION
    return None


def after_page(walk: Walk, seen: PageSeen, *, may_stop: bool, max_pages: int) -> Outcome:
    """Where the walk stands once this page is written down.

    may_stop: this source has finished an unbroken walk once, and the walk before this one came to its end.
    """
    if seen.page >= seen.pages:
        return Outcome.TORN if is_torn(walk, seen) else Outcome.COMPLETE
    if walk.mode is SyncMode.INCREMENTAL and may_stop and seen.known_whole:
        return Outcome.TORN if is_torn(walk, seen) else Outcome.STOPPED
    if seen.page >= max_pages:
        return Outcome.CUT
    return Outcome.GO_ON


def too_close_to_expiry(*, pages_left: int, expires_at: float, now: float) -> bool:
    """Whether the list would change under a walk that has more pages to read.

    ESI renews all pages of a list at once; a walk that starts a moment before is torn
    for sure. Half a second a page is a slow day of ESI; ten seconds are the floor.
    """
    return pages_left > 0 and expires_at > now and expires_at - now < min(10.0, 0.5 * pages_left)
