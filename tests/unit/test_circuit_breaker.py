"""The breaker: opens at a failure, longer each time, and lets everybody through after one success."""

from __future__ import annotations

import random

import pytest

from killsyncd.auth.circuit_breaker import CircuitBreaker
from tests.support.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def circuit(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(clock, random.Random(1), first=2.0, longest=120.0)


def test_it_is_closed_at_first(circuit: CircuitBreaker) -> None:
    assert circuit.wait() == 0
    assert circuit.since is None


def test_it_stays_open_longer_each_time_up_to_a_limit(circuit: CircuitBreaker, clock: ManualClock) -> None:
    began = clock.now()
    for n in range(12):
        circuit.failed(clock.monotonic())
        longest = min(120.0, 2.0 * 2**n)
        assert longest / 2 <= circuit.wait() <= longest
        clock.tick(circuit.wait())
        assert circuit.wait() == 0, "whoever comes may try"
    assert circuit.since == began


def test_many_failures_of_one_outage_count_once(circuit: CircuitBreaker, clock: ManualClock) -> None:
    asked_at = clock.monotonic()
    clock.tick(20)
    for _ in range(100):
        circuit.failed(asked_at)
    assert circuit.wait() <= 2


def test_a_success_closes_it_for_all(circuit: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(5):
        circuit.failed(clock.monotonic())
    circuit.succeeded()
    assert circuit.wait() == 0
    assert circuit.since is None
    circuit.failed(clock.monotonic())
    assert circuit.wait() <= 2


def test_what_the_peer_asks_for_counts_where_it_is_longer(
    circuit: CircuitBreaker, clock: ManualClock
) -> None:
    circuit.failed(clock.monotonic(), 500.0)
    assert circuit.wait() == 500
    clock.tick(500)
    circuit.failed(clock.monotonic(), 0.0)
    assert circuit.wait() >= 2


def test_failures_without_end_do_not_overflow(circuit: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(5000):
        circuit.failed(clock.monotonic())
        clock.tick(1)
    assert circuit.wait() <= 120
