"""How far a subject's list at zKillboard has been read, and when it is read again. Pure rules, no clock.

A list is up to a hundred pages of 200, newest first. The first walk reads all of them, the following ones
stop at a page whose every mail this source has listed before. A mail that somebody posts years late stands
deep in the list: the stream tells of it, and once a week every page is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

MOST_PAGES = 100
"""zKillboard has no more pages of a list."""

OLDEST_ANSWER = 3600.0
"""Seconds by which an answer may lag behind what is posted: a list is cached for up to an hour, and mails of
the last 300 s are not in it."""

KEEP = 3600.0
"""Seconds for which an answer is kept: no page is asked for again before (zKillboard's peers do the same)."""

MAPPING = 300.0
"""Seconds after which the reader of the stream certainly looks for a subject that is to be looked for."""

WITH_STREAM = 86_400.0
"""Seconds between two walks while the live stream tells what is new."""

FULL_EVERY = 7 * 86_400.0
"""Seconds after which every page is read again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How reading fits in with the rest of a daemon. listed: told of a source that waits for mails. paused:
    whether nothing shall be asked."""

    listed: Callable[[int], None]
    paused: Callable[[], bool]


class EntityKind(StrEnum):
    """What a list is about. The values stand in the database."""

    CHARACTER = "character"
    CORPORATION = "corporation"


@dataclass(frozen=True, slots=True)
class Subject:
    """A pilot or corporation and how far its list was read. Times in seconds since 1970.

    source_id: its source (kind `zkillboard`). next_page: of the walk that began at walk_at, None while none
    is under way. whole_at: when the last walk that came to its end began; full_at: when one did that read
    every page. unbroken_at: since when the stream was read without a gap; watched_at: since when this subject
    is looked for in it; None: it is not. failures: in a row. listed: whether it ever brought a mail.
    """

    source_id: int
    entity: EntityKind
    entity_id: int
    next_page: int = 1
    walk_at: float | None = None
    whole_at: float | None = None
    full_at: float | None = None
    unbroken_at: float | None = None
    watched_at: float | None = None
    failures: int = 0
    listed: bool = False


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of a list. entries: id and hash of each mail; bad: entries that could not be read."""

    entries: Sequence[tuple[int, str]]
    bad: int = 0

    @property
    def empty(self) -> bool:
        """Whether it is the end of the list: nothing stands on it, nothing unreadable either."""
        return not self.entries and not self.bad


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a subject stands after a page. wait: seconds until its next page may be asked for."""

    subject: Subject
    ended: bool
    wait: float


def known_until(subject: Subject, read_at: float | None) -> float | None:
    """Up to when what is posted at zKillboard about a subject is known here; None: not yet.

    read_at: when the stream was last read to its end.
    """
    if subject.whole_at is None:
        return None
    until = subject.whole_at - OLDEST_ANSWER
    return max(until, read_at) if read_at is not None and _joined(subject, until) else until


def after_page(subject: Subject, page: ListedPage, *, new: int, at: float) -> Progress:
    """What a page means. new: its mails that this source had not listed; at: when it came."""
    walk_at = at if subject.walk_at is None or subject.next_page == 1 else subject.walk_at
    full = subject.full_at is None or not 0.0 <= walk_at - subject.full_at < FULL_EVERY
    last = page.empty or subject.next_page >= MOST_PAGES
    known = subject.whole_at is not None and not full and new == 0 and not page.bad
    if not last and not known:
        return Progress(
            replace(subject, next_page=subject.next_page + 1, walk_at=walk_at, failures=0), False, 0.0
        )
    done = replace(
        subject,
        next_page=1,
        walk_at=None,
        whole_at=walk_at,
        full_at=walk_at if last else subject.full_at,
        failures=0,
    )
    # What came between the beginning of the stream and the age of that answer is in the next one.
    wait = WITH_STREAM if _joined(done, walk_at - OLDEST_ANSWER) else KEEP
    return Progress(done, True, wait)


def _joined(subject: Subject, until: float) -> bool:
    """Whether the stream goes on from where the list ends, without a gap between."""
    if subject.unbroken_at is None or subject.watched_at is None:
        return False
    return max(subject.unbroken_at, subject.watched_at + MAPPING) <= until
