"""Floating windows and the old error limit, with the time in hand."""

from __future__ import annotations

import pytest

from killsyncd.simulator.limits import ErrorLimit, Window, cost, window_text


@pytest.mark.parametrize(
    ("status", "tokens"), [(200, 2), (304, 1), (400, 5), (404, 5), (422, 5), (429, 0), (500, 0), (503, 0)]
)
def test_an_answer_costs_what_esi_says(status: int, tokens: int) -> None:
    assert cost(status) == tokens


@pytest.mark.parametrize(
    ("seconds", "text"), [(900, "15m"), (3600, "1h"), (7200, "2h"), (60, "1m"), (9, "9s"), (1.5, "1.5s")]
)
def test_a_window_is_written_as_esi_writes_it(seconds: float, text: str) -> None:
    assert window_text(seconds) == text


def spend(window: Window, now: float, tokens: int) -> bool:
    if not window.admit(now):
        return False
    window.charge(now, tokens)
    return True


def test_fifteen_fresh_lists_then_nothing() -> None:
    window = Window(30, 900)
    assert sum(spend(window, n, 2) for n in range(20)) == 15
    assert window.remaining() == 0


def test_six_client_errors_empty_it() -> None:
    window = Window(30, 900)
    assert sum(spend(window, n, 5) for n in range(20)) == 6


def test_tokens_come_back_one_window_after_they_were_spent() -> None:
    window = Window(4, 900)
    assert spend(window, 0, 2)
    assert spend(window, 600, 2)
    assert not spend(window, 899.9, 2)
    assert spend(window, 900, 2)  # what the first cost is back, what the second cost is not
    assert not spend(window, 901, 2)
    assert spend(window, 1500, 2)


def test_retry_after_is_when_it_fits_again() -> None:
    window = Window(4, 900)
    spend(window, 0.5, 2)
    spend(window, 10, 2)
    assert not window.admit(100)
    wait = window.retry_after(100)
    assert wait == 801
    assert window.admit(100 + wait)


def test_requests_under_way_count() -> None:
    window = Window(4, 900)
    assert window.admit(0)
    assert window.admit(0)
    assert not window.admit(0)
    assert window.retry_after(0) == 1
    window.charge(1, 0)  # a 500 costs nothing
    assert window.admit(1)


def test_the_hundredth_error_blocks_until_the_minute_is_over() -> None:
    limit = ErrorLimit(100, 60)
    for n in range(99):
        limit.count(n / 10, 404)
    assert not limit.blocked(10)
    assert limit.headers(10)["X-ESI-Error-Limit-Remain"] == "1"
    limit.count(20, 503)
    assert limit.blocked(20)
    assert limit.headers(20) == {"X-ESI-Error-Limit-Remain": "0", "X-ESI-Error-Limit-Reset": "40"}
    assert not limit.blocked(60)
    assert limit.headers(61)["X-ESI-Error-Limit-Remain"] == "100"


def test_good_answers_are_no_errors() -> None:
    limit = ErrorLimit(1, 60)
    limit.count(0, 200)
    limit.count(0, 304)
    limit.count(0, 420)
    assert not limit.blocked(0)
