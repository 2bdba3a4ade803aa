"""Permits to send one request each: the tokens it may cost at worst are reserved, durably, before it goes.

A list reserves for itself. Details reserve in chunks, about one write a second at full pace, and hold and
settle in memory: every request in flight holds the worst price and gives back what it did not cost. What
this process does not live to settle stays spent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from killsyncd.answers import RateLimited
from killsyncd.clock import Clock
from killsyncd.errors import Unavailable
from killsyncd.esi.books import Books
from killsyncd.esi.decoding import read_number
from killsyncd.esi.lessons import Lessons
from killsyncd.esi.routes import DETAIL, ERROR_GROUP, ERROR_WINDOW, ERRORS_A_MINUTE
from killsyncd.esi.servertime import ServerTime
from killsyncd.esi.signal import Signal
from killsyncd.limits import (
    FLOOR,
    Bucket,
    Chunk,
    Observation,
    address_subject,
    character_subject,
    kept,
    price,
    worst_price,
)

FIRST_CHUNK = 50
LONGEST_LIFE = 10.0
"""Seconds in which a chunk must be sent. It bounds how long a crash keeps tokens out."""

RECHECK = 5.0
"""Another daemon may give tokens back before they were expected: look again after so many seconds."""

RETRY_WITHOUT_HEADER = 60.0
LONGEST_RETRY = 3600.0
FEW_ERRORS_LEFT = 20


class Permit:
    """One request may be sent. It holds its worst price until it is answered or released.

    Use each once: pass it to `Door.killmail`, or `release` it unused.
    """

    __slots__ = ("_tokens", "chunk", "heavy", "holds", "open", "route", "window")

    def __init__(
        self, tokens: Tokens, chunk: Chunk, *, route: str, holds: int, window: float, heavy: bool
    ) -> None:
        self._tokens = tokens
        self.chunk = chunk
        self.route = route
        self.holds = holds
        self.window = window
        self.heavy = heavy
        self.open = True
        chunk.hold(holds)

    def release(self) -> None:
        """It was not used: the tokens go back. Safe to call again."""
        self._tokens.end(self, 0)


class Tokens:
    """All buckets of this daemon."""

    def __init__(
        self,
        books: Books,
        lessons: Lessons,
        time: ServerTime,
        clock: Clock,
        news: Signal,
        rng: random.Random,
        *,
        client_id: str,
        egress: str,
    ) -> None:
        """news: notified when tokens came back or a block was set."""
        self._books = books
        self._lessons = lessons
        self._time = time
        self._clock = clock
        self._news = news
        self._rng = rng
        self._client_id = client_id
        self._egress = egress
        self._alone: dict[str, Permit] = {}
        # The pool of details
        self._chunks: list[Chunk] = []
        self._want = FIRST_CHUNK
        self._granted_at = 0.0
        self._dry: dict[bool, tuple[float, float]] = {}
        self._refilling = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None

    def bucket(self, route: str, character_id: int | None) -> Bucket:
        """Whose tokens a request on this route costs; character_id with that character's token."""
        group = self._lessons.of(route).group
        if group is None:
            return Bucket(ERROR_GROUP, address_subject(self._egress))
        if character_id is None:
            return Bucket(group, address_subject(self._egress))
        return Bucket(group, character_subject(self._client_id, character_id))

    def _gate(self, route: str) -> str:
        return self._books.ungrouped_gate if self._lessons.of(route).group is None else self._books.every_gate

    def check(self, route: str, bucket: Bucket) -> None:
        """Raises RateLimited while a 429, a 420 or a low error count forbids this bucket."""
        until = self._books.blocked_until(bucket, self._gate(route))
        if until:
            raise self._limited(bucket.group, until, "ESI asked us to wait")

    def _limited(self, group: str, until: float, why: str) -> RateLimited:
        wall = self._time.to_wall(until) + 0.01
        return RateLimited(f"{why}: {group}", wall, "nothing to do: it goes on by itself", group=group)

    # One request

    async def single(self, route: str, character_id: int | None) -> Permit:
        """A permit for one request, from the database. Raises RateLimited, Unavailable."""
        bucket = self.bucket(route, character_id)
        self.check(route, bucket)
        while self._must_wait_its_turn(route):
            await self._news.wait()
            self.check(route, bucket)
        limit, window, holds = self._terms(route)
        chunk = Chunk(_EMPTY, bucket, granted_at=0.0, send_by=0.0, last_part=False)
        permit = Permit(self, chunk, route=route, holds=holds, window=window, heavy=False)
        self._goes_alone(route, permit)
        try:
            grant = await self._books.reserve(
                bucket, want=holds, least=holds, keep=0.0, limit=limit, window=window, life=LONGEST_LIFE
            )
        except BaseException:
            self._forget_alone(permit)
            raise
        if not grant.tokens:
            self._forget_alone(permit)
            raise self._limited(bucket.group, grant.next_at, "no tokens left")
        now = self._clock.monotonic()
        permit.chunk = Chunk(grant, bucket, granted_at=now, send_by=now + LONGEST_LIFE, last_part=False)
        permit.chunk.hold(holds)
        return permit

    def _terms(self, route: str) -> tuple[int, float, int]:
        """(limit, window, what a request holds)."""
        known = self._lessons.of(route)
        if known.group is None:
            return ERRORS_A_MINUTE, ERROR_WINDOW, 1
        return known.tokens, known.window, worst_price(known.tokens)

    # The first request of a route goes alone: ESI's clock and limits may differ from what we think.

    def _must_wait_its_turn(self, route: str) -> bool:
        return not self._sure(route) and route in self._alone

    def _sure(self, route: str) -> bool:
        return self._lessons.heard(route) and self._time.known

    def _goes_alone(self, route: str, permit: Permit) -> None:
        if not self._sure(route):
            self._alone[route] = permit

    def _forget_alone(self, permit: Permit) -> None:
        if self._alone.get(permit.route) is permit:
            del self._alone[permit.route]
            self._news.notify()

    # Details

    async def details(self, count: int, *, heavy: bool) -> list[Permit]:
        """One to `count` permits for details; heavy: leave the window's last part alone.

        In memory while a chunk lasts, else one transaction. Raises RateLimited, Unavailable.
        """
        self.check(DETAIL, self.bucket(DETAIL, None))
        if self._must_wait_its_turn(DETAIL):
            raise self._limited("killmail", self._time.not_after() + 1.0, "waiting for the first answer")
        if not self._sure(DETAIL):
            count = 1
        permits = self._take(count, heavy)
        if not permits:
            await self._refill(count, heavy)
            permits = self._take(count, heavy)
            if not permits:  # others were quicker
                raise self._limited("killmail", self._time.not_after() + 0.05, "no tokens left")
        elif len(permits) < count:
            self._refill_ahead(count, heavy)
        if permits and count == 1:
            self._goes_alone(DETAIL, permits[0])
        return permits

    def _take(self, count: int, heavy: bool) -> list[Permit]:
        now = self._clock.monotonic()
        _, window, holds = self._terms(DETAIL)
        permits: list[Permit] = []
        for chunk in tuple(self._chunks):
            if chunk.over(now, holds):
                self._close(chunk)
            elif now <= chunk.send_by - _rest(window) and not (heavy and chunk.last_part):
                while len(permits) < count and chunk.free >= holds:
                    permits.append(Permit(self, chunk, route=DETAIL, holds=holds, window=window, heavy=heavy))
        return permits

    def _refill_ahead(self, count: int, heavy: bool) -> None:
        """Get the next chunk while the last permits of this one are being used."""
        if self._ahead is None or self._ahead.done():
            self._ahead = asyncio.ensure_future(self._refill_quietly(count, heavy))

    async def _refill_quietly(self, count: int, heavy: bool) -> None:
        try:
            await self._refill(count, heavy)
        except (RateLimited, Unavailable):
            return  # whoever needs the tokens asks again and is told
        self._news.notify()

    async def _refill(self, count: int, heavy: bool) -> None:
        async with self._refilling:
            limit, window, holds = self._terms(DETAIL)
            now = self._clock.monotonic()
            if any(
                chunk.free >= holds and now <= chunk.send_by - _rest(window) and not (heavy and chunk.last_part)
                for chunk in self._chunks
            ):
                return
            self._raise_if_dry(heavy, now)
            # Settled with the same transaction: what is left of used-up chunks counts again.
            for chunk in tuple(self._chunks):
                if chunk.over(now, holds):
                    self._close(chunk)
            bucket = self.bucket(DETAIL, None)
            life = min(LONGEST_LIFE, max(1.0, window / 60))
            grant = await self._books.reserve(
                bucket,
                want=self._next_want(count, limit, holds, now),
                least=holds,
                keep=FLOOR if heavy else 0.0,
                limit=limit,
                window=window,
                life=life,
            )
            if not grant.tokens:
                self._dry[heavy] = (now + RECHECK, grant.next_at)
                raise self._limited(bucket.group, grant.next_at, "no tokens left")
            last_part = grant.used > limit - kept(limit, FLOOR)
            now = self._clock.monotonic()
            self._chunks.append(
                Chunk(grant, bucket, granted_at=now, send_by=now + life, last_part=last_part)
            )
            self._granted_at = now

    def _raise_if_dry(self, heavy: bool, now: float) -> None:
        """Don't ask the database again before it can have something."""
        # Nothing for a light one is nothing for a heavy one.
        for each in (heavy, False) if heavy else (False,):
            recheck_at, next_at = self._dry.get(each, (0.0, 0.0))
            if now < recheck_at and next_at > self._time.not_after():
                raise self._limited("killmail", next_at, "no tokens left")

    def _next_want(self, count: int, limit: int, holds: int, now: float) -> int:
        """About a second's worth: twice as much where the last chunk was gone sooner."""
        lasted = now - self._granted_at
        if lasted < 1.0:
            self._want *= 2
        elif lasted > 4.0:
            self._want = max(FIRST_CHUNK // 5, self._want // 2)
        most = max(holds, limit // 10)
        self._want = min(self._want, most)
        return holds if not self._sure(DETAIL) else min(most, max(self._want, count * holds))

    # The end of a request

    def end(self, permit: Permit, cost: int, *, late: float = 0.0) -> None:
        """The request is over and cost so much. late: seconds by which ESI may take it later than now."""
        if not permit.open:
            return
        permit.open = False
        self._forget_alone(permit)
        chunk = permit.chunk
        chunk.give_back(permit.holds, cost, self._books.returns_at(permit.window) + late)
        if cost < permit.holds:
            self._dry.clear()
        if chunk not in self._chunks or chunk.over(self._clock.monotonic(), permit.holds):
            if chunk.held == 0:
                self._close(chunk)
        self._news.notify()

    def unanswered(self, permit: Permit) -> None:
        """No answer: whatever it cost at worst is spent, perhaps only later."""
        self.end(permit, permit.holds, late=self._books.unanswered_for)

    def answered(self, permit: Permit, answer: Answer) -> None:
        """Settle at the true price, and take in what the headers say."""
        route, bucket = permit.route, permit.chunk.bucket
        known = self._lessons.of(route)
        self._lessons.read(route, answer.status, answer.headers)
        if bucket.group == ERROR_GROUP:
            cost = 1 if answer.status >= 400 else 0
        else:
            cost = price(answer.status)
        newest = max((chunk.granted_at for chunk in self._chunks), default=0.0)
        self.end(permit, cost)
        if known.group is not None:
            self._observe(permit, answer, newest)
        self._read_errors(answer)
        if answer.status == 420:
            seconds = read_number(answer.headers, "X-ESI-Error-Limit-Reset", most=120)
            self._books.shut(self._books.every_gate, self._until(60 if seconds is None else seconds))
        elif answer.status == 429:
            self._books.block(bucket, self._retry_at(answer.headers))
            self._retire()

    def _observe(self, permit: Permit, answer: Answer, newest: float) -> None:
        """Compare ESI's count with ours: more means that somebody else spends from this bucket."""
        remaining = read_number(answer.headers, "X-Ratelimit-Remaining", most=10**12)
        used = read_number(answer.headers, "X-Ratelimit-Used", most=10**12)
        after = self._lessons.of(permit.route)
        if used is None:
            if remaining is None:
                return
            used = after.tokens - remaining
        age = self._clock.monotonic() - answer.sent
        now = self._time.not_after()
        group = after.group if after.group is not None else permit.chunk.bucket.group
        bucket = Bucket(group, permit.chunk.bucket.subject)
        # At least what this answer cost: a header may be written before its own price is taken.
        seen = Observation(bucket, used, after.window, now - age, self._time.not_before())
        self._books.observe(seen)
        if (
            permit.route == DETAIL
            and remaining is not None
            and answer.sent > newest
            and remaining < sum(chunk.free for chunk in self._chunks)
        ):
            # Less is left than we have in hand: hand it back, and let the database count anew.
            self._retire()

    def _retire(self) -> None:
        for chunk in tuple(self._chunks):
            self._chunks.remove(chunk)
            if chunk.held == 0:
                self._books.bill(chunk)

    def _read_errors(self, answer: Answer) -> None:
        left = read_number(answer.headers, "X-ESI-Error-Limit-Remain", most=10**6)
        if left is not None and left <= FEW_ERRORS_LEFT:
            seconds = read_number(answer.headers, "X-ESI-Error-Limit-Reset", most=120)
            self._books.shut(self._books.ungrouped_gate, self._until(60 if seconds is None else seconds))

    def _retry_at(self, headers: Mapping[str, str]) -> float:
        seconds = read_number(headers, "Retry-After", most=int(LONGEST_RETRY))
        if seconds is None:  # no header, or a date: ESI sends seconds, front doors anything
            return self._until(RETRY_WITHOUT_HEADER) + self._rng.uniform(0.0, 15.0)
        return self._until(seconds)

    def _until(self, seconds: float) -> float:
        return self._time.not_before() + max(1.0, seconds) + 1.0

    def _close(self, chunk: Chunk) -> None:
        if chunk in self._chunks:
            self._chunks.remove(chunk)
        self._books.bill(chunk)

    # Upkeep

    @property
    def busy(self) -> bool:
        """Whether chunks are out that will have to be settled."""
        return bool(self._chunks)

    def sweep(self) -> None:
        """Settle chunks whose time is over."""
        now = self._clock.monotonic()
        holds = self._terms(DETAIL)[2]
        for chunk in tuple(self._chunks):
            if chunk.over(now, holds):
                self._close(chunk)

    async def close(self) -> None:
        """No more requests: everything unused goes back with the next flush."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)
        self._retire()
