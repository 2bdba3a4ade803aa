"""One health model behind the command line, GraphQL, the dashboard, metrics and the service.

A problem has a stable `code` (`problem_kinds.py` has them all), a reason and a remedy. It comes from
one of two sides: a task reports what it runs into (`Health.report`, `Health.clear`), and
`derive` reads the rest off the facts in the database, where it is true for every daemon
that shares it. `syncing` is false as soon as one problem stops the work as a whole; what
concerns one pilot or one mail is a problem too, but the daemon is doing its job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from killsyncd.core.clock import Clock, utc
from killsyncd.core.deployment import fit
from killsyncd.core.logging import Logger, StateLog, get_logger
from killsyncd.core.model import Problem, Source, UserState, WaitsFor
from killsyncd.service.problem_kinds import CODES, ordered

FAILING_ATTEMPTS = 3
"""From this many failures in a row on a pilot's sync shows as a problem; fewer are ordinary."""


WORTH_TELLING = 30.0
"""Seconds from which a pilot's wait for ESI's budget shows as a problem."""


CACHED_LONG = 1800.0
"""Seconds from which a pilot's wait for ESI's cache shows as a problem; lists live 300."""


class Health:
    """What the tasks of this process reported and have not cleared. One a process, not thread-safe."""

    def __init__(self, clock: Clock, log: Logger | None = None) -> None:
        self._clock = clock
        self._problems: dict[tuple[str, int | None], Problem] = {}
        self._told = StateLog(log or get_logger(__name__))

    def report(self, code: str, reason: str, remedy: str = "", character_id: int | None = None) -> None:
        """There is a problem. Telling it again updates the reason, keeps `since`, and is not logged again.

        code: one of CODES. remedy: empty takes the code's own.
        """
        key = (code, character_id)
        known = self._problems.get(key)
        if not remedy:
            remedy = CODES[code].remedy if code in CODES else "killsyncd check"
        if known is not None:
            self._problems[key] = replace(known, reason=reason, remedy=remedy)
            return
        self._problems[key] = Problem(code, reason, remedy, self._clock.now(), character_id)
        who: dict[str, Any] = {} if character_id is None else {"character_id": character_id}
        self._told.set(key, "problem", "problem", problem=code, reason=reason, remedy=fit(remedy), **who)

    def clear(self, code: str, character_id: int | None = None) -> None:
        """It is gone; saying so where nothing was is fine."""
        if self._problems.pop((code, character_id), None) is not None:
            self._told.set((code, character_id), "ok", "problem is over", problem=code)

    def has(self, code: str, character_id: int | None = None) -> bool:
        """Whether this is reported just now."""
        return (code, character_id) in self._problems

    def problems(self) -> list[Problem]:
        """What is reported just now, what stops everything first."""
        return ordered(self._problems.values())


@dataclass(frozen=True, slots=True)
class UserTrouble:
    """A grant that cannot be used, or a source whose sync fails. since: seconds since 1970.

    character_id, character_name: of the grant, or of the grant by which the source is read. doubted: the SSO
    refused the login once; it is asked again in a minute. source: None where it is the grant's trouble.
    subject: whose list it is, where it is not this pilot's own.
    """

    character_id: int
    character_name: str
    state: UserState
    reason: str | None
    since: float
    attempts: int = 0
    doubted: bool = False
    source: Source | None = None
    subject: str | None = None

    @property
    def who(self) -> str:
        """Whom to name."""
        return self.subject or f"{self.character_name} ({self.character_id})"


@dataclass(frozen=True, slots=True)
class WaitingList:
    """A source whose list may not be asked for before `until` (seconds since 1970). reason: for the log.

    character_id, character_name: of the grant by which it is read. subject: as in `UserTrouble`.
    """

    character_id: int
    character_name: str
    waits_for: WaitsFor
    reason: str
    until: float
    source: Source
    subject: str | None = None

    @property
    def who(self) -> str:
        """Whom to name."""
        return self.subject or f"{self.character_name} ({self.character_id})"


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """What the database says. Times in seconds since 1970.

    switches: name of each that is on (`daemon`, `producer`) and since when.
    users: all but those who logged out (`left`). ready: users that can be synced now. troubles: users that
    cannot, or whose sync fails. waiting: pilots' lists that wait.
    """

    now: float
    users: int
    ready: int
    first_user_at: float | None
    switches: Mapping[str, float] = field(default_factory=dict)
    producer_enabled: bool = True
    troubles: tuple[UserTrouble, ...] = ()
    waiting: tuple[WaitingList, ...] = ()
    quarantined: int = 0
    quarantined_since: float | None = None
    revocations: int = 0
    left: int = 0
    started_at: float = 0.0


