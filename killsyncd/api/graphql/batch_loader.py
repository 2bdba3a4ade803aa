"""Loading what one answer needs in few reads: keys are gathered while resolvers run, and read together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")


V = TypeVar("V")


_HANDED_OUT = 64
"""Answers that are handed out in one round of the loop; who gets one works in turns, see `turns`."""


_QUIET_TURNS = 2
"""Turns of the loop in which nobody asked for more, before anything is read: tasks begin in between."""


_BYTES_A_ROW = 512
"""Of documents, for what is read at once."""


READ_AT_ONCE = 2_000
"""Rows of one statement, where the lengths of lists are known before; one mail's are never divided."""


_IDS_AT_ONCE = 5_000
"""Ids whose names are looked for without a pause."""


KEPT = 20_000
"""Rows that a context keeps for those who ask again."""


class LoadScheduler:
    """When to read and when to hand out: nothing is read while answers wait to be handed out.

    Those who get an answer may ask for more; reading only then keeps one statement
    for a page, however many slices its answers came in.

    working: how many who got one wait for their turn at the loop. stopped: whether nothing is read any more.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches: list[BatchLoader[Any, Any]] = []
        self._answers: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._reading: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._quiet = 0
        self.working = 0
        self.stopped: Callable[[], bool] = lambda: False
        self.cancelled = False

    def add(self, batch: BatchLoader[Any, Any]) -> None:
        """A kind of thing that is read."""
        self._batches.append(batch)

    def look(self) -> None:
        """There is something to read or to hand out, in the next turn of the loop."""
        self._quiet = 0
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def answer(self, answers: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
        """Hand these out; an exception is raised where the future is awaited."""
        self._answers.extend(answers)
        self.look()

    def cancel(self) -> None:
        """Stop reading: nobody waits for it any more."""
        self.cancelled = True
        for each in self._reading:
            each.cancel()
        for future, _ in self._answers:
            future.cancel()
        self._answers.clear()
        for batch in self._batches:
            batch.cancel()
        # They know us: what they hold would go only with the collector.
        self._batches.clear()
        self.stopped = _stopped

    def _turn(self) -> None:
        self._scheduled = False
        if self._answers:
            for _ in range(min(_HANDED_OUT, len(self._answers))):
                future, value = self._answers.popleft()
                if future.done():
                    continue
                if isinstance(value, BaseException):
                    future.set_exception(value)
                else:
                    future.set_result(value)
            self.look()
            return
        if self.working or self.stopped():
            return  # they look again, or nobody will
        if self._quiet < _QUIET_TURNS:
            self._quiet += 1
            self._schedule()
            return
        for batch in self._batches:
            read = batch.due()
            if read is not None:
                task = self._loop.create_task(read)
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)


class BatchLoader(Generic[K, V]):
    """One kind of thing, read by key. Keys that are not found give `missing()`; an error is raised.

    beforehand: keys that are likely to be asked for soon; they are read with the first.
    rows: how many rows a key will bring, for lists; None: it is one.
    """

    def __init__(
        self,
        turns: LoadScheduler,
        read: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        missing: Callable[[], V],
        beforehand: Collection[K] = (),
        rows: Callable[[K], int] | None = None,
    ) -> None:
        self._turns = turns
        self._read = read
        self._missing = missing
        self._beforehand = set(beforehand)
        self._rows = rows
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}
        self._flying: dict[K, list[asyncio.Future[V]]] = {}
        self._known: dict[K, V] = {}
        self._kept = 0
        turns.add(self)

    def load(self, key: K) -> asyncio.Future[V]:
        """The thing, later."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        if self._turns.cancelled:
            future.cancel()
        elif key in self._known:
            self._turns.answer([(future, self._known[key])])
        elif key in self._flying:
            self._flying[key].append(future)
        else:
            self._waiting.setdefault(key, []).append(future)
            self._turns.look()
        return future

    def put(self, key: K, value: V) -> None:
        """The thing is known already."""
        self._known[key] = value

    def cancel(self) -> None:
        """Nobody gets anything any more."""
        for waiting in (self._waiting, self._flying):
            for futures in waiting.values():
                for future in futures:
                    future.cancel()
        self._known.clear()

    def due(self) -> Any:
        """A coroutine that reads what is waited for; None when nothing is."""
        if not self._waiting:
            return None
        wanted, self._waiting = self._waiting, {}
        for key in self._beforehand:
            if key not in self._known and key not in self._flying:
                wanted.setdefault(key, [])
        self._beforehand.clear()
        self._flying.update(wanted)
        return self._fetch(wanted)

    async def _fetch(self, wanted: dict[K, list[asyncio.Future[V]]]) -> None:
        for keys in self._parts(wanted):
            try:
                found = await self._read(keys)
            except Exception as error:
                self._turns.answer((future, error) for key in keys for future in wanted[key])
            else:
                values = {key: found[key] if key in found else self._missing() for key in keys}
                self._turns.answer((future, values[key]) for key in keys for future in wanted[key])
                self._keep(values)
            for key in keys:
                del self._flying[key]

    def _parts(self, keys: Iterable[K]) -> list[list[K]]:
        """Keys that are read together: all, unless that would be too many rows."""
        if self._rows is None:
            return [list(keys)]
        parts: list[list[K]] = [[]]
        total = 0
        for key in keys:
            rows = self._rows(key)
            if parts[-1] and total + rows > READ_AT_ONCE:
                parts.append([])
                total = 0
            parts[-1].append(key)
            total += rows
        return parts

    def _keep(self, values: Mapping[K, V]) -> None:
        rows = sum(map(self._rows, values)) if self._rows is not None else len(values)
        self._kept += rows
        if self._kept > KEPT:
            self._known.clear()
            self._kept = rows
        if rows <= KEPT:
            self._known.update(values)


def _stopped() -> bool:
    return True
