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
    door = gate()
    assert not door.failure("a", "502", 0.0, NOON)
    assert not door.failure("a", "502", 1.0, NOON)
    assert not door.failure("b", "502", 2.0, NOON)
    assert door.failure("c", "502", 3.0, NOON)
    assert door.closed is not None
    assert door.closed.since == 3.0
    assert "502" in door.closed.reason


def test_a_success_between_keeps_it_open() -> None:
    door = gate()
    for number in range(50):
        assert not door.failure(f"{number}", "502", float(number), NOON)
        door.success("fine", float(number))


def test_one_failure_is_enough_around_the_daily_downtime() -> None:
    for moment, closes in (
        (10 * 3600 + 57 * 60 + 59, False),
        (10 * 3600 + 58 * 60, True),
        (DOWN_AT + 29 * 60 + 59, True),
        (DOWN_AT + 30 * 60, False),
    ):
        assert gate().failure("a", "503", 0.0, 86_400.0 * 20_000 + moment) is closes


def test_what_was_under_way_before_does_not_open_it() -> None:
    door = gate()
    door.failure("a", "503", 10.0, DOWN_AT)
    assert not door.success("b", 9.0)
    assert door.closed is not None
    assert door.success("b", 11.0)
    assert door.closed is None


def test_a_good_status_opens_it_and_the_blame_stays_with_the_resource() -> None:
    door = gate()
    assert door.failure("bad", "502", 0.0, DOWN_AT)
    door.probed_well(5.0)
    assert door.closed is None
    # The same one again does not close it, though it is still that time of day.
    assert not door.failure("bad", "502", 6.0, DOWN_AT)
    assert door.failure("other", "502", 7.0, DOWN_AT)
    door.probed_well(8.0)
    assert door.failure("bad", "502", 6.0 + SUSPECT_FOR, DOWN_AT)


def test_a_success_clears_a_suspect() -> None:
    door = gate()
    door.failure("bad", "502", 0.0, DOWN_AT)
    door.probed_well(5.0)
    door.success("bad", 6.0)
    assert door.failure("bad", "502", 7.0, DOWN_AT)


def test_pauses_grow_until_something_real_works() -> None:
    door = gate()
    pauses = []
    for number in range(8):
        for resource in range(DISTINCT):
            door.failure(f"{number}-{resource}", "502", 0.0, NOON)
        pauses.append(door.probe_at)
        door.probed_well(0.0)  # the status is fine, everything else is not
    assert FIRST_PAUSE <= pauses[0] <= 1.5 * FIRST_PAUSE
    assert all(second >= first or second > 40 for first, second in pairwise(pauses))
    assert max(pauses) <= LONGEST_PAUSE
    assert pauses[-1] > 40
    door.success("real", 1.0)
    door.failure("z", "502", 0.0, DOWN_AT)
    assert door.probe_at <= 1.5 * FIRST_PAUSE


def test_bad_probes_wait_longer() -> None:
    door = gate()
    door.failure("a", "502", 0.0, DOWN_AT)
    now, pauses = 0.0, []
    for _ in range(8):
        pauses.append(door.probe_at - now)
        now = door.probe_at
        door.probed_badly(now)
    assert pauses[0] < 8
    assert 40 < pauses[-1] <= 60
    door.postpone_probe(now + 500)
    assert door.probe_at == now + 500


def test_after_half_an_hour_single_requests_are_let_through() -> None:
    door = gate()
    door.failure("a", "502", 0.0, DOWN_AT)
    assert not door.let_one_through(TRIAL_AFTER - 1)
    assert door.let_one_through(TRIAL_AFTER)
    assert not door.let_one_through(TRIAL_AFTER + 1)
    assert not door.trial_due(TRIAL_AFTER + 59)
    assert door.let_one_through(TRIAL_AFTER + 60)
    assert door.failure("a", "502", TRIAL_AFTER + 61, NOON)


def test_suspects_are_bounded() -> None:
    door = gate()
    for number in range(3000):
        door.failure(f"{number}", "502", 0.0, DOWN_AT)
        door.probed_well(0.0)
    assert len(door._suspects) <= 1000
