"""What ESI answers, as values, and the ways in which it does not. Shared by the client and its callers.

No text in here holds a hash or a token, and what comes from ESI is cut short and made printable.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from killsyncd.core.errors import Unavailable
from killsyncd.core.model import Affiliation, WaitsFor


@dataclass(frozen=True, slots=True)
class SetAside:
    """An entry of a list that cannot be read. entry: its id or its place, never its hash. reason: why."""

    entry: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list of killmails.

    status: 200 or 304. entries: (id, hash) in ESI's order, doubles included; None for 304: unchanged.
    etag, last_modified: as sent, None where absent. pages: `X-Pages`, None where it is missing.
    expires_at, date: ESI's clock, seconds since 1970. at: ESI's clock, when it was answered; never
    before `alongside` was told. made_at: when ESI made this list, as far as the answer tells; None
    where it tells nothing. set_aside: what else stood there.
    """

    status: int
    entries: list[tuple[int, str]] | None = field(repr=False)
    etag: str | None
    last_modified: str | None
    expires_at: float
    pages: int | None
    date: float | None
    at: float
    made_at: float | None = None
    set_aside: tuple[SetAside, ...] = ()


@dataclass(slots=True)
class KillmailResponse:
    """One killmail, as ESI sent it: not decoded yet. at: ESI's clock, when it was answered."""

    raw: bytes = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """What an id is called. category: as ESI says it (`character`, `inventory_type`, ...)."""

    id: int
    category: str
    name: str


@dataclass(frozen=True, slots=True)
class Affiliations:
    """Which corporations characters are in. cached_for: seconds until ESI has another answer."""

    found: list[Affiliation]
    cached_for: float


@dataclass(frozen=True, slots=True)
class MarketPrices:
    """`GET /markets/prices`. averages: (type id, ISK) of every type that has an average price.

    at: ESI's clock, when it was answered. until: this machine's wall clock; not to be asked for before.
    """

    averages: list[tuple[int, float]] = field(repr=False)
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`GET /status`. vip: EVE is up, but not for players yet. expires_at: ESI's clock."""

    players: int
    server_version: str
    start_time: str
    vip: bool
    expires_at: float


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A bucket for people. next_tokens_at: this machine's wall clock, None when nothing is out."""

    group: str
    character_id: int | None
    limit: int
    remaining: int
    window_seconds: float
    next_tokens_at: float | None


class EsiError(Unavailable):
    """ESI did not give what was asked for.

    counts: whether it is a failed attempt of this page or mail (downtime, limits and Expires are not).
    expires_at: ESI's clock; the resource may not be asked for again before (None: as soon as you like).
    at: ESI's clock, when it was answered; None where there was no answer.
    """

    counts = True

    def __init__(
        self, message: str, hint: str = "", *, expires_at: float | None = None, at: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.expires_at = expires_at
        self.at = at


class MustWait(EsiError):
    """Not asked at all, or refused without blame. until: this machine's wall clock, seconds since 1970.

    waits_for: what we wait for, for whoever shows it.
    """

    counts = False
    waits_for: WaitsFor = WaitsFor.RETRY

    def __init__(self, message: str, until: float, hint: str = "", *, at: float | None = None) -> None:
        super().__init__(message, hint, at=at)
        self.until = until


class NotBefore(MustWait):
    """ESI's `Expires` forbids asking yet (asking early counts as circumventing the cache)."""

    waits_for = WaitsFor.CACHE


class ClockWrong(NotBefore):
    """This machine's clock is wrong, and ESI, which knows better, may not be asked again yet."""

    waits_for = WaitsFor.CLOCK

    def __init__(self, until: float) -> None:
        super().__init__(
            "this machine's clock is wrong; ESI is asked for the time as soon as it may be",
            until,
            "nothing to do: it goes on by itself; let this machine keep its time: timedatectl set-ntp true",
        )


class Downtime(MustWait):
    """EVE or ESI is down; nothing but its status is asked for."""

    waits_for = WaitsFor.DOWNTIME


class RateLimited(MustWait):
    """No tokens in the bucket, a 429, or the error limit (420). group: of the bucket, or `error-limit`.

    dry: the window is spent; False where something else makes us wait for a moment. `until` is when to
    ask again; tokens_at (wall clock) is when tokens come back for certain, which may be later.
    """

    def __init__(
        self,
        message: str,
        until: float,
        hint: str = "",
        *,
        group: str,
        at: float | None = None,
        dry: bool = False,
        waits_for: WaitsFor = WaitsFor.BUDGET,
        tokens_at: float | None = None,
    ) -> None:
        super().__init__(message, until, hint, at=at)
        self.group = group
        self.dry = dry
        self.waits_for = waits_for
        self.tokens_at = until if tokens_at is None else tokens_at


class EsiStatus(EsiError):
    """An HTTP status that is an answer: 401, 403, 404, 422, 5xx, ... detail: ESI's words, at most 200."""

    def __init__(
        self,
        status: int,
        detail: str,
        hint: str = "",
        *,
        expires_at: float | None = None,
        at: float | None = None,
    ) -> None:
        super().__init__(
            f"ESI answered {status}{f': {detail}' if detail else ''}", hint, expires_at=expires_at, at=at
        )
        self.status = status
        self.detail = detail


class MalformedResponse(EsiError):
    """A good status with content that is not what it must be. reason: readable, without any value."""

    def __init__(self, reason: str, *, expires_at: float | None = None, at: float | None = None) -> None:
        super().__init__(f"ESI's answer cannot be used: {reason}", expires_at=expires_at, at=at)
        self.reason = reason


class TooLarge(MalformedResponse):
    """More bytes than such an answer can have."""


class ResponseTruncated(EsiError):
    """The answer ends in the middle: the connection's fault, not the content's. It may be whole next time."""


class NoResponseReceived(EsiError):
    """Asked, and no answer came (time-out, lost connection): it may have been worked off over there."""


class NotSent(EsiError):
    """No connection: ESI has not seen the request."""
