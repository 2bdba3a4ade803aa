"""What ESI lets a client spend: floating windows for (group, user), and the old error limit for each address.

Pure: the time is passed in (monotonic seconds). Source: CCP's ESI documentation, "Rate limiting".
"""

from __future__ import annotations

import math
from collections import deque

GROUPS = {
    "char-killmail": 30,
    "corp-killmail": 30,
    "killmail": 3600,
    "status": 600,
    "char-detail": 600,
    "meta": 150,
}
"""Tokens a window of 15 minutes, as the specification of 2026-08-18 has them (`x-rate-limit`)."""

BOTTOMLESS = 1_000_000_000


def cost(status: int) -> int:
    """Tokens that an answer costs: 2xx 2, 3xx 1, 4xx 5 (429 itself 0), 5xx 0."""
    if status < 300:
        return 2
    if status < 400:
        return 1
    return 5 if status < 500 and status != 429 else 0


def window_text(seconds: float) -> str:
    """A window's length as `X-Ratelimit-Limit` writes it: `15m`, `1h`.

    ESI knows m and h only. A window that the simulator shortened below a minute is written in seconds (`9s`).
    """
    whole = int(seconds)
    if whole == seconds and whole % 3600 == 0:
        return f"{whole // 3600}h"
    if whole == seconds and whole % 60 == 0:
        return f"{whole // 60}m"
    return f"{seconds:g}s"


class Window:
    """The floating window of one group and user: what was spent comes back one length later."""

    __slots__ = ("_spent", "inflight", "length", "limit", "told", "until", "used")

    def __init__(self, limit: int, length: float) -> None:
        self.limit = limit
        self.length = length
        self.inflight = 0
        self.used = 0
        self.until = -math.inf
        """End of the Retry-After that was given last."""
        self.told = -math.inf
        """When it was given."""
        self._spent: deque[tuple[float, int]] = deque()

    def _settle(self, now: float) -> None:
        spent, horizon = self._spent, now - self.length
        while spent and spent[0][0] <= horizon:
            self.used -= spent.popleft()[1]

    def admit(self, now: float) -> bool:
        """Whether a request may go on; it then counts as under way until `charge`.

        ESI knows the price only afterwards, so requests under way stand for 2 tokens each.
        """
        self._settle(now)
        if self.used + 2 * self.inflight >= self.limit:
            return False
        self.inflight += 1
        return True

    def charge(self, now: float, tokens: int) -> None:
        """The price of a request that was admitted, when it is answered."""
        self._settle(now)
        self.inflight -= 1
        if tokens:
            self.used += tokens
            self._spent.append((now, tokens))

    def spend(self, now: float, tokens: int) -> None:
        """Take tokens away without a request, as another program of the same user would."""
        self.inflight += 1
        self.charge(now, tokens)

    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def retry_after(self, now: float) -> int:
        """Whole seconds until a request fits again, at least 1."""
        excess = self.used - self.limit + 2
        if self.used < self.limit:
            return 1  # only requests under way stand against it
        latest = now
        for when, tokens in self._spent:
            if excess <= 0:
                break
            excess -= tokens
            latest = when
        return max(1, math.ceil(latest + self.length - now))


class ErrorLimit:
    """The old limit: so many answers that are neither 2xx nor 3xx in a fixed minute, then 420 for
    everything."""

    __slots__ = ("_end", "blocked_until", "errors", "length", "limit", "told")

    def __init__(self, limit: int, length: float) -> None:
        self.limit = limit
        self.length = length
        self.errors = 0
        self.blocked_until = -math.inf
        self.told = -math.inf
        self._end = -math.inf

    def _settle(self, now: float) -> None:
        if now >= self._end:
            self.errors = 0
            self._end = now + self.length

    def count(self, now: float, status: int) -> None:
        """An answer on a route without a group."""
        self._settle(now)
        if status >= 400 and status != 420:
            self.errors += 1
            if self.errors >= self.limit:
                self.block(now, self._end - now)

    def block(self, now: float, seconds: float) -> None:
        """Answer 420 for so long."""
        if not self.blocked(now):
            self.told = now
        self.blocked_until = max(self.blocked_until, now + seconds)

    def blocked(self, now: float) -> bool:
        return now < self.blocked_until

    def headers(self, now: float) -> dict[str, str]:
        self._settle(now)
        end = max(self._end, self.blocked_until)
        remain = 0 if self.blocked(now) else max(0, self.limit - self.errors)
        return {
            "X-ESI-Error-Limit-Remain": str(remain),
            "X-ESI-Error-Limit-Reset": str(max(1, math.ceil(end - now))),
        }
