"""The downtime gate."""

from __future__ import annotations

import random
from itertools import pairwise

from killsyncd.esi.downtime import (
    DISTINCT,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SUSPECT_FOR,
    TRIAL_AFTER,
    DowntimeGate,
)

NOON = 43_200.0
DOWN_AT = 11 * 3600.0


def gate() -> DowntimeGate:
    return DowntimeGate(random.Random(1))


def test_three_different_resources_close_it() -> None:
    esi = gate()
    assert not esi.failure("a", "502", 0.0, NOON)
    assert not esi.failure("a", "502", 1.0, NOON)
    assert not esi.failure("b", "502", 2.0, NOON)
    assert esi.failure("c", "502", 3.0, NOON)
    assert esi.closed is not None
    assert esi.closed.since == 3.0
    assert "502" in esi.closed.reason


def test_a_success_between_keeps_it_open() -> None:
    esi = gate()
    for number in range(50):
        assert not esi.failure(f"{number}", "502", float(number), NOON)
        esi.success("fine", float(number))


def test_one_failure_is_enough_around_the_daily_downtime() -> None:
    for moment, closes in (
        (10 * 3600 + 57 * 60 + 59, False),
        (10 * 3600 + 58 * 60, True),
        (DOWN_AT + 29 * 60 + 59, True),
        (DOWN_AT + 30 * 60, False),
    ):
        assert gate().failure("a", "503", 0.0, 86_400.0 * 20_000 + moment) is closes


def test_what_was_under_way_before_does_not_open_it() -> None:
    esi = gate()
    esi.failure("a", "503", 10.0, DOWN_AT)
    assert not esi.success("b", 9.0)
    assert esi.closed is not None
    assert esi.success("b", 11.0)
    assert esi.closed is None


def test_a_good_status_opens_it_and_the_blame_stays_with_the_resource() -> None:
    esi = gate()
    assert esi.failure("bad", "502", 0.0, DOWN_AT)
    esi.probed_well(5.0)
    assert esi.closed is None
    # The same one again does not close it, though it is still that time of day.
    assert not esi.failure("bad", "502", 6.0, DOWN_AT)
    assert esi.failure("other", "502", 7.0, DOWN_AT)
    esi.probed_well(8.0)
    assert esi.failure("bad", "502", 6.0 + SUSPECT_FOR, DOWN_AT)


def test_a_route_that_fails_while_the_status_is_good_closes_it_once() -> None:
    """Every killmail times out and everything else is well: that closed and opened it every few seconds."""
    esi = gate()
    closed = 0
    for number in range(200):
        now = 5.0 * number
        closed += esi.closed is None and esi.failure(f"killmail/{number}", "no answer", now, NOON)
        if esi.closed is not None:
            esi.probed_well(now)
    assert closed == 1
    for number in range(DISTINCT):
        esi.failure(f"list/{number}", "no answer", 1001.0, NOON)
    assert esi.closed is not None, "other routes close it as before"
    esi.success("list/0", 1002.0)
    for number in range(DISTINCT):
        esi.failure(f"killmail/{number}", "no answer", 1001.0 + SUSPECT_FOR, NOON)
    assert esi.closed is not None, "and that one after a while, too"


def test_a_route_that_failed_before_the_downtime_closes_it_then() -> None:
    esi = gate()
    for number in range(DISTINCT):
        esi.failure(f"killmail/{number}", "no answer", 0.0, DOWN_AT - 600.0)
    esi.probed_well(1.0)
    assert not esi.failure("killmail/8", "no answer", 2.0, DOWN_AT - 598.0)
    assert esi.failure("killmail/9", "502", 600.0, DOWN_AT)


def test_a_success_clears_a_suspect() -> None:
    esi = gate()
    esi.failure("bad", "502", 0.0, DOWN_AT)
    esi.probed_well(5.0)
    esi.success("bad", 6.0)
    assert esi.failure("bad", "502", 7.0, DOWN_AT)


def test_pauses_grow_until_something_real_works() -> None:
    esi = gate()
    pauses = []
    for number in range(8):
        for resource in range(DISTINCT):
            esi.failure(f"{number}-{resource}", "502", 0.0, NOON)
        pauses.append(esi.probe_at)
        esi.probed_well(0.0)  # the status is fine, everything else is not
    assert FIRST_PAUSE <= pauses[0] <= 1.5 * FIRST_PAUSE
    assert all(second >= first or second > 40 for first, second in pairwise(pauses))
    assert max(pauses) <= LONGEST_PAUSE
    assert pauses[-1] > 40
    esi.success("real", 1.0)
    esi.failure("z", "502", 0.0, DOWN_AT)
    assert esi.probe_at <= 1.5 * FIRST_PAUSE


def test_bad_probes_wait_longer() -> None:
    esi = gate()
    esi.failure("a", "502", 0.0, DOWN_AT)
    now, pauses = 0.0, []
    for _ in range(8):
        pauses.append(esi.probe_at - now)
        now = esi.probe_at
        esi.probed_badly(now)
    assert pauses[0] < 8
    assert 40 < pauses[-1] <= 60
    esi.postpone_probe(now + 500)
    assert esi.probe_at == now + 500


def test_after_half_an_hour_single_requests_are_let_through() -> None:
    esi = gate()
    esi.failure("a", "502", 0.0, DOWN_AT)
    assert not esi.let_one_through(TRIAL_AFTER - 1)
    assert esi.let_one_through(TRIAL_AFTER)
    assert not esi.let_one_through(TRIAL_AFTER + 1)
    assert not esi.trial_due(TRIAL_AFTER + 59)
    assert esi.let_one_through(TRIAL_AFTER + 60)
    assert esi.failure("a", "502", TRIAL_AFTER + 61, NOON)


def test_suspects_are_bounded() -> None:
    esi = gate()
    for number in range(3000):
        esi.failure(f"{number}", "502", 0.0, DOWN_AT)
        esi.probed_well(0.0)
    assert len(esi._suspects) <= 1000
