"""What the client does beside requests: settles what is over, and asks for the status in downtime."""

from __future__ import annotations

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.downtime import DowntimeGate
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.permits import PermitOffice
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.routes import DETAIL
from killsyncd.esi.signal import Condition
from killsyncd.esi.status import ServerStatusClient

_TIDY_EVERY = 3600.0
_WITH_ITS_PAGE = 0.25
"""Seconds in which the price of a list's page should be written together with the page, and not by us."""


class Upkeep:
    """One a client. Its writes may fail: they are tried again, and budgets stay booked meanwhile."""

    def __init__(
        self,
        permits: PermitOffice,
        accounting: RateLimitAccounting,
        limits: RouteLimits,
        time: ServerTime,
        gate: DowntimeGate,
        status: ServerStatusClient,
        clock: Clock,
        changes: Condition,
    ) -> None:
        self._permits = permits
        self._accounting = accounting
        self._limits = limits
        self._time = time
        self._gate = gate
        self._status = status
        self._clock = clock
        self._changes = changes
        self._tidied_at = clock.monotonic()
        self._pages_since: float | None = None
        self._states = StateLog(get_logger(__name__))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seconds = await self._once()
            if seconds > 1.0:
                await self._changes.wait(seconds)
            else:
                await self._clock.sleep(seconds)  # not woken by every answer: one write a second is enough

    async def _once(self) -> float:
        """Do what is due now; answers after how many seconds to look again."""
        now = self._clock.monotonic()
        self._permits.pool.sweep(self._limits.of(DETAIL))
        if self._waits_for_pages(now):
            return _WITH_ITS_PAGE
        try:
            if self._accounting.busy:
                self._accounting.note_time()
                await self._accounting.flush()
            if now - self._tidied_at > _TIDY_EVERY:
                self._tidied_at = now
                await self._accounting.tidy()
        except Unavailable as error:
            self._states.set(
                "accounting", "failing", "budgets cannot be written just now", reason=error.message
            )
        else:
            self._states.set("accounting", "ok", "budgets can be written again")
        if self._gate.closed is not None and now >= self._gate.probe_at and await self._status.probe():
            self._changes.notify()
        if self._time.known and not self._time.sure and self._gate.closed is None:
            await self._status.confirm_time()
        if self._gate.closed is not None:
            return min(1.0, max(0.05, self._gate.probe_at - self._clock.monotonic()))
        if self._time.known and not self._time.sure:
            return max(1.0, self._status.left())
        return 1.0 if self._permits.pool.busy or self._accounting.busy else _TIDY_EVERY

    def _waits_for_pages(self, now: float) -> bool:
        """Whether all there is to settle are prices of lists' pages, and for a moment only."""
        if not self._accounting.only_lists:
            self._pages_since = None
            return False
        if self._pages_since is None:
            self._pages_since = now
        if now - self._pages_since < _WITH_ITS_PAGE:
            return True
        self._pages_since = None
        return False
