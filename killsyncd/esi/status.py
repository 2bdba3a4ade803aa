"""EVE's status: `GET /status`, held while it is cached, and asked as a probe while EVE is down.

When it was asked, answered, and until when it is cached is kept as gates that only grow: that survives a
restart, so that even a daemon which restarts every second never asks early. Those are times of ESI's clock;
with the last answer goes what both clocks showed, for the first question after a restart, when ESI's is
not known yet and ours may be off.
"""

from __future__ import annotations

import asyncio

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.esi import decoding
from killsyncd.esi.downtime import DowntimeGate
from killsyncd.esi.http import OTHER_CAP
from killsyncd.esi.pipeline import EsiRequest, RequestPipeline
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.responses import EsiError, MalformedResponse, MustWait, NotBefore, ServerStatus
from killsyncd.esi.routes import AFTER_EXPIRES, STATUS
from killsyncd.esi.server_clock import SKEW, ServerTime

log = get_logger(__name__)


class StatusKeeper:
    """The latest status, and the downtime gate's probe."""

    def __init__(
        self,
        asker: RequestPipeline,
        books: RateLimitAccounting,
        lessons: RouteLimits,
        time: ServerTime,
        gate: DowntimeGate,
        clock: Clock,
        *,
        egress: str,
    ) -> None:
        self._asker = asker
        self._books = books
        self._lessons = lessons
        self._time = time
        self._gate = gate
        self._clock = clock
        self._asked = f"status-asked:{egress}"
        self._answered = f"status-answered:{egress}"
        self._expires = f"status-expires:{egress}"
        self._told = f"status-told:{egress}"
        self._told_here = f"status-told-here:{egress}"
        self._held: ServerStatus | None = None
        self._one_at_a_time = asyncio.Lock()

    async def get(self) -> ServerStatus:
        """As Door.status."""
        async with self._one_at_a_time:
            if self._held is not None and self._left() > 0:
                return self._held
            await self._books.look()
            self._raise_if_cached()
            return await self._ask()

    def _left(self) -> float:
        """Seconds for which what we hold is still the word."""
        if self._held is None:
            return 0.0
        return self._held.expires_at + AFTER_EXPIRES - self._time.not_after()

    @property
    def clock_was_off(self) -> bool:
        """Whether this machine's clock was not ESI's when the status was last told."""
        return abs(self._books.gate(self._told) - self._books.gate(self._told_here)) > SKEW

    def _raise_if_cached(self) -> None:
        asked, answered = self._books.gate(self._asked), self._books.gate(self._answered)
        until, ttl = self._books.gate(self._expires), self._lessons.of(STATUS).ttl
        if asked > answered:
            until = max(until, asked + ttl)
        now = self._time.not_after()
        if not self._time.known and self.clock_was_off:
            until = self._told_until(now, ttl)
        if now < until + AFTER_EXPIRES:
            raise NotBefore("ESI's status is still cached", self._time.to_wall(until + AFTER_EXPIRES))

    def _told_until(self, now: float, ttl: float) -> float:
        """By our own clock, which was off; by ESI's, if ours was put right since; else nothing is known."""
        for told in (self._books.gate(self._told_here), self._books.gate(self._told)):
            if told <= now + SKEW:  # ESI's is known as an interval, of which this is the later end
                return told + ttl
        return 0.0

    async def _before_ask(self, at: float) -> None:
        self._books.shut(self._asked, at)
        await self._books.flush()

    async def _ask(self) -> ServerStatus:
        ttl = self._lessons.of(STATUS).ttl
        question = EsiRequest(
            STATUS,
            "GET",
            "/status",
            resource=STATUS,
            cap=OTHER_CAP,
            before_ask=self._before_ask,
            ttl=ttl,
            probe=True,
        )
        try:
            answer, at = await self._asker.ask(question)
        except EsiError as error:
            if error.at is not None:
                self._books.shut(self._answered, error.at)
                self._books.shut(self._expires, error.expires_at or 0.0)
            raise
        until = decoding.read_expires(answer.headers, at) or at + ttl
        self._books.shut(self._answered, at)
        self._books.shut(self._expires, until)
        self._books.shut(self._told, self._time.not_before())
        self._books.shut(self._told_here, self._clock.now())
        try:
            self._held = decoding.decode_status(answer.body, until)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, expires_at=until, at=at) from None
        return self._held

    async def probe(self) -> bool:
        """Ask whether EVE is up again, and open the gate if so. Answers whether it opened."""
        closed = self._gate.closed
        left = self._left()
        if left > 0:  # what we hold was said before EVE went down, and a new word is not to be had yet
            self._gate.postpone_probe(self._clock.monotonic() + left)
            return False
        try:
            found = await self.get()
        except MustWait as error:
            pause = max(1.0, error.until - self._clock.now())
            self._gate.postpone_probe(self._clock.monotonic() + pause)
            return False
        except Unavailable:
            self._gate.probed_badly(self._clock.monotonic())
            return False
        if found.vip:  # up, but not for players yet
            self._gate.probed_badly(self._clock.monotonic())
            return False
        if self._gate.closed is not closed or closed is None:
            return False  # a real answer was quicker
        self._gate.probed_well(self._clock.monotonic())
        log.info("ESI is back: its status is good")
        return True
