"""The monitor: a task that looks every few seconds for what `ctl status` must say.

Tasks report what they run into; the monitor asks the parts that report nothing by themselves: ESI's client,
the token manager, the broker, the database, the disk, the clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from killsyncd.core.clock import Clock, utc
from killsyncd.core.model import DetailsWait, Problem, WaitsFor
from killsyncd.core.server_clock import Dissent
from killsyncd.core.text import span
from killsyncd.esi.client import EsiClient
from killsyncd.service.disk_space import DiskSpace
from killsyncd.service.health import Health
from killsyncd.service.waiting import details_reason

EVERY = 5.0
SKEW = 60.0
"""Seconds by which this machine's clock may differ from ESI's."""

ODD_DATES = 3
"""Wrong Date headers among ESI's last answers from which on it is reported."""

UNREACHABLE_AFTER = 3
"""After so many requests in a row without an answer ESI counts as unreachable; fewer are ordinary."""


@dataclass(frozen=True, slots=True)
class MonitorSources:
    """What the monitor asks. Each answers at once, from memory, and None where all is well.

    problems: of the token manager. broker: RabbitMQ's trouble. database: its trouble as the tasks meet it.
    details: why killmails last had to wait for ESI. standing_still: the task that makes no progress.
    storm: why hardly a killmail is asked for.
    """

    problems: Callable[[], Sequence[Problem]]
    broker: Callable[[], str | None]
    database: Callable[[], str | None]
    details: Callable[[], DetailsWait | None]
    standing_still: Callable[[], str | None]
    storm: Callable[[], str | None]


class Monitor:
    """Reports to `Health` what it finds; one a daemon."""

    def __init__(
        self, *, health: Health, clock: Clock, esi: EsiClient, space: DiskSpace, sources: MonitorSources
    ) -> None:
        self._health = health
        self._clock = clock
        self._esi = esi
        self._space = space
        self._sources = sources
        self._database_failed = False
        self._said: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(EVERY)

    def look(self) -> None:
        """Look once."""
        self._space.look()
        self._look_at_esi()
        self._look_at_clocks()
        self._say("queue_unreachable", self._sources.broker())
        failing = self._sources.database()
        # Only when seen twice in a row: what passes within seconds needs no one.
        self._say("database_failing", failing if self._database_failed else None)
        self._database_failed = failing is not None
        self._say("details_failing", self._sources.storm())
        still = self._sources.standing_still()
        self._say("task_died", f"the {still} makes no progress" if still else None)
        current = {each.code: each for each in self._sources.problems()}
        for code in self._said - set(current):
            self._health.clear(code)
        for code, problem in current.items():
            self._health.report(code, problem.reason, problem.remedy)
        self._said = set(current)

    def _look_at_esi(self) -> None:
        lost = self._esi.stats.unheard >= UNREACHABLE_AFTER
        self._say("esi_unreachable", "ESI does not answer" if lost else None)
        down = self._esi.downtime
        reason = str(getattr(down, "reason", "ESI is down")) if down is not None and not lost else None
        self._say("downtime", reason)
        limited = "ESI's error limit shuts every route" if self._esi.error_limited else None
        self._say("error_limit", limited)
        blocks = self._esi.blocks()
        groups = ", ".join(
            f"{group} until {utc(until):%H:%M:%S} UTC" for group, until in sorted(blocks.items())
        )
        self._say("budget_blocked", f"ESI asked us to wait: {groups}" if blocks else None)
        self._say("budget_dry", None if blocks else self._dry())

    def _look_at_clocks(self) -> None:
        offset = self._esi.clock_offset
        way = "behind" if offset > 0 else "ahead of"
        skew = f"this machine's clock is {span(abs(offset))} {way} ESI's"
        self._say("clock_skew", skew if abs(offset) > SKEW else None)
        wrong = self._esi.wrong_dates
        told = wrong is not None and wrong.answers >= ODD_DATES
        self._say("esi_dates_wrong", _of_dates(wrong) if wrong is not None and told else None)

    def _dry(self) -> str | None:
        wait = self._sources.details()
        if wait is None or wait.waits_for is not WaitsFor.BUDGET:
            return None
        return details_reason(wait, self._clock.now()) if wait.holds(self._clock.monotonic()) else None

    def _say(self, code: str, reason: str | None) -> None:
        if reason is None:
            self._health.clear(code)
        else:
            self._health.report(code, reason)


def _of_dates(wrong: Dissent) -> str:
    far = f"{span(abs(wrong.seconds))} {'ahead of' if wrong.seconds > 0 else 'behind'} the others"
    return f"{wrong.answers} of ESI's last {wrong.of} answers are dated {far}; these are believed"
