"""Health: what tasks report, what follows from facts, and what stops the work."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from killsyncd.core.model import Problem, UserState
from killsyncd.service import problem_kinds
from killsyncd.service.health import Health, HealthFacts, UserTrouble, derive
from killsyncd.service.problem_kinds import CODES
from tests.support.clocks import START, ManualClock

DOCUMENT = Path(__file__).parents[2] / "docs" / "ctl.md"


def facts(**changes: object) -> HealthFacts:
    """One user, ready, nothing wrong."""
    values: dict[str, object] = {"now": START, "users": 1, "ready": 1, "first_user_at": START - 100}
    return HealthFacts(**{**values, **changes})  # type: ignore[arg-type]


def codes(problems: list[Problem]) -> list[str]:
    return [each.code for each in problems]


def test_nothing_wrong_is_no_problem() -> None:
    assert derive(facts()) == []
    assert problem_kinds.syncing([])


@pytest.mark.parametrize(
    ("changes", "code", "syncing"),
    [
        ({"switches": {"daemon": START - 5}}, "paused", False),
        ({"switches": {"producer": START - 5}}, "producer_paused", False),
        ({"producer_enabled": False}, "producer_disabled", True),
        ({"users": 0, "ready": 0, "first_user_at": None}, "nobody_logged_in", False),
        ({"ready": 0}, "nobody_syncs", False),
        ({"quarantined": 2, "quarantined_since": START - 9}, "quarantined", True),
        ({"revocations": 1}, "revocation_pending", True),
    ],
)
def test_each_fact_has_its_code(changes: dict[str, object], code: str, syncing: bool) -> None:
    (problem,) = derive(facts(**changes))
    assert problem.code == code
    assert problem.reason
    assert problem.remedy
    assert problem_kinds.syncing([problem]) is syncing


def test_one_user_is_not_none_of_the_1_users() -> None:
    (one,) = derive(facts(users=1, ready=0))
    (three,) = derive(facts(users=3, ready=0))
    assert one.reason == "the only user cannot be synced"
    assert three.reason == "none of the 3 users can be synced"


def test_since_is_when_it_began() -> None:
    (problem,) = derive(facts(switches={"daemon": START - 77}))
    assert problem.since == START - 77


def test_users_in_trouble_are_told_one_by_one() -> None:
    troubles = (
        UserTrouble(1, "Ada", UserState.NEEDS_LOGIN, None, START - 3),
        UserTrouble(2, "Bo", UserState.OWNER_CHANGED, "sold", START - 2),
        UserTrouble(3, "Cy", UserState.SCOPE_MISSING, None, START - 1),
        UserTrouble(4, "Di", UserState.OK, "ESI answered 500", START - 1, attempts=3),
        UserTrouble(5, "Ed", UserState.OK, "ESI answered 500", START - 1, attempts=2),
    )
    problems = derive(facts(users=5, ready=2, troubles=troubles))
    assert codes(problems) == ["needs_login", "owner_changed", "scope_missing", "sync_failing"]
    assert [each.character_id for each in problems] == [1, 2, 3, 4]
    assert problems[0].reason == "Ada (1): the login has ended"
    assert problems[1].reason == "Bo (2): sold"
    assert problem_kinds.syncing(problems)


def test_a_login_in_doubt_is_told_with_what_to_do() -> None:
    doubt = UserTrouble(1, "Ada", UserState.OK, "the SSO refuses the login", START + 60, doubted=True)
    (problem,) = derive(facts(troubles=(doubt,)))
    assert (problem.code, problem.character_id, problem.since) == ("login_doubtful", 1, START)
    assert "killsyncd login" in problem.remedy


def test_what_stops_everything_comes_first() -> None:
    problems = derive(facts(quarantined=1, quarantined_since=START - 999, switches={"daemon": START}))
    assert codes(problem_kinds.ordered(problems)) == ["paused", "quarantined"]


def test_a_report_keeps_its_beginning_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    told = Health(clock)
    with caplog.at_level(logging.DEBUG, "killsyncd"):
        told.report("esi_unreachable", "connection refused")
        clock.tick(60)
        told.report("esi_unreachable", "timed out", "wait")
        (problem,) = told.problems()
        assert (problem.since, problem.reason, problem.remedy) == (START, "timed out", "wait")
        assert told.has("esi_unreachable")
        assert not told.has("esi_unreachable", 1)
        told.clear("esi_unreachable")
        told.clear("esi_unreachable")
    assert told.problems() == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_report_without_a_remedy_has_its_codes_own() -> None:
    told = Health(ManualClock())
    told.report("disk_low", "12 MiB left")
    told.report("never_heard_of", "odd")
    assert [each.remedy for each in told.problems()] == [CODES["disk_low"].remedy, "killsyncd check"]
    assert not problem_kinds.stops(told.problems()[1])


def test_a_problem_of_one_character_is_its_own() -> None:
    told = Health(ManualClock())
    told.report("budget_dry", "0 of 30 left", character_id=1)
    told.report("budget_dry", "0 of 30 left", character_id=2)
    told.clear("budget_dry", 1)
    assert [each.character_id for each in told.problems()] == [2]


def test_every_code_is_documented_and_complete() -> None:
    text = DOCUMENT.read_text("utf-8")
    for code, about in CODES.items():
        assert f"`{code}`" in text, code
        assert about.remedy, code
        assert about.meaning.endswith("."), code
