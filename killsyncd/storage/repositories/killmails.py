"""Storing mails: a batch is one transaction with its refs, its names and its feed positions.

Idempotent: a mail that is stored already, or that nobody wants any more (erased
while it was fetched), changes nothing. A row that the database refuses does not
fail its batch: it is stored again in halves until the row stands alone, and that
mail is quarantined with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from killsyncd.core.killmail_rows import attacker_rows, item_rows, killmail_row, victim_row
from killsyncd.core.model import FRESH_SECONDS, QUARANTINE_SECONDS, StoredMail
from killsyncd.storage.documents import pack
from killsyncd.storage.repositories.sightings import derive_last_ids, fresh
from killsyncd.storage.repository import Repository, writes
from killsyncd.storage.transaction import (
    Bulk,
    Ids,
    Many,
    RowRefused,
    Run,
    Store,
    Tx,
    one,
    savepoint,
)
from killsyncd.sync.batch import Arrival, Stored

ATTACKERS = (
    "killmail_id",
    "position",
    "character_id",
    "corporation_id",
    "alliance_id",
    "faction_id",
    "ship_type_id",
    "weapon_type_id",
    "damage_done",
    "final_blow",
    "security_status",
    "killed_at",
)
VICTIMS = (
    "killmail_id",
    "character_id",
    "corporation_id",
    "alliance_id",
    "faction_id",
    "ship_type_id",
    "damage_taken",
    "position_x",
    "position_y",
    "position_z",
    "killed_at",
)
ITEMS = (
    "killmail_id",
    "position",
    "parent",
    "item_type_id",
    "flag",
    "quantity_dropped",
    "quantity_destroyed",
    "singleton",
)


def _insert(arrivals: Sequence[Arrival]) -> Tx[tuple[list[Arrival], list[tuple[int, str]]]]:
    """Insert everything but the row in killmails; halve on a refusal."""
    if not arrivals:
        return [], []
    try:
        yield from savepoint(_insert_rows(arrivals))
    except RowRefused as refusal:
        if len(arrivals) == 1:
            return [], [(arrivals[0].killmail.killmail_id, refusal.message)]
        middle = len(arrivals) // 2
        first = yield from _insert(arrivals[:middle])
        second = yield from _insert(arrivals[middle:])
        return first[0] + second[0], first[1] + second[1]
    return list(arrivals), []


def _insert_rows(arrivals: Sequence[Arrival]) -> Tx[None]:
    mails = [each.killmail for each in arrivals]
    yield Bulk(
        "killmail_documents",
        ("killmail_id", "document", "size"),
        ((a.killmail.killmail_id, *pack(a.raw)) for a in arrivals),
    )
    yield Bulk("victims", VICTIMS, map(victim_row, mails))
    yield Bulk("attackers", ATTACKERS, chain.from_iterable(map(attacker_rows, mails)))
    yield Bulk("killmail_items", ITEMS, chain.from_iterable(map(item_rows, mails)))


def _insert_names(ids: Collection[int]) -> Tx[None]:
    if ids:
        yield Bulk("names", ("id",), [(each,) for each in sorted(ids)])


def _settle_refs(ids: Ids) -> Tx[None]:
    sources = yield Run("ledger.sources_wanting", {"ids": ids})
    yield Run("ledger.refs_gone", {"ids": ids})
    if sources:
        yield from derive_last_ids([int(each[0]) for each in sources])


def _fresh_kills(arrivals: Sequence[Arrival], listed: Mapping[int, float]) -> dict[int, float]:
    """Mails that are fresh, and when the kill was."""
    times = {each.killmail.killmail_id: each.killmail.killmail_time.timestamp() for each in arrivals}
    return {each: at for each, at in times.items() if listed[each] - at <= FRESH_SECONDS}


def _number(arrivals: Sequence[Arrival], listed: dict[int, float], origin: str) -> Tx[list[StoredMail]]:
    """Give out feed positions, ids in order, and write the rows that make the mails visible.

    The counter's row stays locked until COMMIT, so positions appear in their order and
    this part comes last.
    """
    if not arrivals:
        return []
    row = one((yield Run("ledger.raise_feed", {"count": len(arrivals)})))
    assert row is not None, "migration 1 makes the feed's row"
    first = int(row["position"]) - len(arrivals) + 1
    stored, parameters = [], []
    for position, each in enumerate(arrivals, start=first):
        mail = killmail_row(each.killmail, each.killmail_hash)
        listed_at = listed.get(mail[0])
        fresh = listed_at is not None and listed_at - mail[2].timestamp() <= FRESH_SECONDS
        parameters.append(
            {
                "killmail_id": mail[0],
                "killmail_hash": mail[1],
                "killmail_time": mail[2],
                "solar_system_id": mail[3],
                "war_id": mail[4],
                "moon_id": mail[5],
                "attacker_count": mail[6],
                "solo": mail[7],
                "npc": mail[8],
                "feed_position": position,
                "fresh": fresh,
                "origin": origin,
                "listed_at": listed_at,
                "fetched_at": each.at,
                "created_at": row["now"],
            }
        )
        stored.append(StoredMail(mail[0], position, fresh))
    yield Many("ledger.insert_killmail", parameters)
    return stored


class KillmailWriter(Repository):
    """The store as the fetcher and the import see it. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder

    async def store(self, arrivals: Sequence[Arrival], names: Collection[int]) -> Stored:
        """Store what was wanted. names: ids of EVE that may be new to the names table."""
        try:
            # Without savepoints at first: SQLite copies every page that is written behind one.
            return await self.store_batch(arrivals, names, careful=False)
        except RowRefused:
            return await self.store_batch(arrivals, names, careful=True)

    @writes
    def store_batch(
        self, arrivals: Sequence[Arrival], names: Collection[int], *, careful: bool
    ) -> Tx[Stored]:
        """As `store`. careful: mails that the database refuses are quarantined; otherwise RowRefused."""
        batch = {each.killmail.killmail_id: each for each in arrivals}
        ids = Ids(sorted(batch))
        listed: dict[int, float] = {}
        for row in (yield Run("ledger.refs", {"ids": ids})):
            if row["holder"] is None or row["holder"] == self._holder:
                listed[int(row["killmail_id"])] = float(row["first_listed_at"])
        there = {int(row[0]) for row in (yield Run("ledger.stored", {"ids": ids}))}
        todo = [batch[each] for each in sorted(listed) if each not in there]
        good, refused = todo, list[tuple[int, str]]()
        if careful:
            good, refused = yield from _insert(todo)
            yield from self._quarantine(batch, refused)
        elif todo:
            yield from _insert_rows(todo)
        yield from _insert_names(names)
        done = Ids(sorted({*(each.killmail.killmail_id for each in good), *(there & listed.keys())}))
        yield from _settle_refs(done)
        yield from fresh(_fresh_kills(good, listed))
        stored = yield from _number(good, listed, "esi")
        known = [each for each in sorted(batch) if each not in listed or each in there]
        return Stored(stored, known, refused)

    def _quarantine(self, batch: Mapping[int, Arrival], refused: Sequence[tuple[int, str]]) -> Tx[None]:
        for killmail_id, reason in refused:
            yield Run(
                "ledger.ref_failed",
                {
                    "killmail_id": killmail_id,
                    "killmail_hash": batch[killmail_id].killmail_hash,
                    "holder": self._holder,
                    "state": "quarantined",
                    "reason": reason,
                    "not_before": batch[killmail_id].at + QUARANTINE_SECONDS,
                    "by": None,
                    "attempts": 1,
                    "refusals": 1,
                },
            )

    @writes
    def import_mails(
        self, source_id: int, arrivals: Sequence[Arrival], names: Collection[int], at: float
    ) -> Tx[Stored]:
        """Store mails from a file; they are numbered, and never fresh."""
        batch = {each.killmail.killmail_id: each for each in arrivals}
        ids = Ids(sorted(batch))
        there = {int(row[0]) for row in (yield Run("ledger.stored", {"ids": ids}))}
        good, refused = yield from _insert([batch[each] for each in sorted(batch) if each not in there])
        yield from _insert_names(names)
        # An import vouches for its mails like a list does: erasing a character leaves them alone.
        refused_ids = {killmail_id for killmail_id, _ in refused}
        yield Bulk(
            "sightings",
            ("source_id", "killmail_id", "killmail_hash", "listed_at"),
            [
                (source_id, each, batch[each].killmail_hash, at)
                for each in sorted(batch)
                if each not in refused_ids
            ],
        )
        yield from _settle_refs(Ids([each.killmail.killmail_id for each in good]))
        stored = yield from _number(good, {}, "import")
        return Stored(stored, sorted(there), refused)
