"""Values of webhooks. Times in seconds since 1970 by the database's clock, unless they say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from killsyncd.core.read_model import Attacker, Mail, Victim

NAMES_PATIENCE = 120.0
"""Seconds after storing for which a mail waits for names and value."""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """How far a webhook is. position: everything up to it in the feed is settled. feed_end: the newest mail.

    error: what the last attempt met, or why it stopped. not_before: no request before that; of one that
    stopped it is when it is tried once more, 0 for never. sending_id: the mail whose request has left and of
    which nothing was heard yet. replay_to, replay_since: up to this position, mails killed since then are
    sent whether fresh or not. holder, leased_at: the daemon that delivers, and when it last said so.
    channel: Discord's, as its last answer named it.
    """

    name: str
    kind: str
    position: int
    feed_end: int
    now: float
    created_at: float
    paused_at: float | None = None
    stopped_at: float | None = None
    error: str | None = None
    failing_at: float | None = None
    attempts: int = 0
    not_before: float = 0.0
    sending_id: int | None = None
    sending_at: float | None = None
    replay_to: int = 0
    replay_since: float = 0.0
    delivered: int = 0
    set_aside: int = 0
    left_out: int = 0
    delivered_at: float | None = None
    holder: str | None = None
    leased_at: float | None = None
    channel: str | None = None

    @property
    def stopped_for_good(self) -> bool:
        """Whether nothing is sent until somebody resumes it or gives it another address."""
        return self.stopped_at is not None and self.not_before <= 0.0

    @property
    def asked_to_wait(self) -> float:
        """Seconds that the other side still asked for; our own pauses after failures are none of these."""
        return 0.0 if self.attempts or self.stopped_at is not None else max(0.0, self.not_before - self.now)

    @property
    def replaying(self) -> bool:
        """Whether it goes through mails once more."""
        return self.position < self.replay_to


@dataclass(frozen=True, slots=True)
class SetAside:
    """Mails of a webhook that its other side refused of late. reason: of the newest."""

    mails: int
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a mail. message_id: of Discord's message. refused: why the other side will never take
    it.
    """

    killmail_id: int
    at: float
    message_id: str | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class PaceWindow:
    """At most so many requests in so many seconds; shared: by all webhooks of the channel."""

    requests: int
    seconds: float
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A solar system. security: CCP's, not rounded."""

    name: str
    security: float
    region_id: int
    region: str | None


@dataclass(frozen=True, slots=True)
class ShipKind:
    """A type of ship."""

    group_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Sides:
    """Ids on a mail by side: of characters, or of corporations."""

    victim: frozenset[int] = frozenset()
    attackers: frozenset[int] = frozenset()

    def any_of(self, ids: frozenset[int]) -> bool:
        """Whether one of these is on the mail."""
        return bool(ids & self.victim or ids & self.attackers)


@dataclass(frozen=True, slots=True)
class Ours:
    """Our pilots, and corporations whose lists we read."""

    pilots: frozenset[int] = frozenset()
    corporations: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mail with what filters ask of it. place, ship, value: None where nothing is known (yet). value:
    ISK.
    """

    mail: Mail
    victim: Victim
    pilots: Sides
    corporations: Sides
    place: Place | None = None
    ship: ShipKind | None = None
    value: float | None = None

    def sides_of(self, ours: Ours) -> tuple[bool, bool]:
        """Whether it is a loss, and whether it is a kill, of these."""
        lost = bool(ours.pilots & self.pilots.victim or ours.corporations & self.corporations.victim)
        killed = bool(ours.pilots & self.pilots.attackers or ours.corporations & self.corporations.attackers)
        return lost, killed


@dataclass(frozen=True, slots=True)
class Shown:
    """A mail as a message shows it. outcome: `kill`, `loss` or empty, from our side. names: of its ids.

    test: asked for by `ctl webhooks test`. again: a request for it has left before, and nobody knows what
    came of it.
    """

    candidate: Candidate
    outcome: str
    final_blow: Attacker | None
    names: Mapping[int, str] = field(default_factory=dict)
    test: bool = False
    again: bool = False
