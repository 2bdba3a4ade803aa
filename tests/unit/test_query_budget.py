"""What queries may cost: by their text, one by one, and together."""

from __future__ import annotations

import asyncio

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse

from killsyncd.api.graphql.budget import ALLOWANCE, Pool, QueryBudget
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
    return Costs(SCHEMA, fragments, variables, 100).of_operation(operation)


def test_rows_times_fields() -> None:
    one = cost("{ killmails(first: 1) { edges { node { id } } } }")
    ten = cost("{ killmails(first: 10) { edges { node { id } } } }")
    assert ten - one == 9 * 3
    assert cost("query($n: Int) { killmails(first: $n) { edges { node { id } } } }", n=10) == ten
    more = cost("{ killmails(first: 10) { edges { node { id fresh victim { damageTaken } } } } }")
    assert more - ten == 10 * 3
    assert cost("{ killmails { edges { node { id } } } }") - ten == 40 * 3


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
    for wrong in (None, 7, "x", [[[]]], {"any": [None, 3]}):
        assert cost(text, f=wrong) - plain <= 150


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
    one, other = await budget.admit(10, None), await budget.admit(10, None)
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
    assert isinstance(other.over.result(), TooMuch)
    other.close()
    assert not budget.busy


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
