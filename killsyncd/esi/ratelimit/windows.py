"""ESI's rate limits as arithmetic: floating windows, prices, reservations, pace. Pure, time is passed in.

Source: ESI's rate limiting as CCP documents it. A bucket is a (group, user); what a request cost comes back
one window after it was spent. Prices: 2xx 2 tokens, 3xx 1, 4xx 5, 429 and 5xx none.

How the limit is kept: tokens are *reserved* in the database before anything is sent, at the worst price a
request can have, and *settled* at the true price when the answer is there. What is never settled (a crash,
a time-out) stays spent until ESI's own count, written after the last of its requests has ended, says that it
was less. So the sum in the database is at every moment at least what ESI counts.

Times here are ESI's, in seconds since 1970 (see core/server_clock.py), unless a name says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

WORST_PRICE = 5
"""What a request costs at most: a 4xx."""

MARGIN = 1.0
"""Seconds that a token stays away longer than its window."""

FLOOR = 0.15
"""The last part of a window, which sources with much pending leave to the others."""

LONGEST_LIFE = 10.0
"""Seconds in which what is reserved must be sent."""

LOOKS = 0.001
"""The share of a window kept for one probe, whose headers show ESI's real count when all else is booked."""

OBSERVATION_LIFE = 3.0
"""Seconds after which what a header said is too old to be compared with."""

SLACK = 0.01
"""Part of a window (at most OBSERVATION_LIFE) by which ESI may return tokens later than it says."""

FORGOTTEN_AFTER = 3600.0
"""Seconds a spend is kept after its return: a header of a moment ago has to find it, and so has whoever
notices that the clock was wrong by which it returned."""


def price(status: int) -> int:
    """Tokens that an answer with this HTTP status costs in its bucket."""
    if status == 429 or status >= 500:
        return 0
    if status >= 400:
        return WORST_PRICE
    return 1 if status >= 300 else 2


_LIMIT = re.compile(r"(\d{1,12})/(\d{0,6})([smhd])")
_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_limit(text: str) -> tuple[int, float] | None:
    """`X-Ratelimit-Limit` (`30/15m`, `1000/h`) as tokens and seconds, or None if it is not one."""
    match = _LIMIT.fullmatch(text.strip()) if len(text) < 40 else None
    if match is None:
        return None
    tokens, window = int(match[1]), float(match[2] or 1) * _UNIT[match[3]]
    return (tokens, window) if tokens > 0 and 0 < window <= 31 * 86400.0 else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Whose tokens: a rate-limit group and a subject of `character_subject` or `address_subject`."""

    group: str
    subject: str


def character_subject(client_id: str, character_id: int) -> str:
    """With a token ESI counts per application and character."""
    return f"app:{client_id}:{character_id}"


def address_subject(egress: str) -> str:
    """Without a token ESI counts per address; `esi.egress` names it."""
    return f"egress:{egress}"


def character_of(subject: str) -> int | None:
    """The character id of a subject, None for an address."""
    kind, _, rest = subject.partition(":")
    number = rest.rpartition(":")[2]
    return int(number) if kind == "app" and number.isdigit() else None


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """What is known of a route: from the specification until headers tell otherwise.

    group: None for routes under the old error limit. tokens a `window` (seconds). ttl: the longest cache
    life seen (seconds); what must be waited if a crash took the answer's `Expires`.
    """

    route: str
    group: str | None
    tokens: int
    window: float
    ttl: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation settled: what it really used, and when the last of it comes back."""

    id: int
    bucket: Bucket
    tokens: int
    returns_at: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What ESI's headers said: so much was used, at a moment between `earliest` and `latest`.

    held_for: seconds between a reservation and its settlement at most.
    """

    bucket: Bucket
    used: int
    window: float
    earliest: float
    latest: float
    held_for: float = 60.0

    @property
    def known_after(self) -> float:
        """What returns after this moment counts as known when the header was written."""
        return self.earliest - min(OBSERVATION_LIFE, SLACK * self.window)

    @property
    def counted_after(self) -> float:
        """What is settled and returns after this moment had not returned by ESI's count."""
        return self.latest + MARGIN + self.held_for

    @property
    def charged_by(self) -> float:
        """What is settled and returns by this moment was charged before the header was written."""
        return self.earliest + self.window + MARGIN

    def foreign(self, known: int) -> int:
        """Tokens that somebody else spent, given what the database knew for that moment."""
        return max(0, self.used - known)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to be written down sometime, of reservations that are over and of what ESI said meanwhile."""

    bills: tuple[Reservation, ...] = ()
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A request for tokens. Everything in it happens in one transaction.

    want: as many as this; least: fewer are of no use. keep: the part of the limit (0..1) to leave alone.
    limit, window: what this daemon knows. now: for tokens coming back (ESI's time, not later than it
    is); spent_at: for tokens going out (not earlier than it is). held_for: seconds after which the
    reservation will be settled or, the daemon being dead, can no longer be spent. bills, observations:
    to be written first. gates: at most two; while one of them is shut nothing is granted. forget: delete
    what came back before `now`; not by a clock that may be wrong. look: where nothing is left because of
    reservations that nobody settled, one request is granted all the same, out of what is kept, never beyond
    the limit: its answer tells what was really spent.
    """

    bucket: Bucket
    want: int
    least: int
    keep: float
    limit: int
    window: float
    now: float
    spent_at: float
    held_for: float
    bills: tuple[Reservation, ...] = ()
    observations: tuple[Observation, ...] = ()
    gates: tuple[str, ...] = ()
    forget: bool = True
    look: bool = False