_OF_STATE = {
    UserState.NEEDS_LOGIN: "needs_login",
    UserState.OWNER_CHANGED: "owner_changed",
    UserState.SCOPE_MISSING: "scope_missing",
}
_OF_WAIT = {WaitsFor.BUDGET: "budget_dry", WaitsFor.BLOCKED: "budget_blocked"}
_WHY = {
    UserState.NEEDS_LOGIN: "the login has ended",
    UserState.OWNER_CHANGED: "the character belongs to another account now",
    UserState.SCOPE_MISSING: "the killmail scope is missing",
}


def list_reason(waiting: WaitingList) -> str:
    """Why a pilot's list waits, in one sentence with its time."""
    until = f"{utc(waiting.until):%H:%M:%S} UTC"
    whose = (
        "this pilot's list" if waiting.subject is None else f"the list, by {waiting.character_name}'s token,"
    )
    why = {
        WaitsFor.CACHE: "ESI has nothing newer yet",
        WaitsFor.UNANSWERED: "ESI did not answer the last time, and may have cached what it did not say",
        WaitsFor.EARLIER_LIFE: "it may have been asked for before a restore or an erase, and be cached",
        WaitsFor.BUDGET: f"the budget of {whose} is spent",
        WaitsFor.BLOCKED: f"ESI asked us to wait with {whose}".removesuffix(","),
        WaitsFor.ERROR_LIMIT: "ESI's error limit shuts every route",
        WaitsFor.DOWNTIME: "ESI is down",
        WaitsFor.CLOCK: "this machine's clock is wrong, and ESI is asked for the time first",
        WaitsFor.RETRY: waiting.reason or "the last attempt failed",
    }[waiting.waits_for]
    return f"{waiting.who}: {why}; asked again at {until}"


def derive(facts: HealthFacts) -> list[Problem]:
    """The problems that follow from the facts."""
    found: list[Problem] = []

    def add(
        code: str,
        reason: str,
        since: float | None,
        character_id: int | None = None,
        source: Source | None = None,
    ) -> None:
        begun = facts.now if since is None else since
        found.append(Problem(code, reason, CODES[code].remedy, begun, character_id, source))

    if "daemon" in facts.switches:
        add("paused", "the daemon is paused: nothing is queued or fetched", facts.switches["daemon"])
    if "producer" in facts.switches:
        add(
            "producer_paused",
            "the producer is paused: nobody gets queued",
            facts.switches["producer"],
        )
    elif not facts.producer_enabled:
        add("producer_disabled", "the producer is turned off in the configuration", facts.started_at)
    if not facts.users:
        nobody = "whoever logged in has logged out again" if facts.left else "nobody has logged in yet"
        add("nobody_logged_in", nobody, facts.started_at)
    elif not facts.ready:
        since = max((each.since for each in facts.troubles), default=facts.first_user_at)
        who = "the only user cannot" if facts.users == 1 else f"none of the {facts.users:,} users can"
        add("nobody_syncs", f"{who} be synced", since)
    for each in facts.troubles:
        who = each.who
        if each.state in _OF_STATE:
            add(
                _OF_STATE[each.state],
                f"{who}: {each.reason or _WHY[each.state]}",
                each.since,
                each.character_id,
            )
        elif each.doubted:
            since = min(each.since, facts.now)
            add("login_doubtful", f"{who}: {each.reason}", since, each.character_id)
        elif each.attempts >= FAILING_ATTEMPTS:
            reason = f"{who}: {each.attempts} syncs in a row failed: {each.reason or 'no reason was kept'}"
            add("sync_failing", reason, each.since, each.character_id, each.source)
    for waiting in facts.waiting:
        if waiting.waits_for is WaitsFor.CACHE and waiting.until - facts.now >= CACHED_LONG:
            add("list_cached_long", list_reason(waiting), None, waiting.character_id, waiting.source)
        if waiting.until - facts.now >= WORTH_TELLING and waiting.waits_for in _OF_WAIT:
            code = _OF_WAIT[waiting.waits_for]
            add(code, list_reason(waiting), None, waiting.character_id, waiting.source)
    if facts.quarantined:
        few = "1 mail is" if facts.quarantined == 1 else f"{facts.quarantined} mails are"
        add("quarantined", f"{few} quarantined", facts.quarantined_since)
    if facts.revocations:
        few = "1 grant is" if facts.revocations == 1 else f"{facts.revocations} grants are"
        add("revocation_pending", f"{few} still to be taken back at the SSO", facts.started_at)
    return found
