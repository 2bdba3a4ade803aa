"""The pool of details: reserved in chunks, about one write a second at full pace, used up in memory.

The detail bucket belongs to the whole address; it is the scarcest thing we have. A chunk has a short life, so
that a crash keeps what it held out of the window for that much longer and no more.
"""

from __future__ import annotations

import asyncio

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import WaitsFor
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.windows import (
    FLOOR,
    LONGEST_LIFE,
    LOOKS,
    MARGIN,
    WORST_PRICE,
    Bucket,
    Chunk,
    RouteLimit,
    kept,
    worst_price,
)
from killsyncd.esi.responses import RateLimited
from killsyncd.esi.signal import Condition

FIRST_CHUNK = 50
RECHECK = 2.0
"""Requests in flight, here or in another daemon, give tokens back before they were expected: look again
after so many seconds."""


def limited(
    time: ServerTime,
    group: str,
    until: float,
    why: str,
    *,
    dry: bool = False,
    waits_for: WaitsFor = WaitsFor.BUDGET,
    tokens_at: float | None = None,
) -> RateLimited:
    """Not before `until` (ESI's clock, as tokens_at)."""
    return RateLimited(
        f"{why}: {group}",
        time.to_wall(until) + 0.01,
        "nothing to do: it goes on by itself",
        group=group,
        dry=dry,
        waits_for=waits_for,
        tokens_at=None if tokens_at is None else time.to_wall(tokens_at),
    )


def life_of(window: float) -> float:
    """Seconds in which a chunk of such a window must be sent."""
    return min(LONGEST_LIFE, max(2.0, window / 60))


def _keep(heavy: bool, limit: int) -> float:
    """The part of the window (0..1) that heavy or light sources leave alone."""
    if heavy:
        return FLOOR
    return LOOKS if limit >= 100 * WORST_PRICE else 0.0


LOOK_EVERY = 15.0
"""Seconds between two requests that are only to tell what ESI counts (see ReservationRequest.look)."""


