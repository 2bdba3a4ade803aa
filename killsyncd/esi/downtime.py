"""The downtime gate: when EVE is down, nothing is asked but its status. Pure; time is passed in.

EVE goes down every day at 11:00 UTC for some minutes, with 502, 503 and 504 around it (docs/esi.md).
Such answers on several different resources close the gate, or one of them around that hour. It opens when
`GET /status` answers well, or when a real request does: a status that is wrong or stale must not stop us
for ever, so after ten minutes a single real request is let through now and then.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

DISTINCT = 3
"""So many different resources must fail without a success between them."""

DAILY_FROM = 10 * 3600 + 58 * 60
DAILY_TO = 11 * 3600 + 30 * 60
"""Seconds of the day (ESI's clock) in which one failure is enough."""

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
TRIAL_AFTER = 600.0
TRIAL_PAUSE = 60.0
SUSPECT_FOR = 1800.0
"""A resource that fails while EVE's status is good is itself to blame, for that long; so is its route, where
several of its resources failed together."""

_MOST_SUSPECTS = 1000


def _route(resource: str) -> str:
    """What a resource (`killmail/127`, a list) is one of many of."""
    return resource.partition("/")[0] + "/"


@dataclass(frozen=True, slots=True)
class GateClosed:
    """since: monotonic seconds. reason: what was seen."""

    since: float
    reason: str


class DowntimeGate:
    """Open at first. All times are monotonic seconds, but for `time_of_day`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failing: dict[str, None] = {}
        self._suspects: dict[str, float] = {}
        self._pause = FIRST_PAUSE
        self._trial_at = 0.0
        self.closed: GateClosed | None = None
        self.probe_at = 0.0
        """When the status should be asked next, while it is closed."""

    def success(self, resource: str, sent: float) -> bool:
        """A real request got an answer that no gateway made up. Answers whether the gate opened."""
        self._suspects.pop(resource, None)
        self._suspects.pop(_route(resource), None)
        if self.closed is not None and sent < self.closed.since:
            return False  # it was under way before; it says nothing of now
        self._failing.clear()
        self._pause = FIRST_PAUSE
        opened = self.closed is not None
        self.closed = None
        return opened

    def failure(self, resource: str, why: str, now: float, time_of_day: float) -> bool:
        """A real request met a gateway error, or nobody. Answers whether the gate is closed now."""
        if self.closed is not None:
            return True
        time_of_day %= 86_400
        daily = DAILY_FROM <= time_of_day < DAILY_TO
        if self._is_suspect(resource, now, now - (time_of_day - DAILY_FROM) if daily else 0.0):
            return False
        self._failing[resource] = None
        if len(self._failing) < DISTINCT and not daily:
            return False
        self.closed = GateClosed(
            now, f"{why} around the daily downtime" if daily else f"{why} on several resources"
        )
        self._trial_at = now + TRIAL_AFTER
        self._schedule(now)
        return True

    def _is_suspect(self, resource: str, now: float, downtime_since: float) -> bool:
        """Whether a failure of it is its own fault. What a route did before the downtime proves nothing."""
        route_until = self._suspects.get(_route(resource), 0.0)
        of_route = route_until > now and route_until - SUSPECT_FOR >= downtime_since
        return of_route or self._suspects.get(resource, 0.0) > now

    def probed_well(self, now: float) -> None:
        """The status is good: open, and hold what failed meanwhile against those resources alone."""
        for resource in self._failing:
            self._suspects[resource] = now + SUSPECT_FOR
        # Else the next three killmails that time out would close the gate again, and so on.
        for route, failing in Counter(_route(each) for each in self._failing).items():
            if failing > 1:
                self._suspects[route] = now + SUSPECT_FOR
        self._failing.clear()
        if len(self._suspects) > _MOST_SUSPECTS:
            self._suspects = {each: until for each, until in self._suspects.items() if until > now}
            while len(self._suspects) > _MOST_SUSPECTS:
                del self._suspects[next(iter(self._suspects))]
        self.closed = None

    def probed_badly(self, now: float) -> None:
        """The status is bad, or there is none: wait longer each time."""
        self._schedule(now)

    def postpone_probe(self, until: float) -> None:
        """The status may not be asked before then."""
        self.probe_at = max(self.probe_at, until)

    def trial_due(self, now: float) -> bool:
        """Whether `let_one_through` would say yes."""
        return self.closed is not None and now >= self._trial_at

    def let_one_through(self, now: float) -> bool:
        """Whether this real request may go although the gate is closed. One a minute, after ten minutes."""
        if not self.trial_due(now):
            return False
        self._trial_at = now + TRIAL_PAUSE
        return True

    def _schedule(self, now: float) -> None:
        self.probe_at = now + min(LONGEST_PAUSE, self._pause * self._rng.uniform(1.0, 1.5))
        # Only a real success makes the pauses short again: a status that says "fine" while
        # everything else fails must not make us ask every five seconds.
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
