"""Problems of lists that are nobody's own."""

from __future__ import annotations

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.model import Source, SourceKind, UserState, WaitsFor
from killsyncd.core.sources import SourceState, SourceView
from killsyncd.service.health import HealthFacts, UserTrouble, WaitingList, derive, list_reason
from killsyncd.service.problem_kinds import CODES, syncing
from killsyncd.service.source_health import CODE, source_problems

NOW = 1_793_534_400.0
CORPORATION = Source(SourceKind.CORPORATION, 98_000_001)


def view(state: SourceState, synced: float | None = NOW - 60.0) -> SourceView:
    at = None if synced is None else utc(synced)
    times = (at, None, 0, None, None, utc(0.0))
    return SourceView(7, CORPORATION, "Byron Works", state, "why", "what to do", (), *times)


@pytest.mark.parametrize(
    "state",
    [
        SourceState.ROLE_MISSING,
        SourceState.SCOPE_MISSING,
        SourceState.NO_TOKEN,
        SourceState.UNAVAILABLE,
    ],
)
def test_a_list_that_was_read_and_is_not_any_more_is_told_with_its_remedy(state: SourceState) -> None:
    (problem,) = source_problems([view(state)], NOW)
    assert (problem.code, problem.source, problem.character_id) == (CODE, CORPORATION, None)
    assert problem.reason == "the list of Byron Works (98000001) is not read any more: why"
    assert (problem.remedy, problem.since) == ("what to do", NOW - 60.0)
    assert CODE in CODES
    assert syncing([problem]), "everybody else is synced all the same"


def test_what_was_never_read_or_is_paused_by_somebody_is_no_problem() -> None:
    assert source_problems([view(SourceState.ROLE_MISSING, None), view(SourceState.PAUSED)], NOW) == []


def test_a_corporation_s_trouble_names_the_corporation_and_not_the_pilot_whose_token_reads_it() -> None:
    trouble = UserTrouble(
        1,
        "Ada",
        UserState.OK,
        "ESI answered 500",
        NOW,
        3,
        source=CORPORATION,
        subject="Byron Works (98000001)",
    )
    (problem,) = derive(HealthFacts(NOW, 1, 1, NOW, troubles=(trouble,)))
    assert problem.reason.startswith("Byron Works (98000001): 3 syncs in a row failed")
    waiting = WaitingList(1, "Ada", WaitsFor.BUDGET, "", NOW, CORPORATION, "Byron Works (98000001)")
    assert "the budget of the list, by Ada's token, is spent" in list_reason(waiting)
