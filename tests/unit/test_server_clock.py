"""ESI's clock: the bounds always hold the truth, and close in on it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.core.server_clock import VOTES, ServerTime, parse_http_date
from tests.support.clocks import START, ManualClock


def test_http_dates() -> None:
    assert parse_http_date("Thu, 01 Jan 1970 00:01:00 GMT") == 60.0
    assert parse_http_date("-1") is None
    assert parse_http_date("") is None
    assert parse_http_date("Thu, 99 Jan 1970 00:01:00 GMT") is None


def test_before_the_first_answer_our_own_clock_stands_in() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    assert not time.known
    assert time.not_after() == time.not_before() == START
    clock.set_wall(START + 60)
    assert time.not_after() == START + 60
    assert time.offset == 0


@given(
    seed=st.integers(0, 2**32),
    offset=st.floats(-1e6, 1e6),
    answers=st.integers(1, 60),
    drift=st.floats(-1.5e-4, 1.5e-4),
)
def test_the_truth_lies_between_the_bounds(seed: int, offset: float, answers: int, drift: float) -> None:
    rng, clock = random.Random(seed), ManualClock()
    time = ServerTime(clock)

    def truth() -> float:
        return START + offset + clock.monotonic() * (1 + drift)

    for _ in range(answers):
        sent = clock.monotonic()
        clock.tick(rng.uniform(0, 2))
        date = math.floor(truth())
        clock.tick(rng.uniform(0, 2))
        time.observe(date, sent, clock.monotonic())
        assert time.not_after() <= truth() + 1e-3
        assert time.not_before() >= truth() - 1e-3
        clock.tick(rng.choice((0.0, 1.0, 3600.0)))
        assert time.not_after() <= truth() + 1e-3
        assert time.not_before() >= truth() - 1e-3
        clock.set_wall(rng.uniform(0, 2e9))  # our wall clock does not matter any more


def test_the_bounds_close_in() -> None:
    clock, rng = ManualClock(), random.Random(3)
    time = ServerTime(clock)
    for _ in range(200):
        clock.tick(rng.uniform(0, 0.7))
        sent = clock.monotonic()
        clock.tick(0.05)
        time.observe(math.floor(clock.now()), sent, clock.monotonic())
    assert time.not_before() - time.not_after() < 0.15


def test_what_most_answers_say_is_believed() -> None:
    """One absurd Date is doubted, and so is the next; once most say so it is true."""
    clock = ManualClock()
    time = ServerTime(clock)
    clock.set_wall(START - 86_400)  # with its own opinion, which nobody shares
    here = clock.monotonic()
    time.observe(math.floor(START), here, here)
    assert not time.sure
    time.observe(math.floor(START + 7200), here, here)
    assert time.not_before() == math.floor(START) + 1
    time.observe(math.floor(START), here, here)
    assert time.sure
    time.observe(math.floor(START + 7200), here, here)
    assert abs(time.not_after() - START) < 2
    time.observe(math.floor(START + 7200), here, here)
    assert abs(time.not_after() - START - 7200) < 2


def test_a_third_of_the_dates_an_hour_wrong_moves_nothing() -> None:
    clock, rng = ManualClock(), random.Random(5)
    time = ServerTime(clock)
    for _ in range(3000):
        here = clock.monotonic()
        wrong = rng.choice((-3600, 0, 0, 3600, 0, 0))
        time.observe(math.floor(clock.now() + wrong), here, here)
        assert time.not_after() <= clock.now() + 1e-3
        assert clock.now() - time.not_after() < 2
        clock.tick(rng.uniform(0, 2))
    dissent = time.dissent
    assert dissent is not None
    assert dissent.of == VOTES
    assert 5 < dissent.answers < 40
    assert abs(abs(dissent.seconds) - 3600) < 2


def test_a_first_date_that_is_wrong_gives_way_to_our_own_clock_and_the_second() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    here = clock.monotonic()
    time.observe(math.floor(START + 3600), here, here)
    assert not time.sure
    assert time.not_after() == START, "until somebody agrees nothing is asked early"
    time.observe(math.floor(START), here, here)
    assert time.sure
    assert abs(time.not_before() - START) < 2


def test_a_clock_behind_what_was_heard_before_has_no_say() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    time.passed(START)
    clock.set_wall(START - 3600)
    assert time.wall_is_wrong
    assert time.offset == 3600
    here = clock.monotonic()
    time.observe(math.floor(START), here, here)
    assert time.not_after() == math.floor(START)


def test_after_a_sleep_two_answers_are_enough() -> None:
    """Monotonic time stood still meanwhile: every answer contradicts what was known, and is right."""
    clock = ManualClock()
    time = ServerTime(clock)
    for _ in range(50):
        here = clock.monotonic()
        time.observe(math.floor(clock.now()), here, here)
        clock.tick(1.0)
    clock.set_wall(clock.now() + 7200)
    time.doubt()
    here = clock.monotonic()
    time.observe(math.floor(clock.now()), here, here)
    assert abs(time.not_after() - clock.now()) < 2


def test_machines_that_differ_by_seconds_widen_the_bounds() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    here = clock.monotonic()
    time.observe(math.floor(START), here, here)
    time.observe(math.floor(START) + 4, here, here)
    assert time.not_after() <= START
    assert time.not_before() >= START + 4


def test_a_moment_on_our_wall_clock() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    here = clock.monotonic()
    clock.set_wall(START - 600)
    time.observe(math.floor(START), here, here)
    time.observe(math.floor(START), here, here)
    assert time.to_wall(math.floor(START) + 10) == pytest.approx(START - 600 + 10, abs=1.1)
    assert time.offset == pytest.approx(600, abs=1.1)
