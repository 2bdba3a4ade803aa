"""The market's history of days that we did not see: EVE Ref's archive, a third party, only where asked for.

One file a day (bz2, CSV, columns by their header's names); of it the averages of The Forge are kept, since
everybody prices by Jita. Only days on which stored killmails died and that have no prices of their own are
asked for, the latest first. The file of the latest day is often missing for hours.
"""

from __future__ import annotations

import asyncio
import bz2
import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp

from killsyncd.core import outbound
from killsyncd.core.background import HISTORY, LATER, PeriodicTask, TaskRows, TaskState, Turn
from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.pricing.overrides import cents_of
from killsyncd.pricing.ports import PriceRows, ValueRows
from killsyncd.pricing.price_day import PriceDay, day_number, day_of

FORGE = "10000002"
MOST_PACKED = 32 << 20
MOST_UNPACKED = 512 << 20
AT_ONCE = 20
"""Days a turn."""

PAUSE = 1.0
"""Seconds between two files."""

IDLE = 900.0
"""Seconds until it is looked again whether stored killmails need another day."""

FIRST_DAY = 20031001
"""EVE Ref has nothing older."""

SOON, LATER_ON = 3 * 3600.0, 7 * 86_400.0
"""Seconds after which a missing file is asked for again: of the last days, and of older ones."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """url: what the years lie below."""

    url: str
    user_agent: str
    timeout: float = 300.0


class MarketHistory(PeriodicTask):
    """The task. tell: called when there are prices of another day."""

    name = HISTORY

    def __init__(
        self,
        settings: HistorySettings,
        prices: PriceRows,
        values: ValueRows,
        rows: TaskRows,
        clock: Clock,
        rng: random.Random,
        tell: Callable[[], None],
    ) -> None:
        super().__init__(rows, clock, rng, tell)
        self._settings = settings
        self._prices = prices
        self._values = values

    async def turn(self, state: TaskState) -> Turn:
        """Fetch some of the days that are needed. Raises Unavailable, BadInput."""
        today = utc(self._clock.now()).replace(hour=0, minute=0, second=0, microsecond=0)
        days = await self._prices.wanted_days(today, AT_ONCE)
        days = [each for each in days if each >= FIRST_DAY]
        if not days:
            return await self._idle(state)
        changed, broken = False, None
        async with outbound.outbound_session(
            self._settings.user_agent, seconds=self._settings.timeout
        ) as session:
            for number, day in enumerate(days):
                if number:
                    await self._clock.sleep(PAUSE)
                try:
                    changed = await self._fetch(session, day, today) or changed
                except BadInput as error:  # of this file: the others may be good
                    broken = error
                    await self._prices.put_history(day, None, [], LATER_ON)
                if changed:
                    self._tell()
        if broken is not None:
            raise broken
        return Turn(PAUSE, state.position, changed=changed)

    async def _idle(self, state: TaskState) -> Turn:
        """Every day is there that there is: what was valued by a later day may find a nearer one now."""
        filled = await self._prices.filled()
        if filled != state.position:
            await self._values.start_pass(LATER, None)
        return Turn(IDLE, filled, changed=filled != state.position)

    async def _fetch(self, session: aiohttp.ClientSession, day: int, today: datetime) -> bool:
        text = f"{day_of(day):%Y-%m-%d}"
        url = f"{self._settings.url}/{text[:4]}/market-history-{text}.csv.bz2"
        async with outbound.get(session, url, {"Accept-Encoding": "identity"}) as answer:
            if answer.status == 404:
                recent = day >= day_number(today - timedelta(days=4))
                wait = SOON if recent else LATER_ON
                await self._prices.put_history(day, None, [], wait * self._rng.uniform(1.0, 1.2))
                return False
            if answer.status != 200:
                raise Unavailable(f"EVE Ref answered {answer.status}", outbound.AGAIN)
            body = await outbound.read_bounded(answer, MOST_PACKED)
        found = await asyncio.to_thread(forge_prices, body, text)
        await self._prices.put_history(day, await asyncio.to_thread(found.packed), list(found.ids), 0.0)
        return True


def forge_prices(packed: bytes, day: str) -> PriceDay:
    """The averages of a day's file. Raises BadInput. Blocking: for a thread."""
    prices: dict[int, int] = {}
    rows = bad = 0
    reader = csv.reader(_lines(packed))
    try:
        header = next(reader, [])
        if missing := {"region_id", "type_id", "average"} - set(header):
            raise BadInput(f"the market's history of {day} has no column {', '.join(sorted(missing))}")
        region, type_id, average = (header.index(each) for each in ("region_id", "type_id", "average"))
        for row in reader:
            rows += 1
            try:
                if row[region] == FORGE:
                    cents = cents_of(row[average] or "0")
                    if cents > 0:  # an empty or zero average is no price
                        prices[int(row[type_id])] = cents
            except (ValueError, IndexError):
                bad += 1
    except csv.Error:
        raise BadInput(f"the market's history of {day} is no CSV") from None
    if bad * 2 > rows or not prices:
        raise BadInput(f"the market's history of {day} is no such thing: {bad} of {rows} lines can't be read")
    return PriceDay(prices.items())


def _lines(packed: bytes) -> Iterator[str]:
    """Lines of a bz2 file, a piece at a time."""
    unpacker, rest, total = bz2.BZ2Decompressor(), b"", 0
    data = packed
    try:
        while True:
            if unpacker.eof:  # what was packed by several processors has several streams
                data = unpacker.unused_data
                if not data:
                    break
                unpacker = bz2.BZ2Decompressor()
            piece = unpacker.decompress(data, 1 << 18)
            data = b""
            total += len(piece)
            if total > MOST_UNPACKED:
                raise BadInput("the market's history is larger than any day's")
            if not piece and unpacker.needs_input:
                raise BadInput("the market's history is cut short")
            *lines, rest = (rest + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
    except OSError:
        raise BadInput("the market's history is no bz2 file") from None
    if rest:
        yield rest.decode("utf-8", "replace")
