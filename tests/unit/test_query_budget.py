"""What queries may cost: by their text, one by one, and together."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, get_variable_values, parse

from killsyncd.api.graphql.budget import ALLOWANCE, MustBeginAgain, Pool, QueryBudget
from killsyncd.api.graphql.cost import Costs
from killsyncd.api.graphql.engine import make_schema
from killsyncd.api.graphql.turns import Turns
from killsyncd.core.errors import Unavailable
from killsyncd.core.read_model import TooMuch

SCHEMA = make_schema()


def cost(text: str, **variables: object) -> int:
    document = parse(text)
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    values = get_variable_values(SCHEMA, operation.variable_definitions or (), variables)
    assert not isinstance(values, list), values
    return Costs(SCHEMA, fragments, values, 100).of_operation(operation)


def test_rows_times_fields() -> None:
    one = cost("{ killmails(first: 1) { edges { node { id } } } }")
    ten = cost("{ killmails(first: 10) { edges { node { id } } } }")
    assert ten - one == 9 * 3
    assert cost("query($n: Int) { killmails(first: $n) { edges { node { id } } } }", n=10) == ten
    more = cost("{ killmails(first: 10) { edges { node { id fresh victim { damageTaken } } } } }")
    assert more - ten == 10 * (3 + 20), "a victim is read, and the mail waits for it meanwhile"
    assert cost("{ killmails { edges { node { id } } } }") - ten == 40 * 3


@pytest.mark.parametrize(
    ("head", "first", "variables"),
    [
        ("query($n: Int = 100)", "$n", {}),
        ("query($n: Int = 1)", "$n", {"n": 100}),
        ("query($n: Int! = 100)", "$n", {}),
        ("query($n: Int)", "100", {"n": 1}),
    ],
)
def test_a_page_costs_what_it_will_be_long_whatever_says_so(
    head: str, first: str, variables: dict[str, int]
) -> None:
    text = f"{head} {{ killmails(first: {first}) {{ edges {{ node {{ id }} }} }} }}"
    assert cost(text, **variables) == cost("{ killmails(first: 100) { edges { node { id } } } }")


def test_the_schema_s_default_stands_in_where_nothing_says_how_long_a_page_is() -> None:
    fifty = cost("{ killmails(first: 50) { edges { cursor } } }")
    assert cost("{ killmails { edges { cursor } } }") == fifty
    assert cost("query($n: Int) { killmails(first: $n) { edges { cursor } } }") == fifty
    assert cost("query($n: Int = 100) { killmails(first: $n) { edges { cursor } } }", n=None) == fifty


def test_what_a_directive_leaves_out_costs_nothing_and_what_it_lets_in_does() -> None:
    page = "killmails(first: 100) { edges { node { ...m @include(if: $in) id @skip(if: $out) } } }"
    text = f"query($in: Boolean = true, $out: Boolean! = false) {{ {page} }}"
    text += " fragment m on Killmail { fresh solo npc }"
    everything = cost(text)
    assert cost(text, out=True) == everything - 100
    assert cost(text, **{"in": False}) == everything - 300


def test_pages_in_pages_multiply() -> None:
    inner = "killmails(first: 100) { edges { node { id } } }"
    outer = "{ users { killmails(first: 100) { edges { node { users { user { INNER } } } } } } }"
    assert cost(outer.replace("INNER", inner)) > 100 * 100 * 3


def test_fragments_count_where_they_are_spread() -> None:
    written = cost(
        "{ a: killmails(first: 9) { edges { cursor } } b: killmails(first: 9) { edges { cursor } } }"
    )
    spread = "{ a: killmails(first: 9) { ...f } b: killmails(first: 9) { ...f } }"
    assert cost(spread + " fragment f on KillmailConnection { edges { cursor } }") == written
    assert cost("{ ...f } fragment f on Query { ...f }") == 0


def test_each_filter_in_any_costs() -> None:
    text = "{ killmails(filter: FILTER) { totalCount } }"
    plain = cost(text.replace("FILTER", "{npc: true}"))
    assert cost(text.replace("FILTER", "{any: [{npc: true}, {any: {solo: true}}]}")) - plain == 150
    text = "query($f: KillmailFilter) { killmails(filter: $f) { totalCount } }"
    assert cost(text, f={"any": [{"npc": True}, {"any": {"solo": True}}]}) - plain == 150
    text = "query($f: [KillmailFilter!]) { killmails(filter: {any: $f}) { totalCount } }"
    assert cost(text, f=[{"npc": True}, {}]) - plain == 100
    assert cost(text, f=None) == plain
    text = text.replace("[KillmailFilter!]", "[KillmailFilter!] = [{npc: true}, {any: [{}, {}]}]")
    assert cost(text) - plain == 200


@pytest.mark.parametrize("first", ["-5", "99999999999999999999", '"x"', "$missing", "1000"])
def test_a_page_size_that_is_none_does_not_make_it_cheap(first: str) -> None:
    assert cost(f"query($missing: Int) {{ killmails(first: {first}) {{ edges {{ cursor }} }} }}") <= 10_000


async def test_small_ones_share_and_large_ones_come_one_by_one() -> None:
    budget = QueryBudget(single=100_000, shared=40_000)
    small = [await budget.admit(3_000, None) for _ in range(5)]
    with pytest.raises(Unavailable):
        await budget.admit(3_000, 0)
    large = await budget.admit(90_000, 0)
    with pytest.raises(Unavailable):
        await budget.admit(80_000, 0)
    with pytest.raises(TooMuch):
        await budget.admit(100_001, 0)
    assert budget.busy
    for each in (*small, large):
        each.close()
        each.close()
    assert not budget.busy


async def test_a_query_that_turns_out_large_waits_for_the_large_ones_place() -> None:
    budget = QueryBudget(single=100_000, shared=40_000)
    one, other = await budget.admit(10, 60.0), await budget.admit(10, 60.0)
    assert one.spend(ALLOWANCE)
    assert not one.spend(20_000)
    await one.grown()
    assert one.spend(60_000)
    assert not other.spend(20_000)
    waiting = asyncio.create_task(other.grown())
    await asyncio.sleep(0)
    assert not waiting.done()
    one.close()
    await waiting
    assert not other.spend(100_000)
    assert isinstance(other.error, TooMuch)
    other.close()
    assert not budget.busy


async def test_one_that_waits_as_long_as_it_takes_begins_again_with_nothing_in_its_hands() -> None:
    budget = QueryBudget(single=100_000, shared=40_000)
    one = await budget.admit(10, None)
    assert not one.spend(20_000)
    growing = asyncio.create_task(one.grown())
    await one.over
    assert isinstance(one.error, MustBeginAgain)
    growing.cancel()
    one.close()
    assert not budget.busy
    again = await budget.admit(10, None, large=True)
    assert again.spend(20_000)
    again.close()


async def test_one_that_turns_out_large_waits_no_longer_than_its_patience() -> None:
    budget = QueryBudget(single=100_000, shared=40_000)
    large = await budget.admit(90_000, 0)
    one = await budget.admit(10, 0)
    assert not one.spend(20_000)
    growing = asyncio.create_task(one.grown())
    await one.over
    assert isinstance(one.error, Unavailable)
    growing.cancel()
    one.close()
    large.close()
    assert not budget.busy


async def test_what_a_query_waits_for_others_is_not_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("killsyncd.api.graphql.budget.perf_counter", lambda: now)
    one = await QueryBudget(single=100_000, shared=40_000).admit(10, None)
    one.begin()
    now += 1.0
    with one.others_first():
        now += 50.0
        with one.others_first():
            now += 50.0
        assert one.seconds == 1.0
    now += 2.0
    assert one.seconds == 3.0
    one.close()


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    pool = Pool(10)
    await pool.take(10)
    waiting = [asyncio.create_task(pool.take(size)) for size in (8, 3, 2)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    pool.give(10)
    await asyncio.gather(waiting[0], waiting[2])
    assert pool.free == 0
    pool.give(10)
    assert pool.free == 10


async def test_who_stops_waiting_at_the_moment_of_its_turn_breaks_nothing() -> None:
    pool = Pool(10)
    await pool.take(10)
    waiting = asyncio.create_task(pool.take(5))
    await asyncio.sleep(0)
    waiting.cancel()
    pool.give(10)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.free == 10


async def test_little_comes_before_much() -> None:
    pool = Pool(10)
    await pool.take(10)
    served: list[int] = []

    async def take(size: int) -> None:
        await pool.take(size)
        served.append(size)
        pool.give(size)

    tasks = [asyncio.create_task(take(size)) for size in (9, 1, 5)]
    await asyncio.sleep(0)
    pool.give(10)
    await asyncio.gather(*tasks)
    assert served == [1, 5, 9]


async def test_queries_take_turns_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killsyncd.api.graphql.turns.SLICE_SECONDS", 0.0)
    turns = Turns()
    done: list[str] = []

    async def work(who: str, number: int) -> None:
        await turns.take(who)
        done.append(f"{who}{number}")

    assert not turns.over()
    assert turns.over()
    tasks = [asyncio.create_task(work("large", number)) for number in range(40)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work("small", 0)))
    await asyncio.gather(*tasks)
    assert done.index("small0") < 20


async def test_those_who_waited_for_a_query_to_grow_go_on_some_at_a_time() -> None:
    """There may be thousands, and all in one round of the loop would hold it for a tenth of a second."""
    budget = QueryBudget(single=1_000_000, shared=20_000)
    reservation = await budget.admit(1_000, 5.0)
    assert not reservation.spend(50_000)
    rounds, woken = 0, Counter[int]()

    def next_round() -> None:
        nonlocal rounds
        rounds += 1
        if woken.total() < 1_000:
            asyncio.get_running_loop().call_soon(next_round)

    async def part() -> None:
        await reservation.grown()
        woken[rounds] += 1

    next_round()
    await asyncio.gather(*(part() for _ in range(1_000)))
    assert max(woken.values()) <= 64
    reservation.close()
    assert not budget.busy
