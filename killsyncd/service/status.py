"""The status: facts of the database and what the tasks report, put together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import Problem, QueueDepth, UserState
from killsyncd.core.tasks import deadline
from killsyncd.service import health, problem_kinds
from killsyncd.service.background_health import background_problems
from killsyncd.service.esi_view import EsiView
from killsyncd.service.health import Health, HealthFacts
from killsyncd.service.ports import OperationsStorage, StatusFacts
from killsyncd.service.results import Budget, StatusReport, Waiting
from killsyncd.service.source_health import source_problems
from killsyncd.service.waiting import waiting_details, waiting_lists
from killsyncd.service.wording import resident_bytes

DATABASE_SECONDS = 3.0
"""How long a status waits for what the database knows, before it is given without. A query has more time."""

DAEMON_SWITCH = "daemon"
PRODUCER_SWITCH = "producer"


@dataclass(frozen=True, slots=True)
class OperationsSettings:
    """skip_within: seconds, `queue.skip_within`. producer_enabled: `producer.enabled`. started_at: when the
    daemon started, seconds since 1970. background: names of the tasks in core/background.py that are at work.
    """

    skip_within: float
    producer_enabled: bool
    version: str
    started_at: float
    background: frozenset[str] = frozenset()


class StatusReporter:
    """Makes status reports. See `Operations` for the parameters."""

    def __init__(
        self,
        storage: OperationsStorage,
        settings: OperationsSettings,
        health: Health,
        clock: Clock,
        esi: EsiView | None,
    ) -> None:
        self._rows = storage.rows
        self._queue = storage.queue
        self._settings = settings
        self._esi = esi
        self._health = health
        self._clock = clock
        self._database_failing_since: float | None = None

    async def report(self) -> StatusReport:
        """Is it syncing, and if not, why.

        A database that fails is a problem like others: then what it would tell is left out.
        """
        facts, depths = StatusFacts.unknown(self._clock.now()), [QueueDepth("", 0, 0, {})]
        budgets: list[Budget] = []
        eta: float | None = None
        try:
            async with deadline(DATABASE_SECONDS):
                facts, depths = await self._rows.status_facts(), await self._queue.depths()
                if self._esi is not None:
                    budgets = list(await self._esi.budgets())
                    eta = await self._esi.eta(facts.pending) if facts.pending else None
        except Unavailable as error:
            facts, depths = StatusFacts.unknown(self._clock.now()), [QueueDepth("", 0, 0, {})]
            problems = self._without_database(error)
        else:
            self._database_failing_since = None
            problems = self._problems(facts)
        paused = DAEMON_SWITCH in facts.switches
        down = self._esi is not None and self._esi.downtime()
        return StatusReport(
            syncing=problem_kinds.syncing(problems),
            problems=problems,
            queue=depths[0],
            queues=depths,
            consumers=0 if paused else facts.daemons,
            pending_details=facts.pending,
            pending_eta=eta if facts.pending else 0.0,
            oldest_pending_at=_moment(facts.oldest_pending_at),
            quarantined=facts.quarantined,
            budgets=budgets,
            waiting=self._waiting(facts),
            producer_enabled=self._settings.producer_enabled,
            producer_running=facts.producer_running,
            last_producer_run=_moment(facts.producer_last_at),
            last_producer_queued=facts.producer_last_queued,
            next_producer_run=self._next_run(facts),
            users_by_state=dict(facts.users_by_state),
            feed_cursor=facts.feed_cursor,
            downtime=down or self._health.has("downtime"),
            version=self._settings.version,
            started_at=utc(self._settings.started_at),
            uptime=max(0.0, self._clock.now() - self._settings.started_at),
            rss_bytes=resident_bytes(),
        )

    def _without_database(self, error: Unavailable) -> list[Problem]:
        if self._database_failing_since is None:
            self._database_failing_since = self._clock.now()
        code = "database_failing"
        remedy = error.hint or problem_kinds.CODES[code].remedy
        failing = Problem(code, error.message, remedy, self._database_failing_since)
        reported = [each for each in self._health.problems() if each.code != code]
        return problem_kinds.ordered([failing, *reported])

    def _problems(self, facts: StatusFacts) -> list[Problem]:
        derived = health.derive(
            HealthFacts(
                now=facts.now,
                users=facts.users,
                ready=facts.ready,
                first_user_at=facts.first_user_at,
                switches=facts.switches,
                producer_enabled=self._settings.producer_enabled,
                troubles=facts.troubles,
                waiting=facts.waiting,
                quarantined=facts.quarantined,
                quarantined_since=facts.quarantined_since,
                revocations=facts.revocations,
                left=facts.users_by_state.get(UserState.LEFT, 0),
                started_at=self._settings.started_at,
            )
        )
        sso = next((each for each in self._health.problems() if each.code == "sso_unavailable"), None)
        if sso is not None and facts.ready and not facts.holding:
            code = problem_kinds.CODES["tokens_ended"]
            derived.append(Problem(code.code, "nobody has an access token left", code.remedy, sso.since))
        derived += background_problems(facts.tasks, self._settings.background, facts.now)
        derived += source_problems(facts.unread, facts.now)
        said = {each.key for each in derived}
        reported = [each for each in self._health.problems() if each.key not in said]
        return problem_kinds.ordered([*derived, *reported])

    def _waiting(self, facts: StatusFacts) -> list[Waiting]:
        details = waiting_details(
            self._esi.details_wait() if self._esi is not None else None,
            pending=facts.pending,
            retrying=facts.retrying,
            next_retry_at=facts.next_retry_at,
            now=self._clock.now(),
            monotonic=self._clock.monotonic(),
        )
        return [*details, *waiting_lists(facts.waiting)]

    def _next_run(self, facts: StatusFacts) -> datetime | None:
        if not self._settings.producer_enabled or facts.switches:
            return None
        if facts.producer_next_at is None:
            return None
        return utc(max(facts.producer_next_at, facts.now))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)
