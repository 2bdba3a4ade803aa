"""What response headers say of each route: its group, its limit and window, and how long it is cached.

Source of the headers: ESI's rate limiting (`X-Ratelimit-Group`, `X-Ratelimit-Limit`). CCP changes limits,
so the figures of the specification count only until the first answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from killsyncd.core.logging import get_logger
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.ports import BudgetStore
from killsyncd.esi.ratelimit.windows import RouteLimit, parse_limit
from killsyncd.esi.routes import ROUTES

log = get_logger(__name__)

ODD_IN_A_ROW = 3
"""Answers in a row whose cache life is odd before it counts as the route's."""

SINKS_AFTER = 20
"""Answers in a row, all cached for clearly less than the route's cache life: that was wrong, or is over."""

CLEARLY = 0.75
"""So much of the route's cache life: less than that is clearly less."""

LONGEST_TTL = 3_600.0
"""Seconds, at most, that a route's cache life is taken to be: one odd `Expires` must not cost a day after
every crash."""


class RouteLimits:
    """Limits of the routes, as far as known."""

    def __init__(self, store: BudgetStore, accounting: RateLimitAccounting) -> None:
        self._store = store
        self._accounting = accounting
        self._routes: dict[str, RouteLimit] = dict(ROUTES)
        self._odd: Counter[str] = Counter()
        self._shorter: dict[str, tuple[int, float]] = {}  # answers in a row, the longest of their lives
        self._heard: set[str] = set()
        self._saved: set[str] = set()
        self._last: dict[str, tuple[str | None, str | None]] = {}

    async def load(self) -> None:
        """Read what was known before the restart. Raises Unavailable."""
        for each in await self._store.routes():
            if each.route in self._routes:
                self._routes[each.route] = each
                self._heard.add(each.route)
                self._saved.add(each.route)

    def of(self, route: str) -> RouteLimit:
        """What is known of this route."""
        return self._routes[route]

    def of_group(self, group: str) -> RouteLimit | None:
        """The tightest of the routes in this group."""
        found = [each for each in self._routes.values() if each.group == group]
        return min(found, key=lambda each: each.tokens, default=None)

    def heard(self, route: str) -> bool:
        """Whether an answer has confirmed the figures, now or before the restart.

        Until then one request goes alone: the first burst must not meet a limit that is lower than we think.
        """
        return route in self._heard

    def read(self, route: str, status: int, headers: Mapping[str, str]) -> None:
        """Take in an answer's headers."""
        if status < 500:
            self._heard.add(route)
        said = (headers.get("X-Ratelimit-Group"), headers.get("X-Ratelimit-Limit"))
        if said == self._last.get(route) or said == (None, None):
            return
        self._last[route] = said
        before = self._routes[route]
        parsed = parse_limit(said[1]) if said[1] is not None else None
        tokens, window = parsed or (before.tokens, before.window)
        group = _group(said[0]) or before.group
        if group is not None and tokens > 0:
            self._change(replace(before, group=group, tokens=tokens, window=window))

    def cached_for(self, route: str, seconds: float, *, odd: bool) -> None:
        """An answer of this route lived so long: what to wait when a crash takes an answer's `Expires`.

        odd: many times longer than any before; ESI means it when it says so again and again. What was said
        once does not hold for ever: after many that live shorter it sinks, not below the specification's.
        """
        before = self._routes[route]
        self._odd[route] = self._odd[route] + 1 if odd else 0
        if 0 < self._odd[route] < ODD_IN_A_ROW:
            return
        seconds = min(seconds, LONGEST_TTL)
        if seconds > CLEARLY * before.ttl:
            self._shorter.pop(route, None)
            if seconds > before.ttl:
                self._change(replace(before, ttl=seconds))
            return
        # What is left of a cache is shorter than its life: the longest of many answers tells.
        count, longest = self._shorter.get(route, (0, ROUTES[route].ttl))
        self._shorter[route] = count + 1, max(longest, seconds)
        if count + 1 >= SINKS_AFTER:
            del self._shorter[route]
            if max(longest, seconds) < before.ttl:
                self._change(replace(before, ttl=max(longest, seconds)))

    def _change(self, after: RouteLimit) -> None:
        before = self._routes[after.route]
        if before == after and after.route in self._saved:
            return
        self._saved.add(after.route)
        self._routes[after.route] = after
        if (before.group, before.tokens, before.window) != (after.group, after.tokens, after.window):
            log.info(
                "ESI has another limit than we thought",
                route=after.route,
                group=after.group,
                tokens=after.tokens,
                seconds=after.window,
            )
        self._accounting.later(("route", after.route), partial(self._store.learn, after, before.window))


def _group(text: str | None) -> str | None:
    """A group's name, if it is one."""
    if text is None or not 0 < len(text) <= 64 or not text.isascii() or not text.isprintable():
        return None
    return text
