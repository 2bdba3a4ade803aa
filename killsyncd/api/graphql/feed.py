"""The live feed for all subscribers: one reader of the database, as many cursors as subscribers.

An event inside the process only says "look". The hub then reads what is new, once, into a
ring of the last mails. Each subscriber walks along the ring by its own cursor, as fast as its
socket takes it; whoever is further behind than the ring reaches reads from the database. So a
slow subscriber costs no memory, and nobody misses a mail or gets one twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from killsyncd.api.graphql.context import ApiServices, Context
from killsyncd.api.graphql.shared_results import FRESH_SECONDS, Event
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.read_model import FeedEpoch, FeedMail, FeedSlice, Mail
from killsyncd.core.retry import retry
from killsyncd.service import parse_cursor

LOOK_AGAIN = 5.0
"""Seconds after which the feed is looked at although nobody said so."""

RETRY = 1.0
"""Seconds until a database that did not answer is asked again."""

_KEPT_BATCHES = 8

_REPLAYED_TOGETHER = 10
"""Mails of a replay that are read at once: what a subscriber who does not read keeps in memory."""

_REPLAYS = 8
"""Replays whose mails stay loaded from one of their mails to the next; others load again."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A mail in the ring. batch: those that were read together share what is loaded for them."""

    feed: FeedMail
    batch: int
    mails: Sequence[Mail]


class _Replay:
    """Mails that one subscriber is behind, and what is loaded for them, if anything is."""

    __slots__ = ("context", "mails")

    def __init__(self, mails: Sequence[Mail]) -> None:
        self.mails = mails
        self.context: Context | None = None


