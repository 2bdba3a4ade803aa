"""What a type was worth on a day, by the best price there is.

The best first: the operator's, the market's history of the day, ESI's average of the day, the first price
known after it. Days are read from the database when they are needed, and a few are kept.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from killsyncd.core.errors import BadInput
from killsyncd.core.logging import get_logger
from killsyncd.pricing.facts import StaticFacts
from killsyncd.pricing.overrides import Overrides
from killsyncd.pricing.ports import Day, Kill, PriceIndex, PriceRows
from killsyncd.pricing.price_day import PriceDay, day_number, day_of
from killsyncd.pricing.valuation import Price, PriceMethod, Unit, unit_of

KEPT_DAYS = 64
"""Days in memory, some 170 KB each."""

TURN = 200
"""Types that are looked up before others get their turn."""

ALWAYS = 99_991_231
"""A day after all others."""

KEPT_UNITS = 60_000
"""Prices of a type on a day that are remembered, some 200 bytes each."""


log = get_logger(__name__)


def types_of(kill: Kill) -> set[int]:
    """Every type on a mail."""
    types = {kill.hull}
    types.update(map(_TYPE, kill.items))
    return types


_TYPE: Callable[[Any], int] = itemgetter(0)


class PriceBook:
    """Looks prices up. overrides: may be replaced at any time; then call `forget`."""

    def __init__(self, rows: PriceRows, kept_days: int = KEPT_DAYS) -> None:
        self._kept_days = kept_days
        self._rows = rows
        self.overrides = Overrides()
        self._facts = StaticFacts()
        self._index = PriceIndex()
        self._days: list[Day] = []
        self._esi: frozenset[Day] = frozenset()
        self._history: frozenset[Day] = frozenset()
        self._loaded: OrderedDict[tuple[bool, Day], PriceDay] = OrderedDict()
        self._units: dict[Day, dict[int, Unit | None]] = {}
        self._count = 0
        self._gaps: dict[int, tuple[Day, Day]] = {}
        self._lasting: dict[int, tuple[Day, Day, Unit | None]] = {}
        self._unknown: set[int] = set()

    async def refresh(self, version: tuple[float, ...], facts: StaticFacts | None = None) -> None:
        """Take in what has changed: days that came, another build of the static data."""
        if facts is not None and facts is not self._facts:
            self._facts = facts
            self.forget()
        if version != self._index.version:
            self._index = await self._rows.index()
            self._esi, self._history = frozenset(self._index.esi), frozenset(self._index.history)
            self._days = sorted(self._esi | self._history)
            self._loaded.clear()
            self.forget()

    def forget(self) -> None:
        """What was looked up may not be right any more."""
        self._units.clear()
        self._gaps.clear()
        self._lasting.clear()
        self._unknown.clear()
        self._count = 0

    def knows(self, day: Day) -> bool:
        """Whether anything can be said of what was worth what on this day."""
        return bool(self.overrides.prices) or (bool(self._days) and self._days[-1] >= day)

    @property
    def empty(self) -> bool:
        """Whether there is not one price."""
        return not self._days and not self.overrides.prices

    def unknown(self, kill: Kill) -> int:
        """How many types of a mail the static data do not know, of those that `units` was asked for."""
        if not self._unknown:
            return 0
        return len(self._unknown & types_of(kill))

    @property
    def facts(self) -> StaticFacts:
        """What is known of types."""
        return self._facts

    async def units(self, day: Day, types: Iterable[int]) -> Mapping[int, Unit | None]:
        """What one of each of these types was worth on a day; None where it has no price."""
        if self._count > KEPT_UNITS:
            self._units.clear()
            self._count = 0
        known = self._units.setdefault(day, {})
        missing = [each for each in types if each not in known]
        self._count += len(missing)
        has_own = day in self._esi or day in self._history
        if missing and not has_own:
            missing = [each for each in missing if not self._lasts(each, day, known)]
        if missing:
            found = await self._prices(day, missing)
            for each in missing:
                facts = self._facts.of(each)
                unit = known[each] = unit_of(each, found.get(each), facts)
                if facts is None:
                    self._unknown.add(each)
                if not has_own and each not in self.overrides.prices:
                    self._lasting[each] = *self._span(each, day, found.get(each)), unit
        return known

    def _lasts(self, type_id: int, day: Day, known: dict[int, Unit | None]) -> bool:
        """Whether a type was worth on this day what it was on another, and put that in. A backlog's days have
        no prices of their own: what comes later is the same for thousands of them.
        """
        first, end, unit = self._lasting.get(type_id, (0, 0, None))
        if first <= day < end:
            known[type_id] = unit
            return True
        return False

    def _span(self, type_id: int, day: Day, later: Price | None) -> tuple[Day, Day]:
        """The days without prices of their own, to the end not included, that have the same later price."""
        place = bisect_left(self._index.types, type_id)
        priced = place < len(self._index.types) and self._index.types[place] == type_id
        before = day if priced and day >= self._index.first[place] else 0
        return before, ALWAYS if later is None else day_number(later.day)

    async def _prices(self, day: Day, types: Iterable[int]) -> dict[int, Price]:
        found: dict[int, Price] = {}
        kill_day = day_of(day)
        own = [
            (await self._load(day, history), method)
            for history, method in ((True, PriceMethod.MARKET_HISTORY), (False, PriceMethod.ESI_AVERAGE))
            if day in (self._history if history else self._esi)
        ]
        for number, type_id in enumerate(types, 1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            cents = self.overrides.get(type_id, day)
            method = PriceMethod.OVERRIDE
            for prices, how in own:
                if cents is None and (cents := prices.get(type_id)) is not None:
                    method = how
            if cents is not None:
                found[type_id] = Price(cents, method, kill_day)
            elif (later := await self._later(day, type_id)) is not None:
                found[type_id] = Price(later[1], PriceMethod.LATER, day_of(later[0]))
        return found

    async def _later(self, day: Day, type_id: int) -> tuple[Day, int] | None:
        """The first price of a type after a day."""
        place = bisect_left(self._index.types, type_id)
        if place >= len(self._index.types) or self._index.types[place] != type_id:
            return None
        if self._index.last[place] <= day:
            return None
        at = max(day, self._index.first[place] - 1)
        from_, to = self._gaps.get(type_id, (0, 0))
        step = bisect_right(self._days, at)
        while step < len(self._days):
            if from_ <= self._days[step] < to:  # looked through before
                step = bisect_left(self._days, to)
            each = self._days[step]
            cents = await self._on(each, type_id)
            if cents is not None:
                self._gaps[type_id] = (self._days[bisect_right(self._days, at)], each)
                return each, cents
            step += 1
        return None

    async def _on(self, day: Day, type_id: int) -> int | None:
        for history in (True, False):
            if day in (self._history if history else self._esi):
                cents = (await self._load(day, history)).get(type_id)
                if cents is not None:
                    return cents
        return None

    async def _load(self, day: Day, history: bool) -> PriceDay:
        key = history, day
        found = self._loaded.get(key)
        if found is None:
            packed = await (self._rows.history_day(day) if history else self._rows.esi_day(day))
            found = PriceDay() if packed is None else _unpacked(packed, day)
            self._loaded[key] = found
            if len(self._loaded) > self._kept_days:
                self._loaded.popitem(last=False)
        else:
            self._loaded.move_to_end(key)
        return found


def _unpacked(packed: bytes, day: Day) -> PriceDay:
    """A day's prices; none where they cannot be read: whatever else there is counts then."""
    try:
        return PriceDay.unpacked(packed)
    except BadInput as error:
        log.warning("a day's prices are left out", day=day, reason=error.message)
        return PriceDay()