class DetailPool:
    """Chunks of the detail bucket."""

    def __init__(
        self, accounting: RateLimitAccounting, time: ServerTime, clock: Clock, changes: Condition
    ) -> None:
        self._accounting = accounting
        self._time = time
        self._clock = clock
        self._changes = changes
        self._chunks: list[Chunk] = []
        self._retired: list[Chunk] = []  # nothing more is taken from them, but something is in flight
        self._heard: tuple[int, float] = (0, float("-inf"))
        self._want = FIRST_CHUNK
        self._granted_at = 0.0
        self._looked_at = float("-inf")
        self._dry: dict[bool, tuple[float, float]] = {}
        self._settled = 0
        self._refilling = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None

    def holds_more_than(self, tokens: int) -> bool:
        """Whether more than so many tokens are in hand that no request holds."""
        for chunk in self._chunks:
            tokens -= chunk.granted - chunk.used - chunk.held
            if tokens < 0:
                return True
        return False

    @property
    def newest(self) -> float:
        """Monotonic seconds of the latest reservation that is in hand."""
        return self._chunks[-1].granted_at if self._chunks else 0.0

    @property
    def busy(self) -> bool:
        """Whether chunks are out that will have to be settled."""
        return bool(self._chunks)

    def hear(self, used: int, sent: float) -> None:
        """ESI said how much of the bucket is used, in an answer to a request of that moment (monotonic)."""
        if sent >= self._heard[1]:
            self._heard = (used, sent)

    def _at_most(self, limit: int, keep: float, now: float) -> int:
        """What ESI's own count leaves, if it is fresh: somebody else may be spending from this bucket.

        What we have out counts whole, since that count may not know of it yet. A count older than MARGIN
        is left aside: tokens that came back meanwhile would be missing.
        """
        used = self._fresh_count(now)
        if used is None:
            return limit
        out = sum(chunk.granted - chunk.used for chunk in (*self._chunks, *self._retired))
        return limit - kept(limit, keep) - used - out

    def _fresh_count(self, now: float) -> int | None:
        used, sent = self._heard
        return used if now - sent <= MARGIN else None

    def left(self, limit: int) -> int:
        """What ESI's own count leaves, if it is fresh; else the whole limit, which says nothing."""
        return limit - (self._fresh_count(self._clock.monotonic()) or 0)

    def handed_out(self, holds: int) -> int:
        """Requests that hold tokens: in flight, or about to be sent."""
        return sum(chunk.held for chunk in (*self._chunks, *self._retired)) // holds

    def take(self, count: int, heavy: bool, known: RouteLimit) -> list[Chunk]:
        """Hold the worst price for up to `count` requests; the chunks it is held in."""
        now, holds = self._clock.monotonic(), worst_price(known.tokens)
        held: list[Chunk] = []
        for chunk in tuple(self._chunks):
            if chunk.over(now, holds):
                self.settle(chunk)
            elif self._usable(chunk, now, heavy, known.window):
                while len(held) < count and chunk.free >= holds:
                    chunk.hold(holds)
                    held.append(chunk)
        return held

    def _usable(self, chunk: Chunk, now: float, heavy: bool, window: float) -> bool:
        # The last quarter of its life is for sending what was handed out.
        return now <= chunk.send_by - life_of(window) / 4 and not (heavy and chunk.last_part)

    def refill_ahead(self, bucket: Bucket, count: int, heavy: bool, known: RouteLimit) -> None:
        """Get the next chunk while the last of this one is being used."""
        if self._ahead is None or self._ahead.done():
            self._ahead = asyncio.ensure_future(self._refill_quietly(bucket, count, heavy, known))

    async def _refill_quietly(self, bucket: Bucket, count: int, heavy: bool, known: RouteLimit) -> None:
        try:
            await self.refill(bucket, count, heavy, known, sure=True)
        except (RateLimited, Unavailable):
            return  # whoever needs the tokens asks again and is told
        self._changes.notify()

    async def refill(self, bucket: Bucket, count: int, heavy: bool, known: RouteLimit, *, sure: bool) -> None:
        """Reserve, unless there is something to take. sure: False reserves for one request alone.

        Raises RateLimited, Unavailable.
        """
        async with self._refilling:
            now, holds = self._clock.monotonic(), worst_price(known.tokens)
            usable = (each for each in self._chunks if self._usable(each, now, heavy, known.window))
            if any(chunk.free >= holds for chunk in usable):
                return
            self._raise_if_dry(bucket, heavy, now)
            life, settled, keep = life_of(known.window), self._settled, _keep(heavy, known.tokens)
            at_most = self._at_most(known.tokens, keep, now)
            if at_most < holds and known.tokens >= 2 * holds:
                raise self._nothing_left(bucket, self._time.not_after() + MARGIN)
            grant = await self._accounting.reserve(
                bucket,
                want=min(self._next_want(count, known.tokens, now), max(holds, at_most)) if sure else holds,
                least=holds,
                keep=keep,
                limit=known.tokens,
                window=known.window,
                life=life,
                look=now - self._looked_at >= LOOK_EVERY,
            )
            if not grant.tokens:
                if settled == self._settled:  # else tokens came back meanwhile: the next one asks again
                    self._dry[heavy] = (now + RECHECK, grant.next_at)
                raise self._nothing_left(bucket, grant.next_at)
            now = self._clock.monotonic()
            if grant.used > known.tokens - kept(known.tokens, keep):
                self._looked_at = now
            # What a look was granted lies in the last part, too, and is for whoever looks.
            last_part = not heavy and grant.used > known.tokens - kept(known.tokens, FLOOR)
            self._chunks.append(Chunk(grant, bucket, granted_at=now, send_by=now + life, last_part=last_part))
            self._granted_at = now

    def _raise_if_dry(self, bucket: Bucket, heavy: bool, now: float) -> None:
        """Don't ask the database again before it can have something."""
        for each in {heavy, False}:  # where light sources got no tokens, heavy ones will not either
            recheck_at, next_at = self._dry.get(each, (0.0, 0.0))
            if now < recheck_at and next_at > self._time.not_after():
                raise self._nothing_left(bucket, next_at)

    def _nothing_left(self, bucket: Bucket, next_at: float) -> RateLimited:
        until = min(next_at, self._time.not_after() + RECHECK)
        return limited(self._time, bucket.group, until, "no tokens left", dry=True, tokens_at=next_at)

    def _next_want(self, count: int, limit: int, now: float) -> int:
        """About a second's worth: twice as much where the last chunk was gone sooner."""
        lasted = now - self._granted_at
        if lasted < 1.0:
            self._want *= 2
        elif lasted > 4.0:
            self._want = max(FIRST_CHUNK // 5, self._want // 2)
        holds = worst_price(limit)
        most = max(holds, limit // 10)
        self._want = min(self._want, most)
        return min(most, max(self._want, count * holds))

    def over(self, chunk: Chunk, holds: int) -> bool:
        """Whether a chunk whose last request is over can be settled."""
        if chunk.held:
            return False
        return chunk not in self._chunks or chunk.over(self._clock.monotonic(), holds)

    def settle(self, chunk: Chunk) -> None:
        """Have the database told what was used of it. Also for reservations that are not of this pool."""
        for chunks in (self._chunks, self._retired):
            if chunk in chunks:
                chunks.remove(chunk)
        if chunk.free:
            self._settled += 1
            self._dry.clear()
        self._accounting.bill(chunk)

    def retire(self) -> None:
        """Hand out nothing more of what is in hand; requests in flight settle their part."""
        chunks, self._chunks = self._chunks, []
        self._dry.clear()
        for chunk in chunks:
            if chunk.held:
                self._retired.append(chunk)
            else:
                self._accounting.bill(chunk)

    def sweep(self, known: RouteLimit) -> None:
        """Settle chunks whose time is over."""
        now = self._clock.monotonic()
        for chunk in tuple(self._chunks):
            if chunk.over(now, worst_price(known.tokens)):
                self.settle(chunk)

    async def close(self) -> None:
        """Everything unused goes back with the next flush."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)
        self.retire()
