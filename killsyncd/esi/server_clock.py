"""ESI's clock, as far as its `Date` headers tell: a lower and an upper bound, never a guess.

`Expires` and the floating windows run on ESI's clock; ours may be minutes off, or be set while we run. A
`Date` has whole seconds, and the answer travelled; so every answer gives an interval for the difference to
our monotonic clock, and their intersection closes in on it. "Not before" is asked of the lower bound,
"spent at" is written with the upper one: both err on the safe side.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from functools import lru_cache

from killsyncd.core.clock import Clock

DRIFT = 200e-6
"""Seconds a second that the two clocks may run apart (NTP slews by at most 500 ppm, rarely)."""

SKEW = 5.0
"""Seconds that two of ESI's machines may differ. Beyond, a Date is doubted until a second one agrees."""


@lru_cache(maxsize=512)
def parse_http_date(text: str) -> float | None:
    """An HTTP date (RFC 9110, 5.6.7) in seconds since 1970, or None. The same second comes many times."""
    try:
        return parsedate_to_datetime(text[:64]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


class ServerTime:
    """What time it is at ESI."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._low = 0.0  # ESI's time minus our monotonic time is between these two
        self._high = 0.0
        self._at = 0.0
        self._doubted: tuple[float, float] | None = None
        self.known = False
        """Whether ESI has told its time since we started; before, this machine's clock stands in."""

    def not_after(self) -> float:
        """ESI's time, or earlier: for asking whether a moment has come."""
        if not self.known:
            return self._clock.now()
        monotonic = self._clock.monotonic()
        return monotonic + self._low - DRIFT * (monotonic - self._at)

    def not_before(self) -> float:
        """ESI's time, or later: for writing down when something happened."""
        if not self.known:
            return self._clock.now()
        monotonic = self._clock.monotonic()
        return monotonic + self._high + DRIFT * (monotonic - self._at)

    def to_wall(self, moment: float) -> float:
        """A moment of ESI's clock on this machine's wall clock, not too early."""
        return self._clock.now() + (moment - self.not_after())

    @property
    def offset(self) -> float:
        """Seconds that this machine's clock is behind ESI's (negative: ahead); 0 while unknown."""
        return (self.not_after() + self.not_before()) / 2 - self._clock.now()

    def observe(self, date: float, sent: float, received: float) -> None:
        """An answer dated `date` (whole seconds) to a request of that moment (monotonic seconds)."""
        low, high = date - received, date + 1.0 - sent
        if not self.known:
            self._set(low, high, received)
            return
        widened = DRIFT * max(0.0, received - self._at)
        mine_low, mine_high = self._low - widened, self._high + widened
        if low <= mine_high and high >= mine_low:
            self._set(max(low, mine_low), min(high, mine_high), received)
        elif low <= mine_high + SKEW and high >= mine_low - SKEW:
            # Two machines of ESI's that don't quite agree: believe both.
            self._set(min(low, mine_low), max(high, mine_high), received)
        elif self._doubted is not None and low <= self._doubted[1] and high >= self._doubted[0]:
            self._set(low, high, received)
        else:
            self._doubted = (low, high)

    def _set(self, low: float, high: float, at: float) -> None:
        self._low, self._high = low, high
        self._at = max(self._at, at)
        self._doubted = None
        self.known = True
