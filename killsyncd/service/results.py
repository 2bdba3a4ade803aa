"""What the operations answer: plain values, whose fields are the names of their JSON (`result_json.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from killsyncd.auth.login_state import LoginState
from killsyncd.core.model import Problem, QueueDepth, User, UserState, WaitsFor
from killsyncd.core.sources import SourceState


@dataclass(frozen=True, slots=True)
class Budget:
    """What ESI leaves us of one window. character_id: None for the address's. window_seconds: its length."""

    group: str
    character_id: int | None
    limit: int
    remaining: int
    window_seconds: int
    next_tokens_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that waits, why, and until when.

    what: `list` (one pilot's; count is 1) or `details` (count killmails). code: of WaitsFor. until: when it
    is looked at again at the latest.
    """

    what: str
    code: WaitsFor
    reason: str
    until: datetime
    count: int
    character_id: int | None = None
    character_name: str | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Is it syncing, and if not, why.

    pending_details: mails listed and not stored yet; pending_eta: seconds that ESI's budget needs for them,
    None where that is not known. waiting: what waits for ESI and until when: details first, then the 200
    lists that wait longest. queue: the first of the queues. consumers: daemons that work the queue, 0 while
    paused. rss_bytes: resident memory of the daemon; uptime: seconds.
    """

    syncing: bool
    problems: list[Problem]
    queue: QueueDepth
    queues: list[QueueDepth]
    consumers: int
    pending_details: int
    pending_eta: float | None
    oldest_pending_at: datetime | None
    quarantined: int
    budgets: list[Budget]
    waiting: list[Waiting]
    producer_enabled: bool
    producer_running: bool
    last_producer_run: datetime | None
    last_producer_queued: int
    next_producer_run: datetime | None
    users_by_state: dict[UserState, int]
    feed_cursor: str
    downtime: bool
    version: str
    started_at: datetime
    uptime: float
    rss_bytes: int | None

    def by_queue(self) -> list[StatusReport]:
        """A row a queue: the report as each of them sees it."""
        return [replace(self, queue=each) for each in self.queues]


@dataclass(frozen=True, slots=True)
class PauseChanged:
    """What `pause` and `resume` changed. what: `daemon`, `producer` or a character's name."""

    what: str
    paused: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class PilotGroup:
    """Pilots that are one player's, by their names."""

    name: str
    pilots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A quarantined mail, and through whom it came."""

    killmail_id: int
    reason: str
    attempts: int
    listed_at: datetime
    since: datetime
    characters: list[str]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry of a list that cannot be read. entry: its id, or its place on the page."""

    entry: str
    reason: str
    character: str
    listed_at: datetime


@dataclass(frozen=True, slots=True)
class Retried:
    """What `retry` put back, and which ids it does not know as failed or pending.

    names: ids of EVE whose names are asked for again.
    """

    retried: list[int]
    unknown: list[int]
    names: int = 0


@dataclass(frozen=True, slots=True)
class KnownThroughZkillboard:
    """What zKillboard, a third party, has told of a character.

    known_from: time of the oldest stored mail that it told of. known_to: up to when what was posted there is
    known; None while its list was not read to the end. listed: mails that it told of. never_listed: those of
    them that no list of ESI has shown. pending, quarantined: of those listed. bad_entries: that could not be
    read.
    """

    known_from: datetime | None
    known_to: datetime | None
    listed: int
    never_listed: int
    pending: int
    quarantined: int
    bad_entries: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What can be claimed for one character.

    complete_from, complete_to: every mail that ESI listed for this character (losses and final
    blows, no assists) with a time between them is stored, but for `pending` and `quarantined`; None where
    nothing can be claimed, and `why` says so. See docs/ctl.md for how far that goes.
    kept_since: time of the oldest stored mail of this character's lists; older than
    complete_from means that earlier syncs brought it.
    missing: listed, but neither stored nor wanted. Always 0, or there is a mistake in killsyncd.
    unreadable: entries of the list that cannot be read (`failed` has them): what they are is not known.
    walks_cut, walks_torn: among the last 50 walks. zkillboard: None where it was never asked.
    """

    character_id: int
    character_name: str
    state: UserState
    complete: bool
    why: str | None
    complete_from: datetime | None
    complete_to: datetime | None
    kept_since: datetime | None
    listed: int
    pending: int
    quarantined: int
    missing: int
    walks_cut: int
    walks_torn: int
    last_full_walk_at: datetime | None
    unreadable: int
    zkillboard: KnownThroughZkillboard | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What can be claimed of a list: see `Verified`."""

    complete: bool
    why: str | None
    complete_from: datetime | None
    complete_to: datetime | None
    kept_since: datetime | None
    listed: int
    pending: int
    quarantined: int
    missing: int
    walks_cut: int
    walks_torn: int
    last_full_walk_at: datetime | None
    unreadable: int


@dataclass(frozen=True, slots=True)
class VerifiedCorporation(Claims):
    """What can be claimed for one corporation: the losses and final blows of its members. As `Verified`.

    state, state_reason, remedy: of its list. zkillboard: None where it was never asked.
    """

    corporation_id: int
    corporation_name: str | None
    state: SourceState
    state_reason: str | None
    remedy: str | None
    zkillboard: KnownThroughZkillboard | None


@dataclass(frozen=True, slots=True)
class SeenThrough:
    """Through which source a mail came. source: its kind. character_id: None for a corporation and an import;
    character_name: the subject's name, None for an import. subject_*: of what it is the list.
    """

    source: str
    character_id: int | None
    character_name: str | None
    listed_at: datetime
    subject_id: int | None = None
    subject_name: str | None = None


@dataclass(frozen=True, slots=True)
class ExplainedValue:
    """What a mail was worth, and how that is known. In ISK; total = destroyed + dropped.

    method: `ESI_AVERAGE`, `MARKET_HISTORY`, `OVERRIDE` or `LATER`. priced_on: the latest day whose prices
    were used, as 2026-11-30. unpriced: types without a price, which count as nothing. unknown: how many of
    its types the static data do not know. changes: how often it was valued otherwise since; earlier_*: what
    was said before the last change.
    """

    total: float
    destroyed: float
    dropped: float
    method: str
    priced_on: str
    unpriced: list[int]
    unknown: int
    valued_at: datetime
    changes: int
    earlier_total: float | None
    earlier_method: str | None
    earlier_priced_on: str | None


@dataclass(frozen=True, slots=True)
class Explained:
    """Where a mail came from, or why it is not here.

    state: `stored`, `pending`, `quarantined` or `unknown`. verdict: one sentence for people.
    origin: `esi` or `import`. attempts: fetches that failed. next_try_at: of a pending one. value: None while
    a stored mail has none.
    """

    killmail_id: int
    state: str
    verdict: str
    seen: list[SeenThrough]
    origin: str | None
    killmail_time: datetime | None
    first_listed_at: datetime | None
    fetched_at: datetime | None
    stored_at: datetime | None
    fresh: bool | None
    attempts: int
    next_try_at: datetime | None
    reason: str | None
    value: ExplainedValue | None = None


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """What `logout` did. revoked: the SSO has confirmed; if not, it is tried again by itself.

    erased_*: rows that only this character had brought in; 0 without `erase`.
    """

    character_id: int
    character_name: str
    revoked: bool
    message: str
    erased: bool
    erased_killmails: int
    erased_pending: int


@dataclass(frozen=True, slots=True)
class LoginEnded:
    """How far a login is, and what followed.

    queued: whether a sync was queued for the user; message says why not.
    created: whether the character was not known before.
    """

    status: LoginState
    message: str
    user: User | None = None
    queued: bool = False
    created: bool = False


@dataclass(frozen=True, slots=True)
class FeedLine:
    """One stored mail as `ctl watch` shows it. Names are None until they are resolved."""

    feed_cursor: str
    killmail_id: int
    killmail_time: datetime
    stored_at: datetime
    fresh: bool
    solar_system_id: int
    solar_system: str | None
    victim_id: int | None
    victim: str | None
    corporation_id: int | None
    corporation: str | None
    ship_type_id: int
    ship: str | None
    final_blow_id: int | None
    final_blow: str | None
    attacker_count: int
    characters: list[str]

    @property
    def nameless(self) -> bool:
        """Whether a name that people look for is still to be resolved."""
        pilots = ((self.victim_id, self.victim), (self.final_blow_id, self.final_blow))
        unnamed = any(each_id is not None and name is None for each_id, name in pilots)
        return self.ship is None or self.solar_system is None or unnamed
