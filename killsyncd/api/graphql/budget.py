"""What all queries in flight may cost together, and all answers that are built or being sent.

Costs are counted in values: one field of one row is one value, which is some ten microseconds of work and
some hundred bytes of memory. `raw` and `eft` count as a value for each RAW_BYTES.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import perf_counter

from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.read_model import TooMuch

RAW_BYTES = 64
"""Bytes of `raw` that cost what one value costs."""

ALLOWANCE = 5_000
"""Values that a query is given beyond what its text says: for lists whose length only the database knows."""


_WOKEN = 64
"""Parts of a query that are woken in one round of the loop; each goes on for some ten microseconds."""


class Pool:
    """Something of which there is only so much. Whoever wants little is served before who wants much."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._order = count()

    async def take(self, amount: int, rank: int | None = None) -> None:
        """Wait for so much. rank: whose turn comes first, the amount without one."""
        if not self._waiting and self.free >= amount:
            self.free -= amount
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount if rank is None else rank, next(self._order), amount, future)
        heapq.heappush(self._waiting, entry)
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give(amount)  # it came at the same moment
            elif entry in self._waiting:  # unless somebody else's turn has just swept it out
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
                self._serve()
            raise

    def give(self, amount: int) -> None:
        """So much is free again."""
        self.free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][2] <= self.free:
            _, _, amount, future = heapq.heappop(self._waiting)
            if not future.done():
                self.free -= amount
                future.set_result(None)


class QueryBudget:
    """Values of all queries in flight: many small ones at once, beside them one large one.

    single: most values of one query. shared: what the small ones have together.
    """

    def __init__(self, single: int, shared: int) -> None:
        self.single = single
        self._shared = Pool(shared)
        self._large = Pool(1)
        self._small = shared // 2

    @property
    def busy(self) -> bool:
        """Whether any query is in."""
        return any(each.free < each.capacity for each in (self._shared, self._large))

    async def admit(self, cost: int, patience: float | None, *, large: bool = False) -> Reservation:
        """Let a query in that costs so much by its text.

        patience: seconds to wait while others use everything, also later, should it turn out large; None: as
        long as it takes, and one that turns out large begins again (`MustBeginAgain`), for it may not hold
        what others need all that time. large: it has turned out so before.
        Raises TooMuch, Unavailable.
        """
        if cost > self.single:
            raise too_much(self.single)
        wanted = cost + ALLOWANCE
        try:
            async with asyncio.timeout(patience):
                if wanted <= self._small and not large:
                    await self._shared.take(wanted)
                    return Reservation(self, cost, wanted, patience)
                await self._large.take(1, rank=cost)
                return Reservation(self, cost, 0, patience)
        except TimeoutError:
            raise busy() from None

    async def take_large(self, rank: int) -> None:
        """The place of the large one."""
        await self._large.take(1, rank)

    def give_back(self, values: int) -> None:
        """values: of a small query; 0: of the large one."""
        if values:
            self._shared.give(values)
        else:
            self._large.give(1)


class Reservation:
    """What one query may cost, and whether it is over. `close` it.

    A query that is over works no more: whatever belongs to it waits in `parked` until it is cancelled.
    beginning: how many of its lists have rows that have not begun; before that they cannot be cancelled.
    """

    def __init__(self, budget: QueryBudget, spent: int, reserved: int, patience: float | None) -> None:
        self._budget = budget
        self._reserved = reserved
        self._patience = patience
        self._waits = 0
        self._worked = 0.0
        self._since = perf_counter()
        self._closed = False
        self._growing: asyncio.Task[None] | None = None
        self._waiting_to_grow: deque[asyncio.Future[None]] = deque()
        self.beginning = 0
        self.spent = spent
        self.error: KillsyncdError | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.over.done()

    def end(self, error: KillsyncdError | None = None) -> None:
        """It is over. error: why."""
        if not self.over.done():
            self.error = error
            self.over.set_result(None)

    def begin(self) -> None:
        """From now on its time counts."""
        self._worked, self._since = 0.0, perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has taken so far, without what it waited for other queries."""
        return self._worked + (0.0 if self._waits else perf_counter() - self._since)

    @contextmanager
    def others_first(self) -> Iterator[None]:
        """The time that the block takes is other queries'.

        What it works itself meanwhile, in another part, is bounded by its values.
        """
        if not self._waits:
            self._worked += perf_counter() - self._since
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self._since = perf_counter()

    async def parked(self) -> None:
        """Wait to be cancelled."""
        await asyncio.get_running_loop().create_future()

    def spend(self, values: int) -> bool:
        """So many more will be made; False: only once `grown` has been awaited.

        What is more than a query may cost at all ends it.
        """
        self.spent += values
        if self.spent > self._budget.single:
            self.end(too_much(self._budget.single))
        return not self.ended and (not self._reserved or self.spent <= self._reserved)

    async def grown(self) -> None:
        """Wait to become the large query."""
        if not self.ended:
            if self._growing is None or self._growing.done():
                self._growing = asyncio.ensure_future(self._grow_and_tell())
            grown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_to_grow.append(grown)
            with self.others_first():
                await grown
        if self.ended:
            await self.parked()

    async def _grow_and_tell(self) -> None:
        """Grow; then wake those who wait for it, some in each round of the loop: there may be thousands."""
        await self._grow()
        while self._waiting_to_grow:
            for _ in range(min(_WOKEN, len(self._waiting_to_grow))):
                each = self._waiting_to_grow.popleft()
                if not each.done():
                    each.set_result(None)
            await asyncio.sleep(0)

    async def _grow(self) -> None:
        if self._reserved:
            if self._patience is None:
                self.end(MustBeginAgain(self.spent))
                return
            try:
                async with asyncio.timeout(self._patience):
                    await self._budget.take_large(self.spent)
            except TimeoutError:
                self.end(busy())
                return
            self._budget.give_back(self._reserved)
            self._reserved = 0

    def close(self) -> None:
        """The query's values are no more."""
        if self._closed:
            return
        self._closed = True
        self.end()
        # Raised, it holds all that was going on: not in a circle, for that only the collector would end.
        self.error = None
        if self._growing is not None and not self._growing.done():
            self._growing.cancel()
        self._waiting_to_grow.clear()
        self._budget.give_back(self._reserved)


class MustBeginAgain(KillsyncdError):
    """A query turned out large, and has to wait for the large one's place with nothing in its hands.

    spent: values, so far.
    """

    def __init__(self, spent: int) -> None:
        super().__init__("the query turned out large")
        self.spent = spent


class TookTooLong(TooMuch):
    """A query was under way for too long, others' turns not counted: it is dear, or the database is slow."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the query took longer than {seconds:g} s",
            "ask for less at once; if that does not help, the database is slow: killsyncd ctl status",
        )


def busy() -> Unavailable:
    """Others use everything."""
    return Unavailable(
        "the daemon is busy with other queries", "try again in a moment, or ask for less at once"
    )


def too_much(limit: int) -> TooMuch:
    """An answer of more values than one may have."""
    return TooMuch(
        f"the answer would hold more than {limit:,} values", "ask for fewer rows, or fewer fields, at once"
    )
