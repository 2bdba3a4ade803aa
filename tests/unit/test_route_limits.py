"""What is known of ESI's routes: how long their answers are cached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.route_limits import SINKS_AFTER, RouteLimits
from killsyncd.esi.routes import CHARACTER_LIST
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.budgets import BudgetRepository
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.clocks import ManualClock


def limits_of(clock: ManualClock, rows: BudgetRepository) -> tuple[RouteLimits, RateLimitAccounting]:
    accounting = RateLimitAccounting(rows, ServerTime(clock), clock, egress="default", timeout=20.0)
    return RouteLimits(rows, accounting), accounting


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "killsyncd.db", ManualClock())
    try:
        await migrate(store)
        yield store
    finally:
        await store.close()


@pytest.fixture
async def limits(store: SqliteStore) -> RouteLimits:
    return limits_of(ManualClock(), BudgetRepository(store))[0]


def cached(limits: RouteLimits, *seconds: float) -> float:
    for each in seconds:
        limits.cached_for(CHARACTER_LIST, each, odd=False)
    return limits.of(CHARACTER_LIST).ttl


async def test_a_far_expires_does_not_hold_for_ever(limits: RouteLimits) -> None:
    assert cached(limits, 1100.0) == 1100.0
    assert cached(limits, *[300.0] * (SINKS_AFTER - 1)) == 1100.0, "one answer more would not do"
    assert cached(limits, 300.0) == 300.0


async def test_what_is_left_of_a_cache_does_not_lower_its_life(limits: RouteLimits) -> None:
    """Each answer lives for what is left of the cache: some of twenty have nearly all of it."""
    assert cached(limits, 600.0) == 600.0
    for _ in range(10):
        assert cached(limits, *(590.0 - 29 * n for n in range(SINKS_AFTER))) == 600.0


async def test_it_sinks_to_the_longest_that_was_seen_meanwhile(limits: RouteLimits) -> None:
    assert cached(limits, 1100.0) == 1100.0
    assert cached(limits, *[400.0, 100.0] * (SINKS_AFTER // 2)) == 400.0


async def test_it_does_not_sink_below_the_specification(limits: RouteLimits) -> None:
    assert cached(limits, *[5.0] * (3 * SINKS_AFTER)) == 300.0


async def test_it_has_sunk_after_a_restart_too(store: SqliteStore) -> None:
    clock = ManualClock()
    limits, accounting = limits_of(clock, BudgetRepository(store))
    cached(limits, 1100.0)
    await accounting.flush()
    again, accounting = limits_of(clock, BudgetRepository(store))
    await again.load()
    assert again.of(CHARACTER_LIST).ttl == 1100.0
    cached(again, *[300.0] * SINKS_AFTER)
    await accounting.flush()
    last, _ = limits_of(clock, BudgetRepository(store))
    await last.load()
    assert last.of(CHARACTER_LIST).ttl == 300.0
