"""EVE's status: `GET /status`, held while it is cached, and asked as a probe while EVE is down.

When it was asked, answered, and until when it is cached is kept in the database: that survives a restart, so
that even a daemon which restarts every second never asks early. Those are times of ESI's clock;
with the last answer goes what both clocks showed, for the first request after a restart, when ESI's is
not known yet and ours may be off.
"""

from __future__ import annotations

import asyncio
import contextlib

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.core.server_clock import SKEW, ServerTime
from killsyncd.esi import decoding
from killsyncd.esi.caching import CERTAINLY, cache_end
from killsyncd.esi.downtime import DowntimeGate
from killsyncd.esi.http import OTHER_CAP
from killsyncd.esi.pipeline import EsiRequest, RequestPipeline
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.responses import ClockWrong, EsiError, MalformedResponse, MustWait, NotBefore, ServerStatus
from killsyncd.esi.routes import AFTER_EXPIRES, STATUS

log = get_logger(__name__)


class ServerStatusClient:
    """The latest status, and the downtime gate's probe."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        accounting: RateLimitAccounting,
        limits: RouteLimits,
        time: ServerTime,
        gate: DowntimeGate,
        clock: Clock,
        *,
        egress: str,
    ) -> None:
        self._pipeline = pipeline
        self._accounting = accounting
        self._limits = limits
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
        """As `EsiClient.status`."""
        async with self._one_at_a_time:
            if self._held is not None and self.left() > 0:
                return self._held
            await self._accounting.look()
            if (left := self.left()) > 0:
                raise NotBefore("ESI's status is still cached", self._clock.now() + left)
            return await self._ask()

    @property
    def last_told(self) -> float:
        """ESI's time when it last told its status, or a little later, also before the restart; 0: never."""
        return self._accounting.gate(self._told) - SKEW

    @property
    def clock_was_off(self) -> bool:
        """Whether this machine's clock was not ESI's when the status was last told."""
        return abs(self._accounting.gate(self._told) - self._accounting.gate(self._told_here)) > SKEW

    def left(self) -> float:
        """Seconds before the status may be asked again: never more than it is cached, whatever clocks say."""
        asked, answered = self._accounting.gate(self._asked), self._accounting.gate(self._answered)
        until, ttl = self._accounting.gate(self._expires), self._limits.of(STATUS).ttl
        life = until - answered
        if asked > answered:
            until, life = max(until, asked + ttl), max(life, ttl)
        # Before it has told: by our own clock, or else every restart would have to wait out the cache.
        now = self._time.not_after() if self._time.known else self._clock.now()
        if not self._time.known and self.clock_was_off:
            until = self._told_until(now, ttl)
        known_for = min(self._accounting.known_for(self._asked), self._accounting.known_for(self._answered))
        certain = life + AFTER_EXPIRES + CERTAINLY - known_for
        return max(0.0, min(until + AFTER_EXPIRES - now, certain))

    def _told_until(self, now: float, ttl: float) -> float:
        """By our own clock, which was off; by ESI's, if ours was put right since; else nothing is known."""
        for told in (self._accounting.gate(self._told_here), self._accounting.gate(self._told)):
            if told <= now + SKEW:  # ESI's is known as an interval, of which this is the later end
                return told + ttl
        return 0.0

    async def _before_ask(self, at: float) -> None:
        self._accounting.stamp(self._asked, at)
        await self._accounting.flush()

    async def _ask(self) -> ServerStatus:
        ttl = self._limits.of(STATUS).ttl
        request = EsiRequest(
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
            answer, at = await self._pipeline.ask(request)
        except EsiError as error:
            if error.at is not None:
                self._accounting.stamp(self._answered, error.at)
                self._accounting.stamp(self._expires, error.expires_at or 0.0)
            raise
        until = cache_end(answer.headers, at, ttl).expires_at
        self._accounting.stamp(self._answered, at)
        self._accounting.stamp(self._expires, until)
        self._accounting.stamp(self._told, self._time.not_before())
        self._accounting.stamp(self._told_here, self._clock.now())
        try:
            self._held = decoding.decode_status(answer.body, until)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, expires_at=until, at=at) from None
        return self._held

    async def learn_time(self) -> None:
        """Before the first request: ask what time it is at ESI, on whose clock `Expires` runs.

        Raises ClockWrong, Unavailable.
        """
        try:
            await self.get()
        except NotBefore:
            if self.clock_was_off or self._time.wall_is_wrong:
                # By our own clock things might be asked for too early, or far too late.
                raise ClockWrong(self._clock.now() + max(1.0, self.left())) from None
        except EsiError:
            return  # an error has a Date, too; and where nothing answers, the list will not either

    async def confirm_time(self) -> None:
        """Hear ESI's time once more, if the status may be asked; else what it said last is quite new."""
        with contextlib.suppress(EsiError, Unavailable):
            await self.get()

    async def probe(self) -> bool:
        """Ask whether EVE is up again, and open the gate if so. Answers whether it opened."""
        closed = self._gate.closed
        left = self.left() if self._held is not None else 0.0
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
