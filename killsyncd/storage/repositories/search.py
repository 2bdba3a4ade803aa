"""The read side of mails: pages, batches for a page of ids, and the feed.

Each method is one snapshot, and each batch one statement, however many ids it is
asked for: whoever shows a page of 100 mails pays for a constant number of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from killsyncd.core.model import User
from killsyncd.core.read_model import (
    COUNTED_TO,
    Attacker,
    DayActivity,
    Edge,
    FeedMail,
    FeedPoint,
    FeedSlice,
    Involved,
    Item,
    Mail,
    MailFilter,
    MailPage,
    MailSize,
    Order,
    Position,
    Role,
    TooMuch,
    Victim,
)
from killsyncd.storage.documents import document_of
from killsyncd.storage.repositories import driving, filtering, mail_lists, paging
from killsyncd.storage.repositories.by_value import by_value
from killsyncd.storage.repositories.catalogue import CatalogueReads, KnownSets
from killsyncd.storage.repositories.feed import feed_point
from killsyncd.storage.repositories.statistics import StatisticsReads
from killsyncd.storage.repositories.users import user_from
from killsyncd.storage.repository import reads
from killsyncd.storage.transaction import Ids, Row, Rows, Run, Sql, Store, Tx, needed_datetime, one

V = TypeVar("V")

MAX_ROWS = 50_000
"""Attackers, or items, that one batch reads; a page with more is refused."""

_ROWS_AT_ONCE = 1_000

_MAIL = (
    "k.killmail_id, k.killmail_hash, k.killmail_time, k.solar_system_id, k.war_id, k.moon_id, "
    "k.attacker_count, k.feed_position, k.fresh, k.solo, k.npc, k.created_at"
)
_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_LAST_ID = 2**63 - 1


def _mail(row: Row) -> Mail:
    return Mail(
        killmail_id=row["killmail_id"],
        killmail_hash=row["killmail_hash"],
        killmail_time=needed_datetime(row["killmail_time"]),
        solar_system_id=row["solar_system_id"],
        war_id=row["war_id"],
        moon_id=row["moon_id"],
        attacker_count=row["attacker_count"],
        feed_position=row["feed_position"],
        fresh=bool(row["fresh"]),
        solo=bool(row["solo"]),
        npc=bool(row["npc"]),
        created_at=needed_datetime(row["created_at"]),
    )


def _victim(row: Row) -> Victim:
    x, y, z = row["position_x"], row["position_y"], row["position_z"]
    return Victim(
        character_id=row["character_id"],
        corporation_id=row["corporation_id"],
        alliance_id=row["alliance_id"],
        faction_id=row["faction_id"],
        ship_type_id=row["ship_type_id"],
        damage_taken=row["damage_taken"],
        position=Position(x, y, z) if x is not None and y is not None and z is not None else None,
    )


def _attacker(row: Row) -> Attacker:
    return Attacker(
        character_id=row["character_id"],
        corporation_id=row["corporation_id"],
        alliance_id=row["alliance_id"],
        faction_id=row["faction_id"],
        ship_type_id=row["ship_type_id"],
        weapon_type_id=row["weapon_type_id"],
        damage_done=row["damage_done"],
        final_blow=bool(row["final_blow"]),
        security_status=row["security_status"],
    )


def _page(mails: Sequence[Mail], first: int, order: Order, after: str | None) -> MailPage:
    """A page of at most `first` out of a list that was read one longer."""
    edges = [Edge(paging.encode_cursor(mail, order), mail) for mail in mails[:first]]
    return MailPage(edges, more=len(mails) > first, went_before=after is not None)


async def _items(rows: Rows) -> dict[int, list[Item]]:
    """Trees out of rows that come depth first, containers before what they hold."""
    found: dict[int, list[Item]] = {}
    containers: dict[tuple[int, int], Item] = {}
    async for part in _in_parts(rows):
        for row in part:
            killmail_id = row["killmail_id"]
            item = Item(
                row["item_type_id"],
                row["flag"],
                row["quantity_dropped"],
                row["quantity_destroyed"],
                row["singleton"],
                [],
            )
            containers[killmail_id, row["position"]] = item
            holder = containers.get((killmail_id, row["parent"])) if row["parent"] is not None else None
            (found.setdefault(killmail_id, []) if holder is None else holder.items).append(item)
    return found


class KillmailSearch(CatalogueReads, StatisticsReads):
    """The store as GraphQL and the feed see it. Every method raises Unavailable when the store is."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._sets = KnownSets()

    async def page(self, given: MailFilter, order: Order, first: int, after: str | None = None) -> MailPage:
        """A page of mails. Raises BadInput for a cursor that is none of this order."""
        key = None if after is None else paging.decode_cursor(after, order)
        mails = await self._list(given, order, first + 1, key)
        return _page(mails, first, order, after)

    @reads
    def count(self, given: MailFilter) -> Tx[int]:
        """How many mails there are, exact up to COUNTED_TO."""
        wanted = filtering.take_apart(given, (yield from self._sets.of(given)))
        driver, few = yield from driving.counting(wanted)
        if few:
            conditions = " AND ".join(mail_lists.in_another_order(wanted, driver))
            text = (
                f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM killmails k WHERE {conditions} LIMIT :limit) AS n"
            )
        else:
            text = mail_lists.counted(wanted, driver)
        row = one((yield Sql(text, {**wanted.params, "limit": COUNTED_TO})))
        return int(row["n"]) if row is not None else 0

    async def pages_of(
        self, characters: Sequence[int], first: int, after: str | None = None
    ) -> dict[int, MailPage]:
        """The newest mails of each character, in one statement. Raises BadInput as `page` does."""
        order = Order.TIME_DESC
        key = None if after is None else paging.decode_cursor(after, order)
        found = await self._of_characters(characters, first + 1, key)
        return {each: _page(mails, first, order, after) for each, mails in found.items()}

    @reads
    def counts_of(self, characters: Sequence[int]) -> Tx[dict[int, int]]:
        """How many mails each character is on, exact up to COUNTED_TO."""
        rows = yield Run("reading.counts_of_characters", {"ids": Ids(characters), "limit": COUNTED_TO})
        return {row["of_character"]: int(row["n"]) for row in rows}

    @reads
    def mails(self, ids: Sequence[int]) -> Tx[dict[int, Mail]]:
        """Mails by id; those that are not stored are absent."""
        return {row["killmail_id"]: _mail(row) for row in (yield Run("reading.mails", {"ids": Ids(ids)}))}

    @reads
    def sizes(self, ids: Sequence[int]) -> Tx[dict[int, MailSize]]:
        """How much there is to read of each mail."""
        return {
            row["killmail_id"]: MailSize(int(row["items"]), int(row["bytes"] or 0))
            for row in (yield Run("reading.sizes", {"ids": Ids(ids)}))
        }

    @reads
    def victims(self, ids: Sequence[int]) -> Tx[dict[int, Victim]]:
        """The victim of each mail."""
        return {row["killmail_id"]: _victim(row) for row in (yield Run("reading.victims", {"ids": Ids(ids)}))}

    async def attackers(self, ids: Sequence[int]) -> dict[int, list[Attacker]]:
        """All attackers of each mail, in ESI's order. Raises TooMuch."""
        return await _grouped(await self._attackers(ids), _attacker)

    @reads
    def final_blows(self, ids: Sequence[int]) -> Tx[dict[int, Attacker]]:
        """Who struck the final blow, without reading the other attackers."""
        rows = yield Run("reading.final_blows", {"ids": Ids(ids)})
        return {row["killmail_id"]: _attacker(row) for row in rows}

    async def items(self, ids: Sequence[int]) -> dict[int, list[Item]]:
        """The items of each mail, containers with what they hold. Raises TooMuch."""
        return await _items(await self._items(ids))

    @reads
    def documents(self, ids: Sequence[int]) -> Tx[dict[int, bytes]]:
        """The JSON of each mail as ESI sent it."""
        rows = yield Run("reading.documents", {"ids": Ids(ids)})
        # One that is no JSON would break the whole answer that it is put into.
        return {
            row["killmail_id"]: document_of(row["killmail_id"], bytes(row["document"]), row["size"])
            for row in rows
        }

    @reads
    def names(self, ids: Sequence[int]) -> Tx[dict[int, str]]:
        """The names of ids; those not resolved yet are absent."""
        return {row["id"]: row["name"] for row in (yield Run("reading.names", {"ids": Ids(ids)}))}

    async def involved(self, ids: Sequence[int]) -> dict[int, list[Involved]]:
        """Our users on each mail: the victim first, then by name."""
        return await _grouped(
            await self._involved(ids), lambda row: Involved(row["character_id"], Role(row["role"]))
        )

    @reads
    def users(self, characters: Sequence[int]) -> Tx[dict[int, User]]:
        """Users by their character's id."""
        rows = yield Run("reading.users", {"ids": Ids(characters)})
        return {row["character_id"]: user_from(row) for row in rows}

    @reads
    def feed_point(self) -> Tx[FeedPoint]:
        """Where the feed stands now."""
        return (yield from feed_point())

    @reads
    def feed_after(
        self,
        position: int,
        limit: int,
        *,
        characters: frozenset[int] | None = None,
        fresh_only: bool = False,
        killed_since: datetime | None = None,
    ) -> Tx[FeedSlice]:
        """The next mails of the feed in its order. characters: one of them is on the mail."""
        row = one((yield Run("reading.feed_position", {})))
        assert row is not None, "migration 1 makes the feed's row"
        now = int(row["position"])
        if now <= position:
            return FeedSlice([], position)
        conditions = ["k.feed_position > :position", "k.feed_position <= :now"]
        params: dict[str, object] = {"position": position, "now": now, "limit": limit}
        if characters is not None:
            condition, more = paging.anybody_of(characters)
            conditions.append(condition)
            params |= more
        if fresh_only:
            conditions.append("k.fresh = {true}")
        if killed_since is not None:
            conditions.append("k.killmail_time >= :since")
            params["since"] = killed_since
        text = (
            f"SELECT {_MAIL} FROM killmails k WHERE {' AND '.join(conditions)} "
            "ORDER BY k.feed_position LIMIT :limit"
        )
        mails = [_mail(each) for each in (yield Sql(text, params))]
        on_mail: dict[int, set[int]] = {mail.killmail_id: set() for mail in mails}
        if mails:
            for each in (yield Run("reading.characters", {"ids": Ids(list(on_mail))})):
                on_mail[each["killmail_id"]].add(each["character_id"])
        return FeedSlice(
            [FeedMail(mail, frozenset(on_mail[mail.killmail_id])) for mail in mails],
            reached=mails[-1].feed_position if len(mails) == limit else now,
        )

    async def activity(self, days: int, now: datetime) -> list[DayActivity]:
        """Kills and losses of our users for each of the last days (UTC), today last."""
        today = now.astimezone(UTC).date()
        first = today - timedelta(days=days - 1)
        until = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC)
        since = datetime.combine(first, datetime.min.time(), UTC)
        found = await self._activity(since, until)
        wanted = [first + timedelta(days=each) for each in range(days)]
        return [found.get(each.isoformat(), DayActivity(each, 0, 0)) for each in wanted]

    @reads
    def _list(self, given: MailFilter, order: Order, limit: int, after: paging.Key | None) -> Tx[list[Mail]]:
        wanted = filtering.take_apart(given, (yield from self._sets.of(given)))
        driver, few = yield from driving.plan(wanted, order, limit, after)
        if order.by_time and not few:
            ids, params = mail_lists.in_time(wanted, driver, order, after)
            return (yield from _page_of([f"k.killmail_id IN ({ids})"], params, order, limit))
        conditions = mail_lists.in_another_order(wanted, driver if few else None)
        if order is Order.VALUE_DESC:
            return (yield from by_value(_MAIL, _mail, conditions, wanted.params, limit, after, few=few))
        params = dict(wanted.params)
        if after is not None:
            condition, more = paging.beyond(order, after)
            conditions.append(condition)
            params |= more
        return (yield from _page_of(conditions, params, order, limit))

    @reads
    def _of_characters(
        self, characters: Sequence[int], limit: int, after: paging.Key | None
    ) -> Tx[dict[int, list[Mail]]]:
        after_time, after_id = after if after is not None else (_LAST_TIME, _LAST_ID)
        assert isinstance(after_time, datetime), "a key in the order of time"
        found: dict[int, list[Mail]] = {each: [] for each in characters}
        rows = yield Run(
            "reading.of_characters",
            {
                "ids": Ids(characters),
                "after_at": int(after_time.timestamp()),
                "after_id": after_id,
                "limit": limit,
            },
        )
        for row in rows:
            found[row["of_character"]].append(_mail(row))
        return found

    @reads
    def _activity(self, since: datetime, until: datetime) -> Tx[dict[str, DayActivity]]:
        rows = yield Run("reading.activity", {"since": since, "until": until})
        return {
            str(row["day"]): DayActivity(
                date.fromisoformat(row["day"]),
                int(row["kills"]),
                int(row["losses"]),
                float(row["destroyed"]),
                float(row["lost"]),
            )
            for row in rows
        }

    @reads
    def _attackers(self, ids: Sequence[int]) -> Tx[Rows]:
        return _few((yield Run("reading.attackers", {"ids": Ids(ids), "limit": MAX_ROWS + 1})), "attackers")

    @reads
    def _items(self, ids: Sequence[int]) -> Tx[Rows]:
        return _few((yield Run("reading.items", {"ids": Ids(ids), "limit": MAX_ROWS + 1})), "items")

    @reads
    def _involved(self, ids: Sequence[int]) -> Tx[Rows]:
        return (yield Run("reading.involved", {"ids": Ids(ids)}))


def _page_of(
    conditions: Sequence[str], params: Mapping[str, object], order: Order, limit: int
) -> Tx[list[Mail]]:
    text = (
        f"SELECT {_MAIL} FROM killmails k WHERE {' AND '.join(conditions) or '1 = 1'} "
        f"ORDER BY {paging.order_by(order)} LIMIT :limit"
    )
    return [_mail(row) for row in (yield Sql(text, {**params, "limit": limit}))]


def _few(rows: Rows, what: str) -> Rows:
    """These rows, as long as they are not too many for one answer. Raises TooMuch."""
    if len(rows) > MAX_ROWS:
        raise TooMuch(f"these killmails have more than {MAX_ROWS} {what}", "ask for fewer at once with first")
    return rows


async def _in_parts(rows: Rows) -> AsyncIterator[Rows]:
    """Rows to be made into values, so many at a time that others get their turn at the loop."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        yield rows[start : start + _ROWS_AT_ONCE]


async def _grouped(rows: Rows, make: Callable[[Row], V]) -> dict[int, list[V]]:
    found: dict[int, list[V]] = {}
    async for part in _in_parts(rows):
        for row in part:
            found.setdefault(row["killmail_id"], []).append(make(row))
    return found
