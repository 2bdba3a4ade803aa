"""How long ESI caches an answer, and until when that forbids to ask again. Pure; time is passed in.

`Expires` is binding (docs/esi.md). But it is a moment of a clock, and clocks are wrong at times: that
of one of ESI's machines, this machine's, or either of them when the moment was written down. What is certain
is that an answer lives as long after it was given as it said: no wait is longer than a cache lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from killsyncd.core.server_clock import SKEW
from killsyncd.esi.decoding import read_date, read_max_age

MAX_CACHE = 86_400.0
"""No list of ESI's lives longer; an `Expires` beyond is a mistake that would stop us for ever."""

MANY_TIMES = 4.0
"""A cache life so many times longer than the route's is odd: either a clock is wrong, or ESI means it."""

CERTAINLY = 2.0
"""Seconds beyond a cache's life after which it is over for certain: HTTP dates have whole seconds."""

MOST_WAITS = 20_000


@dataclass(frozen=True, slots=True)
class CacheEnd:
    """expires_at: ESI's clock. odd: the life is many times longer than the route's ever was."""

    expires_at: float
    odd: bool = False


def cache_end(headers: Mapping[str, str], at: float, usual: float) -> CacheEnd:
    """Until when an answer is cached. at: ESI's time of the answer. usual: seconds, the route's cache life.

    A freshness lifetime is `Expires` less `Date` (RFC 9111, 4.2.1). Where the machine that answered has
    another clock than the rest of ESI, either of the two may be meant; the later one that is likely counts.
    """
    date, expires = read_date(headers), read_date(headers, "Expires")
    if expires is None:
        age = read_max_age(headers)
        life = usual if age is None else age
    elif date is None or abs(date - at) <= SKEW:
        life = expires - at
    else:
        lives = (expires - at, expires - date)
        likely = [each for each in lives if -SKEW <= each <= MANY_TIMES * usual]
        life = max(likely or lives)
    return CacheEnd(at + min(life, MAX_CACHE), life > MANY_TIMES * usual)


def cached_until(headers: Mapping[str, str], at: float) -> float | None:
    """The same for an answer of a route without a usual life; None where it says nothing of caching."""
    if read_date(headers, "Expires") is None and read_max_age(headers) is None:
        return None
    return cache_end(headers, at, MAX_CACHE / MANY_TIMES).expires_at


def read_made_at(headers: Mapping[str, str], at: float, life: float) -> float | None:
    """When ESI made a list, by its own clock: the later of what `Last-Modified` and `Expires` tell.

    at: when it was answered. life: seconds that ESI keeps such a list. None where neither is there, or
    neither can be right (a moment that has not come): an answer of unknown age vouches for nothing.
    """
    told = []
    modified = read_date(headers, "Last-Modified")
    if modified is not None and modified <= at + SKEW:
        told.append(min(modified, at))
    expires = cached_until(headers, at)
    if expires is not None and expires - life <= at + SKEW:
        told.append(min(expires - life, at))
    return max(told, default=None)


@dataclass(frozen=True, slots=True)
class CacheWait:
    """seconds: to be waited at most. impossible: by the clocks it would be longer than the cache lives."""

    seconds: float
    impossible: bool


class CacheWaits:
    """Waits for caches to end, by the clocks and never for longer than a cache lives."""

    def __init__(self) -> None:
        self._since: dict[object, tuple[float, float]] = {}  # Expires, and when it was first waited for

    def left(
        self, key: object, expires_at: float, *, life: float, after: float, now: float, monotonic: float
    ) -> CacheWait | None:
        """What is to be waited before this may be asked for again; None: nothing.

        expires_at: of an answer that was given before this call. life: its seconds. now: ESI's time, not
        later than it is. after: seconds that a cache may live longer than its `Expires` says.
        """
        wait = expires_at + after - now
        if wait <= 0.0:
            self._since.pop(key, None)
            return None
        known, since = self._since.get(key, (None, 0.0))
        if known != expires_at:
            since = monotonic
            self._remember(key, expires_at, monotonic)
        certain = max(0.0, life) + after + CERTAINLY
        left = since + certain - monotonic
        if left <= 0.0:
            return None
        return CacheWait(min(wait, left), wait > certain + SKEW)

    def answered(self, key: object) -> None:
        """It was asked for: what was waited for is over."""
        self._since.pop(key, None)

    def _remember(self, key: object, expires_at: float, monotonic: float) -> None:
        if len(self._since) >= MOST_WAITS:  # the oldest begins anew, if it is still waited for
            del self._since[next(iter(self._since))]
        self._since[key] = (expires_at, monotonic)
