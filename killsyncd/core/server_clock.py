"""Another server's clock, as far as its `Date` headers tell: a lower and an upper bound, never a guess.

`Expires`, the floating windows and the life of tokens run on the clocks of ESI and SSO; ours may be off, or
be set while we run. A `Date` has whole seconds, and the answer travelled; so every answer gives an interval
for the difference to our monotonic clock, and their intersection closes in on it. "Not before" is asked of
the lower bound, "spent at" is written with the upper one: both err on the safe side.

Behind one name stand many machines, and the clock of one may be wrong by an hour. So answers vote: what most
of the last ones agree on is believed, and our own wall clock has a say.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache

from killsyncd.core.clock import Clock

DRIFT = 200e-6
"""Seconds a second that the two clocks may run apart (NTP slews by at most 500 ppm, rarely)."""

SKEW = 5.0
"""Seconds that two machines of one service may differ. Beyond, a Date is doubted until most agree with it."""

VOTES = 60
"""Answers that are remembered."""

IN_A_ROW = 12
"""Answers in a row that are believed against all before."""

WALL_VOTES = 6
"""As many answers as this machine's own clock outweighs: most machines keep their time."""


@lru_cache(maxsize=512)
def parse_http_date(text: str) -> float | None:
    """An HTTP date (RFC 9110, 5.6.7) in seconds since 1970, or None. The same second comes many times."""
    try:
        return parsedate_to_datetime(text[:64]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _Interval:
    """The server's time minus our monotonic time lies between low and high, seen at that monotonic moment."""

    low: float
    high: float
    at: float

    def widened(self, now: float) -> _Interval:
        """As it stands at another moment: the clocks drift apart."""
        drift = DRIFT * max(0.0, now - self.at)
        return _Interval(self.low - drift, self.high + drift, max(now, self.at))

    def agrees(self, other: _Interval) -> bool:
        """Whether both can be true of machines that differ by no more than SKEW."""
        return self.low <= other.high + SKEW and self.high >= other.low - SKEW

    def with_(self, other: _Interval) -> _Interval:
        """What both leave; two machines that don't quite agree are both believed."""
        at = max(self.at, other.at)
        if self.low <= other.high and self.high >= other.low:
            return _Interval(max(self.low, other.low), min(self.high, other.high), at)
        return _Interval(min(self.low, other.low), max(self.high, other.high), at)


@dataclass(frozen=True, slots=True)
class Dissent:
    """Answers whose Date is far from what most say. seconds: by how much the latest of them is ahead."""

    answers: int
    of: int
    seconds: float


class ServerTime:
    """An estimate of the server's time; never earlier than the last time that was stored before a restart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = _Interval(0.0, 0.0, 0.0)
        self._votes: deque[_Interval] = deque(maxlen=VOTES)
        self._proven = 0.0
        self.known = False
        """Whether the server has told its time since we started; before, this machine's clock stands in."""
        self.sure = False
        """Whether at least two sources agree: two answers, or one and this machine's clock."""

    def not_after(self) -> float:
        """The server's time, or earlier: for asking whether a moment has come."""
        if not self.known:
            return self._proven or self._clock.now()
        monotonic = self._clock.monotonic()
        now = monotonic + self._now.low - DRIFT * (monotonic - self._now.at)
        return now if self.sure else max(self._proven, min(now, self._clock.now()))

    def not_before(self) -> float:
        """The server's time, or later: for writing down when something happened."""
        if not self.known:
            return max(self._proven, self._clock.now())
        monotonic = self._clock.monotonic()
        return monotonic + self._now.high + DRIFT * (monotonic - self._now.at)

    def to_wall(self, moment: float) -> float:
        """A moment of the server's clock on this machine's wall clock, not too early."""
        return self._clock.now() + (moment - self.not_after())

    @property
    def offset(self) -> float:
        """Seconds that this machine's clock is behind the server's (negative: ahead).

        0 while unknown; but where it is behind what the server said before the restart, at least that much.
        """
        if not self.known:
            return max(0.0, self._proven - self._clock.now())
        now = self._clock.monotonic()
        return now + (self._now.low + self._now.high) / 2 - self._clock.now()

    @property
    def wall_is_wrong(self) -> bool:
        """Whether this machine's clock is behind a moment that has certainly passed."""
        return self._clock.now() < self._proven - SKEW

    @property
    def dissent(self) -> Dissent | None:
        """Answers among the last ones that most contradict; None where all agree."""
        others = [each for each in self._votes if not each.agrees(self._now)]
        if not others:
            return None
        return Dissent(len(others), len(self._votes), others[-1].low - self._now.low)

    def passed(self, moment: float) -> None:
        """The server's clock has shown this moment before the restart: it cannot be earlier now.

        A wall clock that is behind it is wrong, and has no say.
        """
        self._proven = max(self._proven, moment)

    def doubt(self) -> None:
        """This machine's clock was set: what was heard so far has one vote from now on.

        A machine that slept has a monotonic clock that stood still meanwhile.
        """
        if self.known:
            self._votes = deque([self._now], VOTES)
            self.sure = False

    def observe(self, date: float, sent: float, received: float) -> None:
        """An answer dated `date` (whole seconds) to a request of that moment (monotonic seconds)."""
        seen = _Interval(date - received, date + 1.0 - sent, received)
        self._votes.append(seen)
        if not self.known:
            self.known = True
            self._now = seen
            self.sure = self._wall_agrees(seen)
            return
        now = self._now.widened(received)
        if seen.agrees(now):
            self._now = now.with_(seen)
            self.sure = self.sure or len(self._agreeing(seen)) > 1
        elif self._weight(seen) > self._weight(now) or self._all_lately(seen):
            for each in self._agreeing(seen):
                seen = each.widened(received).with_(seen)
            self._now = seen
            self.sure = True

    def _agreeing(self, seen: _Interval) -> list[_Interval]:
        return [each for each in self._votes if each.widened(seen.at).agrees(seen)]

    def _weight(self, seen: _Interval) -> int:
        return len(self._agreeing(seen)) + WALL_VOTES * self._wall_agrees(seen)

    def _all_lately(self, seen: _Interval) -> bool:
        """Whether the last answers all say so: then no single server is wrong, the time has changed."""
        lately = list(self._votes)[-IN_A_ROW:]
        return len(lately) == IN_A_ROW and all(each.widened(seen.at).agrees(seen) for each in lately)

    def _wall_agrees(self, seen: _Interval) -> bool:
        wall = self._clock.now() - self._clock.monotonic()
        return not self.wall_is_wrong and seen.agrees(_Interval(wall, wall, seen.at))
