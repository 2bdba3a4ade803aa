"""What a type was worth on a day: the same, whatever was looked up before."""

from __future__ import annotations

import random
from array import array

from hypothesis import given
from hypothesis import strategies as st

from killsyncd.pricing.book import PriceBook
from killsyncd.pricing.overrides import Overrides
from killsyncd.pricing.ports import PriceIndex
from killsyncd.pricing.price_day import PriceDay

DAYS = [20260101 + each for each in range(20)]
TYPES = list(range(1, 9))


class Rows:
    """Days of prices in memory (implements what the book asks of `PriceRows`)."""

    def __init__(self, rng: random.Random) -> None:
        self.esi, self.history = (
            {
                day: PriceDay((each, rng.randrange(1, 10**6)) for each in rng.sample(TYPES[:-1], 3))
                for day in rng.sample(DAYS, rng.randrange(6))
            }
            for _ in range(2)
        )

    async def index(self) -> PriceIndex:
        both = [*self.esi.items(), *self.history.items()]
        priced = {each: [day for day, prices in both if prices.get(each) is not None] for each in TYPES}
        known = [each for each in TYPES if priced[each]]
        first, last = (array("q", (of(priced[each]) for each in known)) for of in (min, max))
        return PriceIndex((1.0,), sorted(self.esi), sorted(self.history), array("q", known), first, last)

    async def esi_day(self, day: int) -> bytes:
        return self.esi[day].packed()

    async def history_day(self, day: int) -> bytes:
        return self.history[day].packed()


async def book_of(rows: Rows, overrides: Overrides) -> PriceBook:
    book = PriceBook(rows)  # type: ignore[arg-type]  # the part of the rows that it asks for
    book.overrides = overrides
    await book.refresh((1.0,))
    return book


@given(st.integers(0, 10_000))
async def test_what_was_looked_up_before_changes_no_price(seed: int) -> None:
    rng = random.Random(seed)
    rows, overrides = Rows(rng), Overrides({TYPES[0]: [(DAYS[5], DAYS[9], 77)]} if rng.random() < 0.3 else {})
    kept = await book_of(rows, overrides)
    for _ in range(30):
        day, types = rng.choice(DAYS), rng.sample(TYPES, rng.randrange(1, 5))
        fresh = await book_of(rows, overrides)
        wanted = await fresh.units(day, types)
        found = await kept.units(day, types)
        assert {each: found[each] for each in types} == {each: wanted[each] for each in types}
