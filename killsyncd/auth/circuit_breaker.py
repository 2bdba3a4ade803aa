"""A breaker over one peer: while it is dead, one question now and then instead of ten thousand."""

from __future__ import annotations

import random

from killsyncd.core.clock import Clock


class CircuitBreaker:
    """Closed until a failure; then open for a while that doubles with every further one.

    Once the while is over whoever comes may ask again; the first success closes it for all,
    the first failure opens it anew. It knows nothing of who asks for what.

    first, longest: seconds it stays open after one failure, and at most; half of it is random.
    """

    def __init__(
        self, clock: Clock, rng: random.Random, *, first: float = 2.0, longest: float = 120.0
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._first = first
        self._longest = longest
        self._strikes = 0
        self._opened_at = 0.0
        self._open_until = 0.0
        self.since: float | None = None
        """When the peer stopped answering, seconds since 1970; None while it answers."""

    def wait(self) -> float:
        """Seconds until anybody may ask; 0 now."""
        return max(0.0, self._open_until - self._clock.monotonic()) if self._strikes else 0.0

    def succeeded(self) -> None:
        """The peer answered (a refusal is an answer too)."""
        self._strikes = 0
        self.since = None

    def failed(self, asked_at: float, retry_after: float | None = None) -> None:
        """The peer did not answer a question asked at `asked_at` (monotonic seconds).

        retry_after: what the peer itself asks for counts where it is longer.
        """
        now = self._clock.monotonic()
        if self._strikes and asked_at < self._opened_at:
            return  # asked before it opened: the same outage, told by several
        pause = min(self._longest, self._first * 2.0 ** min(self._strikes, 30)) * self._rng.uniform(0.5, 1.0)
        self._strikes += 1
        self._opened_at = now
        self._open_until = now + max(pause, retry_after or 0.0)
        if self.since is None:
            self.since = self._clock.now()
