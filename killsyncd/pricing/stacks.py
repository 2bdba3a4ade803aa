"""What single items of a stored mail were worth, for whoever shows them: by the rules of valuing mails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date

from killsyncd.core.clock import Clock
from killsyncd.core.fitting import Stack
from killsyncd.pricing.book import PriceBook
from killsyncd.pricing.overrides import Overrides
from killsyncd.pricing.ports import PriceRows, ValueRows
from killsyncd.pricing.price_day import day_number
from killsyncd.pricing.valuation import BLUEPRINT_COPY, TOKEN_CENTS

FRESH = 15.0
"""Seconds for which it is not looked again whether other prices have come."""

KEPT_DAYS = 8


class StackPrices:
    """Prices of stacks. overrides: the operator's, as the valuer has read them."""

    def __init__(
        self, prices: PriceRows, values: ValueRows, clock: Clock, overrides: Callable[[], Overrides]
    ) -> None:
        self._rows = prices
        self._values = values
        self._clock = clock
        self._overrides = overrides
        self._book = PriceBook(prices, kept_days=KEPT_DAYS)
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self._build = -1

    async def stack_cents(self, day: date, item: Stack) -> int | None:
        """An item, without what it holds, on the day of its kill; None where its type has no price.

        In hundredths of an ISK. Raises Unavailable.
        """
        count = max(0, item.quantity_dropped or 0) + max(0, item.quantity_destroyed or 0)
        if item.singleton == BLUEPRINT_COPY:
            return TOKEN_CENTS * count
        await self._refresh()
        number = day_number(day)
        unit = (await self._book.units(number, [item.item_type_id]))[item.item_type_id]
        return None if unit is None else unit.cents * count

    async def _refresh(self) -> None:
        # All items of a mail ask at once: those that come while it is looked wait for what is found.
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        now = self._clock.monotonic()
        overrides = self._overrides()
        if overrides is not self._book.overrides:
            self._book.overrides = overrides
            self._book.forget()
        if self._looked_at is not None and now - self._looked_at < FRESH:
            return
        build = await self._values.build()
        facts = await self._values.facts() if build != self._build else None
        await self._book.refresh(await self._rows.version(), facts)
        self._build, self._looked_at = build, now
