"""Batching: what many fields ask for one by one becomes one statement.

Resolvers answer futures. Once a sweep of the executor has asked for all it wants, each kind
of thing is read for all ids at once. The answers are handed out in slices, so that a
large page does not hold the event loop: between two slices others get their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Generic, TypeVar

from killsyncd.api.ports import KillmailReader
from killsyncd.core.errors import NotFound
from killsyncd.core.model import User
from killsyncd.core.read_model import Attacker, Edge, Involved, Item, Mail, MailPage, Role, Victim

K = TypeVar("K")
V = TypeVar("V")

_SLICE_SECONDS = 0.01
_MAX_SLICE = 16
_ROWS_A_MAIL = 5  # with its edge, and the fields that wait for what belongs to it


class LoadScheduler:
    """When to read and when to hand out: nothing is read while answers wait to be handed out.

    Those who get an answer may ask for more; reading only then keeps one statement
    for a page, however many slices its answers came in.

    rows: how many may be handed out, as often as they are; pages in pages multiply, and what was read once
    is answered a thousandfold. What is beyond is not handed out: `on_too_much` must end the query.
    """

    def __init__(self, rows: float = inf) -> None:
        self._rows = rows
        self.on_too_much: Callable[[], None] = _nothing
        self._loop = asyncio.get_running_loop()
        self._batches: list[BatchLoader[Any, Any]] = []
        self._answers: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._reading: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._slice = 8
        self._sliced_at: float | None = None

    def add(self, batch: BatchLoader[Any, Any]) -> None:
        """A kind of thing that is read."""
        self._batches.append(batch)

    def look(self) -> None:
        """There is something to read or to hand out, in the next turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def answer(self, answers: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
        """Hand these out; an exception is raised where the future is awaited."""
        self._answers.extend(answers)
        self.look()

    def cancel(self) -> None:
        """Stop reading: nobody waits for it any more."""
        for each in self._reading:
            each.cancel()
        for future, _ in self._answers:
            future.cancel()
        self._answers.clear()

    @property
    def too_much(self) -> bool:
        """Whether more was asked for than may be handed out."""
        return self._rows < 0

    def spend(self, rows: int) -> bool:
        """Whether so many more may be handed out; if not, the query ends."""
        self._rows -= rows
        if self._rows < 0:
            self._answers.clear()
            self.on_too_much()
        return self._rows >= 0

    def _turn(self) -> None:
        self._scheduled = False
        now = self._loop.time()
        if self._sliced_at is not None:
            # As many as keep the loop busy for some milliseconds: mails differ a hundredfold.
            if now - self._sliced_at > _SLICE_SECONDS:
                self._slice = max(1, self._slice // 2)
            else:
                self._slice = min(_MAX_SLICE, self._slice * 2)
            self._sliced_at = None
        if self._answers:
            for _ in range(min(self._slice, len(self._answers))):
                future, value = self._answers.popleft()
                if future.done():
                    continue
                if not self.spend(len(value) if isinstance(value, list) else 1):
                    return
                if isinstance(value, BaseException):
                    future.set_exception(value)
                else:
                    future.set_result(value)
            self._sliced_at = self._loop.time()
            self.look()
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
    """

    def __init__(
        self,
        turns: LoadScheduler,
        read: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        missing: Callable[[], V],
        beforehand: Collection[K] = (),
    ) -> None:
        self._turns = turns
        self._read = read
        self._missing = missing
        self._beforehand = set(beforehand)
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}
        self._flying: dict[K, list[asyncio.Future[V]]] = {}
        self._known: dict[K, V] = {}
        turns.add(self)

    def load(self, key: K) -> asyncio.Future[V]:
        """The thing, later."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        if key in self._known:
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
        try:
            found = await self._read(list(wanted))
        except Exception as error:
            self._turns.answer((future, error) for futures in wanted.values() for future in futures)
        else:
            for key in wanted:
                self._known[key] = found[key] if key in found else self._missing()
            self._turns.answer(
                (future, self._known[key]) for key, futures in wanted.items() for future in futures
            )
        for key in wanted:
            del self._flying[key]


class Loaders:
    """Everything that fields of a mail are read from, for one query or one batch of the feed.

    names: whether any name is asked for at all. mails: those that will be asked for.
    rows: how many may be handed out.
    """

    def __init__(
        self, reading: KillmailReader, *, names: bool, mails: Sequence[Mail] = (), rows: float = inf
    ) -> None:
        self._reading = reading
        self._wants_names = names
        self._names: dict[int, str | None] = {}
        self.turns = LoadScheduler(rows)
        turns = self.turns
        beforehand = [mail.killmail_id for mail in mails]
        systems = [mail.solar_system_id for mail in mails]
        self.mail: BatchLoader[int, Mail | None] = BatchLoader(turns, self._mails, _none)
        self.victim: BatchLoader[int, Victim] = BatchLoader(turns, self._victims, _erased, beforehand)
        self.attackers: BatchLoader[int, list[Attacker]] = BatchLoader(
            turns, self._attackers, list, beforehand
        )
        self.final_blow: BatchLoader[int, Attacker | None] = BatchLoader(
            turns, self._final_blows, _none, beforehand
        )
        self.items: BatchLoader[int, list[Item]] = BatchLoader(turns, self._items, list, beforehand)
        self.document: BatchLoader[int, bytes] = BatchLoader(turns, reading.documents, _erased, beforehand)
        self.involved: BatchLoader[int, list[tuple[User, Role]]] = BatchLoader(
            turns, self._involved, list, beforehand
        )
        self.page: BatchLoader[tuple[int, int, str | None], MailPage] = BatchLoader(
            turns, self._pages, _no_page
        )
        self.count: BatchLoader[int, int] = BatchLoader(turns, reading.counts_of, int)
        self._late_names: BatchLoader[int, str | None] = BatchLoader(turns, self._read_names, _none, systems)

    def name(self, id_: int) -> str | None:
        """The name of an id that came with something read before."""
        return self._names.get(id_)

    def edges_of(self, page: MailPage) -> Sequence[Edge]:
        """The edges of a page within an answer; none where that grows too large, which ends it."""
        return page.edges if self.turns.spend(len(page.edges) * _ROWS_A_MAIL) else ()

    def system_name(self, id_: int) -> str | asyncio.Future[str | None] | None:
        """The name of a mail's system: mails of the feed come without."""
        if id_ in self._names or not self._wants_names:
            return self._names.get(id_)
        return self._late_names.load(id_)

    async def know(self, ids: Iterable[int | None]) -> None:
        """Read the names of these, if names are asked for."""
        if not self._wants_names:
            return
        new = {each for each in ids if each is not None and each not in self._names}
        if new:
            found = await self._reading.names(sorted(new))
            for each in new:
                self._names[each] = found.get(each)

    async def know_systems(self, mails: Iterable[Mail]) -> None:
        """The names of the systems of mails."""
        await self.know(mail.solar_system_id for mail in mails)

    def cancel(self) -> None:
        """Stop reading."""
        self.turns.cancel()

    async def _read_names(self, ids: list[int]) -> dict[int, str | None]:
        await self.know(ids)
        return {each: self._names.get(each) for each in ids}

    async def _mails(self, ids: list[int]) -> dict[int, Mail]:
        found = await self._reading.mails(ids)
        await self.know_systems(found.values())
        return found

    async def _victims(self, ids: list[int]) -> dict[int, Victim]:
        found = await self._reading.victims(ids)
        await self.know(_ids_of(found.values()))
        return found

    async def _attackers(self, ids: list[int]) -> dict[int, list[Attacker]]:
        found = await self._reading.attackers(ids)
        await self.know(_ids_of(each for several in found.values() for each in several))
        return found

    async def _final_blows(self, ids: list[int]) -> dict[int, Attacker]:
        found = await self._reading.final_blows(ids)
        await self.know(_ids_of(found.values()))
        return found

    async def _items(self, ids: list[int]) -> dict[int, list[Item]]:
        found = await self._reading.items(ids)
        await self.know(_types_of(found.values()))
        return found

    async def _involved(self, ids: list[int]) -> dict[int, list[tuple[User, Role]]]:
        found: Mapping[int, list[Involved]] = await self._reading.involved(ids)
        users = await self._reading.users(
            sorted({each.character_id for several in found.values() for each in several})
        )
        return {
            killmail_id: [
                (users[each.character_id], each.role) for each in several if each.character_id in users
            ]
            for killmail_id, several in found.items()
        }

    async def _pages(
        self, keys: list[tuple[int, int, str | None]]
    ) -> dict[tuple[int, int, str | None], MailPage]:
        """Pages of several characters; those with the same length and cursor in one statement."""
        alike: dict[tuple[int, str | None], list[int]] = {}
        for character_id, first, after in keys:
            alike.setdefault((first, after), []).append(character_id)
        pages: dict[tuple[int, int, str | None], MailPage] = {}
        for (first, after), characters in alike.items():
            for character_id, page in (await self._reading.pages_of(characters, first, after)).items():
                pages[character_id, first, after] = page
        await self.know_systems(edge.mail for page in pages.values() for edge in page.edges)
        return pages


def _none() -> None:
    return None


def _nothing() -> None:
    pass


def _erased() -> Any:
    return NotFound("this killmail was erased a moment ago")


def _no_page() -> MailPage:
    return MailPage([], more=False, went_before=False)


def _ids_of(rows: Iterable[Victim | Attacker]) -> Iterable[int | None]:
    for row in rows:
        yield row.character_id
        yield row.corporation_id
        yield row.alliance_id
        yield row.faction_id
        yield row.ship_type_id
        if isinstance(row, Attacker):
            yield row.weapon_type_id


def _types_of(several: Iterable[list[Item]]) -> Iterable[int]:
    pending = list(several)
    while pending:
        for item in pending.pop():
            yield item.item_type_id
            if item.items:
                pending.append(item.items)
