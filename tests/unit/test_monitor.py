"""What the watcher reports, and above all what it does not: no false alarms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from killsyncd.core.events import Events
from killsyncd.core.model import WAIT_LASTS, DetailsWait, Problem, WaitsFor
from killsyncd.service import disk_space as watching
from killsyncd.service.disk_space import DiskSpace
from killsyncd.service.health import Health
from killsyncd.service.monitor import SKEW, UNREACHABLE_AFTER, Monitor, MonitorSources
from killsyncd.service.problem_kinds import CODES
from tests.support.clocks import START, ManualClock


class House:
    """A watcher, and all that it looks at."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.health = Health(self.clock)
        self.stats = SimpleNamespace(unheard=0)
        self.blocked: dict[str, float] = {}
        self.esi = SimpleNamespace(
            downtime=None,
            clock_offset=0.0,
            wrong_dates=None,
            error_limited=False,
            stats=self.stats,
            blocks=lambda: self.blocked,
        )
        self.database: str | None = None
        self.broker: str | None = None
        self.wait: DetailsWait | None = None
        self.still: str | None = None
        self.problems: list[Problem] = []
        self.watcher = Monitor(
            health=self.health,
            clock=self.clock,
            esi=self.esi,
            space=DiskSpace(None, self.health, Events()),
            sources=MonitorSources(
                problems=lambda: self.problems,
                broker=lambda: self.broker,
                database=lambda: self.database,
                details=lambda: self.wait,
                storm=lambda: None,
                standing_still=lambda: self.still,
            ),
        )

    def codes(self) -> set[str]:
        self.watcher.look()
        codes = {each.code for each in self.health.problems()}
        assert codes <= set(CODES)
        return codes


@pytest.fixture
def house() -> House:
    return House()


def test_all_is_well(house: House) -> None:
    assert house.codes() == set()


def test_esi_that_does_not_answer(house: House) -> None:
    house.stats.unheard = UNREACHABLE_AFTER - 1
    assert house.codes() == set(), "failures between answers are weather"
    house.stats.unheard = UNREACHABLE_AFTER
    assert house.codes() == {"esi_unreachable"}
    house.esi.downtime = SimpleNamespace(reason="ESI cannot be reached on several resources")
    assert house.codes() == {"esi_unreachable"}, "the network is not EVE's downtime"
    house.stats.unheard = 0
    assert house.codes() == {"downtime"}, "it answers, and says that it is down"
    house.esi.downtime = None
    assert house.codes() == set()


def test_the_error_limit(house: House) -> None:
    house.esi.error_limited = True
    assert house.codes() == {"error_limit"}
    house.esi.error_limited = False
    assert house.codes() == set()


def test_a_block_names_group_and_time(house: House) -> None:
    house.blocked = {"killmail": house.clock.now() + 60}
    house.wait = _dry(house)
    assert house.codes() == {"budget_blocked"}, "blocked says it all"
    assert "killmail until" in house.health.problems()[0].reason
    house.blocked = {}
    house.clock.tick(WAIT_LASTS)
    assert house.codes() == set()


def test_a_dry_budget_does_not_flap(house: House) -> None:
    house.wait = _dry(house)
    assert house.codes() == {"budget_dry"}
    house.clock.tick(WAIT_LASTS / 2)
    assert house.codes() == {"budget_dry"}, "tokens come back one by one"
    house.clock.tick(WAIT_LASTS)
    assert house.codes() == set()


def test_a_dry_budget_says_who_waits_and_until_when(house: House) -> None:
    house.wait = _dry(house)
    house.watcher.look()
    (problem,) = house.health.problems()
    assert problem.reason == "killmails wait for ESI's budget: tokens come back at 11:15:00 UTC at the latest"
    house.wait = replace(house.wait, heavy=True)
    house.watcher.look()
    (problem,) = house.health.problems()
    assert "long lists" in problem.reason
    assert "11:15:00 UTC" in problem.reason


def _dry(house: House) -> DetailsWait:
    until = START + 500.0
    return DetailsWait(WaitsFor.BUDGET, "no tokens left: killmail", until, house.clock.monotonic())


def test_a_database_that_fails_twice_in_a_row(house: House) -> None:
    house.database = "the disk is full"
    assert house.codes() == set()
    assert house.codes() == {"database_failing"}
    house.database = None
    assert house.codes() == set()
    house.database = "a moment"
    assert house.codes() == set()


def test_broker_clock_and_tasks(house: House) -> None:
    house.broker, house.still, house.esi.clock_offset = "refused", "fetcher", -SKEW - 1
    assert house.codes() == {"queue_unreachable", "task_died", "clock_skew"}
    assert not CODES["queue_unreachable"].stops, "jobs are taken from the database meanwhile"
    house.broker, house.still, house.esi.clock_offset = None, None, SKEW - 1
    assert house.codes() == set()


def test_problems_of_token_care_come_and_go(house: House) -> None:
    house.problems = [Problem("sso_unavailable", "down", "wait", 1.0)]
    assert house.codes() == {"sso_unavailable"}
    house.problems = []
    assert house.codes() == set()


def test_a_full_disk_pauses_and_resumes_with_room_to_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, events, told = Health(ManualClock()), Events(), []
    events.on("switches", lambda: told.append(1))
    space = DiskSpace(tmp_path, health, events)

    def free(mib: int) -> None:
        monkeypatch.setattr(watching.shutil, "disk_usage", lambda _: SimpleNamespace(free=mib << 20))
        space.look()

    free(1000)
    assert (space.low, len(told)) == (False, 0)
    free(63)
    assert (space.low, len(told), health.has("disk_low")) == (True, 1, True)
    (problem,) = health.problems()
    assert "63 MiB are free" in problem.reason
    assert "work goes on from 96 MiB" in problem.reason
    assert "free 33 MiB at the least" in problem.remedy
    free(80)
    assert space.low, "not back and forth at the limit"
    free(100)
    assert (space.low, len(told), health.has("disk_low")) == (False, 2, False)