@dataclass(frozen=True, slots=True)
class ReservationResult:
    """The database's answer. tokens 0: none; ask again at `next_at`. used: in the window, this included.

    spent_at: ESI's time at which they were taken, and which whatever was written alongside has.
    """

    id: int
    tokens: int
    next_at: float
    used: int
    spent_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """A bucket as it stands: spends still out, as (returns_at, tokens) by time."""

    bucket: Bucket
    spends: tuple[tuple[float, int], ...]
    blocked_until: float

    @property
    def used(self) -> int:
        """Tokens spent within the window."""
        return sum(tokens for _, tokens in self.spends)


def kept(limit: int, keep: float) -> int:
    """Tokens that a caller with this `keep` must leave: at least one request's worth, where there is room."""
    if keep <= 0 or limit < 4 * WORST_PRICE:
        return 0
    return max(math.ceil(limit * keep), WORST_PRICE)


def worst_price(limit: int) -> int:
    """What a request in flight holds: the worst price, or all there is where the limit is below it."""
    return min(WORST_PRICE, limit)


def decide(ask: ReservationRequest, used: int) -> int:
    """How many tokens to grant when `used` are out."""
    cap = ask.limit - kept(ask.limit, ask.keep)
    # A limit below the worst price would never grant anything: then one request at a time.
    least = min(ask.least, cap)
    free = cap - used
    return min(max(ask.want, least), free) if free >= least else 0


def when_free(ask: ReservationRequest, spends: Iterable[tuple[float, int]]) -> float:
    """When `ask.least` tokens will be there, given (returns_at, tokens) in the order of returning."""
    spends = list(spends)
    used = sum(tokens for _, tokens in spends)
    for returns_at, tokens in spends:
        used -= tokens
        if decide(ask, used):
            return returns_at
    return ask.now


class Chunk:
    """A reservation, used up in memory. In-flight requests hold the worst price of it."""

    __slots__ = (
        "_returns_at",
        "bucket",
        "granted",
        "granted_at",
        "held",
        "id",
        "last_part",
        "send_by",
        "spent_at",
        "used",
    )

    def __init__(
        self, grant: ReservationResult, bucket: Bucket, *, granted_at: float, send_by: float, last_part: bool
    ) -> None:
        """granted_at, send_by: monotonic seconds; nothing of it may be sent after send_by.
        last_part: it is of the window's last part, which heavy sources leave to the others."""
        self.id = grant.id
        self.spent_at = grant.spent_at
        self.bucket = bucket
        self.granted = grant.tokens
        self.granted_at = granted_at
        self.send_by = send_by
        self.last_part = last_part
        self.used = 0
        self.held = 0
        self._returns_at = 0.0

    @property
    def free(self) -> int:
        """Tokens neither used nor held."""
        return self.granted - self.used - self.held

    def over(self, monotonic: float, worst: int) -> bool:
        """Whether no request of the worst price can be sent by it any more: it may be settled."""
        return self.held == 0 and (self.free < worst or monotonic > self.send_by)

    def hold(self, tokens: int) -> None:
        """Set tokens aside for a request that is about to be sent."""
        self.held += tokens

    def give_back(self, held: int, used: int, returns_at: float) -> None:
        """The request is over: it held so much and cost so much, which comes back then."""
        self.held -= held
        self.used += used
        if used:
            self._returns_at = max(self._returns_at, returns_at)

    def bill(self) -> Reservation:
        """What the database is told when the reservation is over."""
        return Reservation(self.id, self.bucket, self.used, self._returns_at)


class Pacer:
    """So many requests a second, evenly; up to a tenth of a second's worth may come at once.

    The generic cell rate algorithm (ITU-T I.371): in any span of t seconds at most
    `per_second * (t + 0.1) + 1` requests.
    """

    def __init__(self, per_second: float) -> None:
        self.interval = 1.0 / per_second
        self._due = -math.inf

    def delay(self, monotonic: float) -> float:
        """Take the next place; answers the seconds to wait for it."""
        due = max(self._due, monotonic)
        self._due = due + self.interval
        return max(0.0, due - 0.1 - monotonic)


def eta(usage: Usage, limit: int, window: float, requests: int, now: float, per_second: float) -> float:
    """Seconds until so many more details could be fetched, at 2 tokens each, if all goes well."""
    need = 2 * requests
    if need <= 0:
        return 0.0
    paced = requests / per_second
    have = max(0, limit - usage.used)
    start = max(0.0, usage.blocked_until - now)
    if have >= need:
        return start + paced
    last = now
    for returns_at, tokens in usage.spends:
        have += tokens
        last = max(last, returns_at)
        if have >= need:
            return max(start, last - now, paced)
    # Beyond what is out now: whole windows of fresh spending.
    rounds = math.ceil((need - have) / max(1, limit))
    return max(start + rounds * (window + MARGIN), last - now, paced)
