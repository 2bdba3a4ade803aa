"""Batching: what many fields ask for one by one becomes one statement.

Resolvers answer futures. Once a sweep of the executor has asked for all it wants, each kind
of thing is read for all ids at once; lists that are long in sum in several statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from killsyncd.api.graphql.batch_loader import _BYTES_A_ROW, _IDS_AT_ONCE, BatchLoader, LoadScheduler
from killsyncd.api.ports import KillmailReader
from killsyncd.core.errors import NotFound
from killsyncd.core.model import User
from killsyncd.core.read_model import (
    Attacker,
    Involved,
    Item,
    Mail,
    MailPage,
    MailSize,
    MailValue,
    Role,
    SystemFacts,
    TypeFacts,
    Victim,
)
from killsyncd.core.sources import SourceView


class Loaders:
    """Everything that fields of a mail are read from, for one query or one batch of the feed.

    names: whether any name is asked for at all. mails: those that will be asked for. sources: reads through
    which sources mails came.
    """

    def __init__(
        self,
        reading: KillmailReader,
        *,
        names: bool,
        mails: Sequence[Mail] = (),
        sources: Callable[[Sequence[int]], Awaitable[Mapping[int, list[SourceView]]]],
    ) -> None:
        self._reading = reading
        self._wants_names = names
        self._names: dict[int, str | None] = {}
        self._attacker_counts = {mail.killmail_id: mail.attacker_count for mail in mails}
        self._sizes: dict[int, MailSize] = {}
        self.turns = LoadScheduler()
        turns = self.turns
        beforehand = [mail.killmail_id for mail in mails]
        systems = [mail.solar_system_id for mail in mails]
        self.mail: BatchLoader[int, Mail | None] = BatchLoader(turns, self._mails, _none)
        self.victim: BatchLoader[int, Victim] = BatchLoader(turns, self._victims, _erased, beforehand)
        self.attackers: BatchLoader[int, list[Attacker]] = BatchLoader(
            turns, self._attackers, list, beforehand, self._attacker_count
        )
        self.final_blow: BatchLoader[int, Attacker | None] = BatchLoader(
            turns, self._final_blows, _none, beforehand
        )
        self.size: BatchLoader[int, MailSize] = BatchLoader(turns, self._read_sizes, _nothing, beforehand)
        # Not beforehand: how much there is of each is only known once somebody asked.
        self.items: BatchLoader[int, list[Item]] = BatchLoader(
            turns, self._items, list, rows=lambda each: self._sizes[each].items
        )
        self.document: BatchLoader[int, bytes] = BatchLoader(
            turns, reading.documents, _erased, rows=lambda each: self._sizes[each].bytes // _BYTES_A_ROW
        )
        self.involved: BatchLoader[int, list[tuple[User, Role]]] = BatchLoader(
            turns, self._involved, list, beforehand
        )
        self.page: BatchLoader[tuple[int, int, str | None], MailPage] = BatchLoader(
            turns, self._pages, _no_page
        )
        self.sources: BatchLoader[int, list[SourceView]] = BatchLoader(turns, sources, list, beforehand)
        self.count: BatchLoader[int, int] = BatchLoader(turns, reading.counts_of, int)
        self.value: BatchLoader[int, MailValue | None] = BatchLoader(turns, self._values, _none, beforehand)
        self.system_facts: BatchLoader[int, SystemFacts | None] = BatchLoader(
            turns, reading.systems, _none, systems
        )
        self.type_facts: BatchLoader[int, TypeFacts | None] = BatchLoader(turns, reading.types, _none)
        self._late_names: BatchLoader[int, str | None] = BatchLoader(turns, self._read_names, _none, systems)

    def name(self, id_: int) -> str | None:
        """The name of an id that came with something read before."""
        return self._names.get(id_)

    def attackers_of(self, mail: Mail) -> asyncio.Future[list[Attacker]]:
        """All attackers of a mail."""
        self._attacker_counts[mail.killmail_id] = mail.attacker_count
        return self.attackers.load(mail.killmail_id)

    def system_name(self, id_: int) -> str | asyncio.Future[str | None] | None:
        """The name of a mail's system: mails of the feed come without."""
        if id_ in self._names or not self._wants_names:
            return self._names.get(id_)
        return self._late_names.load(id_)

    async def know(self, ids: Iterable[int | None]) -> None:
        """Read the names of these, if names are asked for."""
        if not self._wants_names:
            return
        new: set[int] = set()
        for number, each in enumerate(ids, 1):
            if each is not None and each not in self._names:
                new.add(each)
            if not number % _IDS_AT_ONCE:
                await asyncio.sleep(0)
        missing = sorted(new)
        for start in range(0, len(missing), _IDS_AT_ONCE):
            part = missing[start : start + _IDS_AT_ONCE]
            found = await self._reading.names(part)
            for each in part:
                self._names[each] = found.get(each)

    async def know_systems(self, mails: Iterable[Mail]) -> None:
        """The names of the systems of mails."""
        await self.know(mail.solar_system_id for mail in mails)

    def cancel(self) -> None:
        """Stop reading."""
        self.turns.cancel()

    def _attacker_count(self, killmail_id: int) -> int:
        return self._attacker_counts.get(killmail_id, 1)

    async def _read_sizes(self, ids: list[int]) -> dict[int, MailSize]:
        found = await self._reading.sizes(ids)
        for each in ids:
            self._sizes[each] = found.get(each, MailSize(0, 0))
        return self._sizes

    async def _read_names(self, ids: list[int]) -> dict[int, str | None]:
        await self.know(ids)
        return {each: self._names.get(each) for each in ids}

    async def _mails(self, ids: list[int]) -> dict[int, Mail]:
        found = await self._reading.mails(ids)
        await self.know_systems(found.values())
        return found

    async def types_of(self, ids: Iterable[int]) -> dict[int, TypeFacts]:
        """What the static data say of these types, as far as they know them."""
        found = {each: self.type_facts.load(each) for each in set(ids)}
        return {each: facts for each, future in found.items() if (facts := await future) is not None}

    async def _values(self, ids: list[int]) -> dict[int, MailValue]:
        found = await self._reading.values(ids)
        await self.know(type_id for each in found.values() for type_id in each.unpriced)
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


def _nothing() -> MailSize:
    return MailSize(0, 0)


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
