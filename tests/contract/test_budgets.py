"""ESI's budgets in the database, on every store: what is spent stays spent until it comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from killsyncd.esi.ratelimit.ports import BudgetStore
from killsyncd.esi.ratelimit.windows import (
    FORGOTTEN_AFTER,
    Bucket,
    Observation,
    Reservation,
    ReservationRequest,
    RouteLimit,
    address_subject,
)
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.repositories.budgets import BudgetRepository
from tests.contract.conftest import Backend

BUCKET = Bucket("killmail", address_subject("default"))
OTHER = Bucket("killmail", address_subject("other"))
T = 1_800_000_000.0


@pytest.fixture
def budgets(store: Migratable) -> BudgetStore:
    return BudgetRepository(store)


def ask(now: float = T, **changes: Any) -> ReservationRequest:
    told: dict[str, Any] = {
        "bucket": BUCKET,
        "want": 50,
        "least": 5,
        "keep": 0.0,
        "limit": 100,
        "window": 900.0,
        "now": now,
        "spent_at": now,
        "held_for": 30.0,
        **changes,
    }
    return ReservationRequest(**told)


async def used(budgets: BudgetStore, now: float = T, bucket: Bucket = BUCKET) -> int:
    return sum(usage.used for usage in await budgets.usage(now) if usage.bucket == bucket)


async def test_reserving_until_nothing_is_left(budgets: BudgetStore) -> None:
    first = await budgets.reserve(ask())
    assert (first.tokens, first.used) == (50, 50)
    assert (await budgets.reserve(ask(want=48))).tokens == 48
    dry = await budgets.reserve(ask())
    assert dry.tokens == 0
    assert dry.next_at == T + 30 + 900 + 1
    assert (await budgets.reserve(ask(bucket=OTHER))).tokens == 50


async def test_what_is_never_settled_comes_back_after_its_life_and_window(budgets: BudgetStore) -> None:
    await budgets.reserve(ask(want=100))
    assert (await budgets.reserve(ask(T + 930))).tokens == 0
    assert (await budgets.reserve(ask(T + 931))).tokens == 50


async def test_settling_gives_back_what_was_not_used(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=100))
    bill = Reservation(grant.id, BUCKET, 40, T + 5 + 901)
    await budgets.settle([bill], [])
    assert await used(budgets) == 40
    await budgets.settle([bill], [])  # twice is once
    assert await used(budgets) == 40
    assert (await budgets.reserve(ask(want=100))).tokens == 60
    assert await used(budgets, T + 5 + 901) == 60


async def test_a_bill_in_the_same_transaction_makes_room(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=100))
    again = await budgets.reserve(ask(want=100, bills=(Reservation(grant.id, BUCKET, 10, T + 901),)))
    assert again.tokens == 90


async def test_a_reservation_that_was_not_used_at_all_is_gone(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask())
    await budgets.settle([Reservation(grant.id, BUCKET, 0, 0.0)], [])
    assert await used(budgets) == 0


async def test_a_bill_that_comes_after_its_reservation_fell_is_written_all_the_same(
    budgets: BudgetStore,
) -> None:
    grant = await budgets.reserve(ask())
    await budgets.reserve(ask(T + 2000))  # purges
    await budgets.settle([Reservation(grant.id, BUCKET, 20, T + 2900)], [])
    assert await used(budgets, T + 2000) == 70


async def test_heavy_callers_leave_the_last_part(budgets: BudgetStore) -> None:
    assert (await budgets.reserve(ask(want=100, keep=0.15))).tokens == 85
    assert (await budgets.reserve(ask(keep=0.15))).tokens == 0
    assert (await budgets.reserve(ask())).tokens == 15


async def test_a_header_that_knows_of_more_is_believed(budgets: BudgetStore) -> None:
    await budgets.reserve(ask(want=10))
    seen = Observation(BUCKET, used=70, window=900.0, earliest=T, latest=T + 1)
    assert (await budgets.reserve(ask(T + 1, want=100, observations=(seen,)))).tokens == 30
    assert await used(budgets, T + 1) == 100
    # Said once more it changes nothing, and less than we know never lowers it.
    less = Observation(BUCKET, used=3, window=900.0, earliest=T + 1, latest=T + 1)
    await budgets.settle([], [seen, less])
    assert await used(budgets, T + 1) == 100
    # What somebody else spent comes back a window after it was seen.
    assert await used(budgets, T + 1 + 901) == 40


async def test_what_came_back_since_a_header_was_written_counts_for_it(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=60))
    await budgets.settle([Reservation(grant.id, BUCKET, 60, T + 2)], [])
    seen = Observation(BUCKET, used=60, window=900.0, earliest=T + 1.5, latest=T + 1.6)
    assert (await budgets.reserve(ask(T + 2.5, want=100, observations=(seen,)))).tokens == 100


async def test_what_a_dead_daemon_did_not_settle_goes_by_esis_count_once_it_has_ended(
    budgets: BudgetStore,
) -> None:
    """Not before: until then its last requests may still be charged."""
    for _ in range(3):
        await budgets.reserve(ask(want=30))
    early = Observation(BUCKET, used=20, window=900.0, earliest=T + 29, latest=T + 29)
    await budgets.settle([], [early])
    assert await used(budgets, T + 29) == 90
    late = Observation(BUCKET, used=20, window=900.0, earliest=T + 31, latest=T + 31)
    await budgets.settle([], [late])
    assert await used(budgets, T + 31) == 20
    more = Observation(BUCKET, used=40, window=900.0, earliest=T + 32, latest=T + 32)
    await budgets.settle([], [more])
    assert await used(budgets, T + 32) == 40, "never below what ESI says"


async def test_what_is_settled_is_taken_off_esis_count_as_far_as_it_is_certain(budgets: BudgetStore) -> None:
    settled = await budgets.reserve(ask(want=20))
    await budgets.settle([Reservation(settled.id, BUCKET, 20, T + 901)], [])
    await budgets.reserve(ask(want=60))
    seen = Observation(BUCKET, used=35, window=900.0, earliest=T + 40, latest=T + 40)
    await budgets.settle([], [seen])
    assert await used(budgets, T + 40) == 35
    # Of what may be back already by ESI's clock nothing is taken off.
    doubtful = Observation(BUCKET, used=16, window=900.0, earliest=T + 860, latest=T + 860)
    await budgets.settle([], [doubtful])
    assert await used(budgets, T + 860) == 20 + 15


async def test_what_nobody_settled_stays_booked_where_it_returns_last(budgets: BudgetStore) -> None:
    await budgets.reserve(ask(want=30))
    await budgets.reserve(ask(T + 300, want=30))
    seen = Observation(BUCKET, used=40, window=900.0, earliest=T + 400, latest=T + 400)
    await budgets.settle([], [seen])
    assert await used(budgets, T + 400) == 40
    assert await used(budgets, T + 931) == 30, "the later one is whole, since it may have spent it all"


async def test_somebody_elses_tokens_vouch_for_nothing(budgets: BudgetStore) -> None:
    """They may have come back long before we take them for it: nothing is taken off for them."""
    await budgets.settle([], [Observation(BUCKET, used=50, window=900.0, earliest=T, latest=T + 1)])
    await budgets.reserve(ask(want=40))
    await budgets.settle([], [Observation(BUCKET, used=40, window=900.0, earliest=T + 40, latest=T + 40)])
    assert await used(budgets, T + 40) == 90


async def test_a_reservation_in_hand_is_not_corrected(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=50))
    seen = Observation(BUCKET, used=2, window=900.0, earliest=T + 20, latest=T + 20)
    await budgets.settle([], [seen])
    assert await used(budgets, T + 20) == 50
    await budgets.settle([Reservation(grant.id, BUCKET, 8, T + 921)], [])
    assert await used(budgets, T + 20) == 8


async def test_a_late_bill_of_what_was_corrected_is_believed(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=50))
    await budgets.settle([], [Observation(BUCKET, used=0, window=900.0, earliest=T + 31, latest=T + 31)])
    assert await used(budgets, T + 31) == 0
    await budgets.settle([Reservation(grant.id, BUCKET, 12, T + 940)], [])
    assert await used(budgets, T + 31) == 12


async def test_one_request_looks_where_only_the_dead_hold_the_window(budgets: BudgetStore) -> None:
    """Out of what is kept for others, one at a time, and never beyond the limit."""
    for _ in range(3):
        await budgets.reserve(ask(want=30, keep=0.15))
    assert (await budgets.reserve(ask(T + 10, keep=0.15, look=True))).tokens == 0, (
        "they may still be spending"
    )
    assert (await budgets.reserve(ask(T + 31, keep=0.15))).tokens == 0
    look = await budgets.reserve(ask(T + 31, keep=0.15, look=True))
    assert look.tokens == 5
    assert (await budgets.reserve(ask(T + 32, keep=0.15, look=True))).tokens == 0, "one is under way"
    told = Observation(BUCKET, used=12, window=900.0, earliest=T + 32, latest=T + 33)
    bill = Reservation(look.id, BUCKET, 2, T + 934)
    assert (await budgets.reserve(ask(T + 33, keep=0.15, bills=(bill,), observations=(told,)))).tokens == 50


async def test_nobody_looks_where_the_window_is_spent_for_good(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=85, keep=0.15))
    await budgets.settle([Reservation(grant.id, BUCKET, 85, T + 901)], [])
    assert (await budgets.reserve(ask(T + 31, keep=0.15, look=True))).tokens == 0


async def test_a_block_is_not_shortened(budgets: BudgetStore) -> None:
    await budgets.block(BUCKET, T + 60)
    await budgets.block(BUCKET, T + 10)
    blocked = await budgets.reserve(ask())
    assert (blocked.tokens, blocked.next_at) == (0, T + 60)
    (usage,) = await budgets.usage(T)
    assert (usage.bucket, usage.blocked_until, usage.used) == (BUCKET, T + 60, 0)
    assert (await budgets.reserve(ask(T + 60))).tokens == 50


async def test_a_shut_gate_stops_whoever_stands_behind_it(budgets: BudgetStore) -> None:
    await budgets.shut("every-route:default", T + 30)
    await budgets.shut("every-route:default", T + 20)
    shut = await budgets.reserve(ask(gates=("every-route:default", "nothing")))
    assert (shut.tokens, shut.next_at) == (0, T + 30)
    assert (await budgets.reserve(ask())).tokens == 50
    assert await budgets.gates() == {"every-route:default": T + 30}


async def test_bills_are_written_even_when_nothing_is_granted(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=100))
    await budgets.block(BUCKET, T + 60)
    await budgets.reserve(ask(bills=(Reservation(grant.id, BUCKET, 1, T + 901),)))
    assert await used(budgets) == 1


async def test_lessons_are_kept_and_shared(budgets: BudgetStore) -> None:
    lesson = RouteLimit("killmail", "killmail", 40, 900.0, 0.0)
    await budgets.learn(lesson, 900.0)
    assert await budgets.routes() == [lesson]
    # A daemon that still believes in 100 is held to what another one has learnt.
    assert (await budgets.reserve(ask(want=100))).tokens == 40
    names = RouteLimit("names", None, 0, 900.0, 0.0)
    await budgets.learn(names, 900.0)
    assert names in await budgets.routes()


async def test_a_longer_window_keeps_what_is_spent_out_longer(budgets: BudgetStore) -> None:
    grant = await budgets.reserve(ask(want=100))
    await budgets.settle([Reservation(grant.id, BUCKET, 100, T + 901)], [])
    await budgets.learn(RouteLimit("killmail", "killmail", 100, 1800.0, 0.0), 900.0)
    assert await used(budgets, T + 1800) == 100
    await budgets.learn(RouteLimit("killmail", "killmail", 100, 1800.0, 0.0), 900.0)
    assert await used(budgets, T + 1801) == 0


async def test_tidying(budgets: BudgetStore) -> None:
    await budgets.reserve(ask())
    await budgets.tidy(T)
    assert await used(budgets) == 50
    await budgets.tidy(T + 2000)
    assert await used(budgets, 0.0) == 50, "the clock by which it came back may be wrong"
    await budgets.tidy(T + 931 + FORGOTTEN_AFTER)
    assert await budgets.usage(0.0) == []


async def test_two_daemons_together_never_exceed_one_window(shared: Backend) -> None:
    daemons = [BudgetRepository(await shared.open()) for _ in range(3)]

    async def greedy(budgets: BudgetRepository) -> int:
        got = 0
        for _ in range(20):
            got += (await budgets.reserve(ask(want=7, limit=200))).tokens
        return got

    granted = await asyncio.gather(*(greedy(each) for each in daemons for _ in range(2)))
    assert sum(granted) == await used(daemons[0])
    assert 195 < sum(granted) <= 200