class FeedHub:
    """Reads the feed while there are followers. `run` it for as long as it is used."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._signal = Wakeup()
        self._news = asyncio.Event()
        self._states = StateLog(log)
        self._ring: deque[_Entry] = deque()
        self._contexts: OrderedDict[int, tuple[Context, float]] = OrderedDict()
        self._replays: OrderedDict[_Replay, None] = OrderedDict()
        self._batches = 0
        self._followers = 0
        self._epoch = FeedEpoch("")
        # Everything after `_tail` and up to `_seen` is in the ring; None while nobody follows.
        self._seen: int | None = None
        self._tail = 0

    @property
    def followers(self) -> int:
        """How many follow the feed just now."""
        return self._followers

    def look(self) -> None:
        """Something may be new."""
        self._signal.ring()

    async def run(self) -> None:
        """Read what is new whenever told, and now and then unasked, until cancelled."""
        while True:
            await self._signal.wait(self._services.clock, LOOK_AGAIN)
            try:
                await self._read()
            except Unavailable as error:
                self._states.set("feed", "failing", "the feed cannot be read", reason=error.message)
            except Exception as error:
                # One bad turn must not end the feed for everybody; the cursor has not moved.
                log.exception("reading the feed failed", error)
                await self._services.clock.sleep(RETRY)
            else:
                self._states.set("feed", "ok", "the feed can be read again")

    async def begin(self, after: str | None) -> int:
        """The position to follow from: a feedCursor's, or now. Raises BadInput."""
        point = await self._services.reading.feed_point()
        self._epoch = point.epoch
        if after is None:
            return point.position
        return parse_cursor(after, point)

    async def follow(
        self, position: int, characters: frozenset[int] | None, fresh_only: bool
    ) -> AsyncIterator[Event]:
        """Each mail after a position once, in order, without end. Close it to stop following."""
        self._followers += 1
        try:
            await self._awake()
            while True:
                if position < self._tail:
                    part = await self._replay(position, characters, fresh_only)
                    mails, position = [each.mail for each in part.mails], part.reached
                    del part  # with who is on each mail: a reader who does not read would keep it
                    make = partial(self._replayed, _Replay(mails))
                    for mail in mails:
                        yield Event(mail.feed_position, mail, make)
                    continue
                entries = self._after(position)
                for entry in entries:
                    position = entry.feed.mail.feed_position
                    if wanted(entry.feed, characters, fresh_only):
                        yield Event(position, entry.feed.mail, partial(self._context_of, entry))
                    if position < self._tail:
                        break  # the ring has moved on while the reader took its time
                if not entries:
                    await self._news.wait()
        finally:
            self._followers -= 1
            if not self._followers:
                self._forget()

    async def _awake(self) -> None:
        """Begin to fill the ring, if nobody followed until now. Raises Unavailable."""
        if self._seen is not None:
            return
        now = (await self._services.reading.feed_point()).position
        if self._seen is None:
            self._seen = self._tail = now
            # What was committed while we asked was told to a hub that did not listen yet.
            self._signal.ring()

    async def _replay(self, position: int, characters: frozenset[int] | None, fresh_only: bool) -> FeedSlice:
        """The next stretch from the database; while that is away, wait: the cursor keeps its place."""

        def failed(error: Unavailable, _seconds: float) -> None:
            self._states.set("feed", "failing", "the feed cannot be read", reason=error.message)

        return await retry(
            lambda: self._services.reading.feed_after(
                position, _REPLAYED_TOGETHER, characters=characters, fresh_only=fresh_only
            ),
            on=Unavailable,
            wait=RETRY,
            sleep=self._services.clock.sleep,
            before_wait=failed,
        )

    def _after(self, position: int) -> list[_Entry]:
        found: list[_Entry] = []
        for entry in reversed(self._ring):
            if entry.feed.mail.feed_position <= position:
                break
            found.append(entry)
        found.reverse()
        return found

    async def _read(self) -> None:
        """Take in what is new, batch by batch."""
        while self._seen is not None:
            seen = self._seen
            part = await self._services.reading.feed_after(seen, self._services.limits.replay)
            if self._seen != seen:  # the last follower left meanwhile, or another came
                continue
            self._take(part)
            if len(part.mails) < self._services.limits.replay:
                return

    def _take(self, part: FeedSlice) -> None:
        self._seen = part.reached
        if not part.mails:
            return
        self._batches += 1
        mails = [each.mail for each in part.mails]
        self._ring.extend(_Entry(each, self._batches, mails) for each in part.mails)
        while len(self._ring) > self._services.limits.ring:
            self._tail = self._ring.popleft().feed.mail.feed_position
        self._news.set()
        self._news.clear()

    def _forget(self) -> None:
        self._seen = None
        self._ring.clear()
        for context, _ in self._contexts.values():
            context.close()
        self._contexts.clear()
        for replay in self._replays:
            replay.context = None
        self._replays.clear()

    def _replayed(self, replay: _Replay) -> Context:
        """What is loaded for some mails of a replay, as long as no others need the place."""
        self._replays.pop(replay, None)
        self._replays[replay] = None
        while len(self._replays) > _REPLAYS:
            self._replays.popitem(last=False)[0].context = None
        if replay.context is None:
            replay.context = Context(self._services, self._epoch, mails=replay.mails, shared=True)
        return replay.context

    def _context_of(self, entry: _Entry) -> Context:
        """What is loaded for a batch, for all who come by at about the same time."""
        now = self._services.clock.monotonic()
        known = self._contexts.get(entry.batch)
        if known is not None and now - known[1] <= FRESH_SECONDS:
            return known[0]
        context = Context(self._services, self._epoch, mails=entry.mails, shared=True)
        self._contexts[entry.batch] = (context, now)
        while len(self._contexts) > _KEPT_BATCHES:
            self._contexts.popitem(last=False)
        return context


def wanted(feed: FeedMail, characters: frozenset[int] | None, fresh_only: bool) -> bool:
    """Whether a mail passes a subscriber's filters."""
    if fresh_only and not feed.mail.fresh:
        return False
    return characters is None or not characters.isdisjoint(feed.characters)
