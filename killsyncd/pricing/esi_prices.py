"""ESI's prices, once a day: one answer has the average of everything, and is kept as that day's.

Mails of a day are valued by its prices, so they are asked for as soon as a day has begun; where the answer of
the evening before is still cached then, it is what ESI says on the new day, too, and is kept for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from killsyncd.core.background import PRICES, REMEDY, PeriodicTask, TaskRows, TaskState, Turn
from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import BadInput, KillsyncdError
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import EsiError, MarketPrices, MustWait
from killsyncd.pricing.overrides import cents_of
from killsyncd.pricing.ports import PriceRows
from killsyncd.pricing.price_day import PriceDay, day_number, next_day

CACHED = 3600.0
"""Seconds that ESI caches the answer: after a request of which nothing is known it is not asked sooner."""

SHRINKS = 0.5
"""An answer with fewer than this part of yesterday's types was cut short: for a day it is not believed."""

APART = 20.0
"""Seconds after midnight within which daemons ask, so that not all do at once."""


class EsiPrices(PeriodicTask):
    """The task. tell: called when there are prices of another day."""

    name = PRICES

    def __init__(
        self,
        esi: EsiClient,
        prices: PriceRows,
        rows: TaskRows,
        clock: Clock,
        rng: random.Random,
        tell: Callable[[], None],
    ) -> None:
        super().__init__(rows, clock, rng, tell)
        self._esi = esi
        self._prices = prices

    async def turn(self, state: TaskState) -> Turn:
        """See that today has prices. Raises EsiError."""
        now = self._clock.now()
        today = day_number(utc(now))
        latest = await self._prices.latest()
        if latest is not None and latest.day >= today:
            return Turn(self._until_tomorrow(now), latest.day)
        if latest is not None and now < latest.expires_at <= now + 2 * CACHED:
            await self._prices.carry(today)
            return Turn(self._until_tomorrow(now), today, changed=True)
        answer = await self._esi.market_prices(self._before_ask)
        day = day_number(utc(self._esi.wall(answer.at)))
        packed, types = await asyncio.to_thread(_packed, answer)
        if latest is not None and today <= next_day(latest.day) and len(types) < latest.types * SHRINKS:
            raise BadInput(
                f"ESI's prices are of {len(types)} types, and were of {latest.types} before", REMEDY
            )
        await self._prices.put_esi(day, packed, types, answer.until)
        return Turn(self._until_tomorrow(now), day, changed=True)

    def not_before(self, error: KillsyncdError) -> float:
        """ESI's own word, in seconds since 1970."""
        if isinstance(error, MustWait):
            return error.until
        expires = error.expires_at if isinstance(error, EsiError) else None
        return 0.0 if expires is None else self._esi.wall(expires)

    async def _before_ask(self, at: float) -> None:
        # Whatever becomes of this process now: ESI may have answered, and its answer is cached.
        await self._rows.postpone(self.name, CACHED)

    def _until_tomorrow(self, now: float) -> float:
        here = utc(now)
        midnight = datetime(here.year, here.month, here.day, tzinfo=here.tzinfo) + timedelta(days=1)
        return midnight.timestamp() - now + self._rng.uniform(1.0, APART)


def _packed(answer: MarketPrices) -> tuple[bytes, list[int]]:
    day = PriceDay((type_id, cents_of(repr(average))) for type_id, average in answer.averages)
    return day.packed(), list(day.ids)
