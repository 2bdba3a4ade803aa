"""Corporations whose lists we read: who of our pilots is in them, who lends a token, who was refused.

`sources.via_user_id` of a corporation is the pilot whose token reads the list; NULL while nobody's does,
and then nothing of it can be claimed. It is chosen anew whenever its reader cannot read any more
(`settle`).
"""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.auth.lending import choose, heard, next_question
from killsyncd.auth.refusals import ListRefusals
from killsyncd.core.model import Affiliation, Source, SourceKind
from killsyncd.core.sources import CORPORATION_SCOPE, LAST_NPC_CORPORATION, Member, Refusal, SourceView
from killsyncd.storage.repositories.sources import members_of, switch, views
from killsyncd.storage.repositories.users import source_id as source_row
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Bulk, Many, Run, Tx, one
from killsyncd.sync.ports import NewLender

STILL_THERE = 7 * 86_400.0
"""Seconds for which a pilot of whom ESI says nothing any more counts as in the corporation that it named
last. If its list is refused to the pilot, that is told, and another reads on."""


def forgive(user_id: str) -> Tx[None]:
    """A new login: what ESI refused to the one before is asked again. A part for other transactions."""
    yield Run("corporations.forgiven", {"user_id": user_id})


def lend(source_id: int) -> Tx[tuple[Member | None, float | None]]:
    """Choose whose token reads a corporation's list. A part for other transactions.

    Answers who reads it now, and else after how many seconds one who was refused may be asked again.
    """
    row = one((yield Run("corporations.via", {"source_id": source_id})))
    if row is None:
        return None, None
    members = (yield from members_of([source_id])).get(source_id, [])
    current, now = row["via_user_id"], float(row["now"])
    chosen = choose(members, current, now)
    user_id = None if chosen is None else chosen.lender.user_id
    if user_id != current:
        yield Run("corporations.lend", {"source_id": source_id, "user_id": user_id})
        if chosen is not None:
            yield Run("corporations.go_on", {"source_id": source_id})
    if chosen is not None:
        return chosen, 0.0
    again = next_question(members, now)
    return None, None if again is None else again - now


def left(user_id: str) -> Tx[None]:
    """A pilot has logged out: whose lists they read are read by others. A part for other transactions."""
    for row in (yield Run("corporations.read_by", {"user_id": user_id})):
        yield from lend(int(row[0]))


def lost(limit: int) -> Tx[list[SourceView]]:
    """Corporations' lists that were read before and have no reader now. A part for other transactions."""
    rows = yield Run("corporations.lost", {"limit": limit})
    return (yield from views([int(row[0]) for row in rows])) if rows else []


class CorporationRepository(Repository):
    """See `sync.ports.CorporationRows` and `sync.ports.LenderRows`."""

    @writes
    def switch(self, *, on: bool) -> Tx[None]:
        """Whether corporations' lists are read at all. Off: what is wanted of them is forgotten."""
        yield from switch(SourceKind.CORPORATION, on=on)
        if not on:
            yield Run("corporations.off", {})
            yield Run("corporations.off_wants", {})

    @writes
    def unplaced(self, limit: int, again: float) -> Tx[list[int]]:
        """Characters whose corporation is to be asked for; nobody else asks for them for `again` seconds."""
        rows = yield Run("corporations.unplaced", {"limit": limit, "again": again})
        return sorted(int(row[0]) for row in rows)

    @reads
    def next_due(self) -> Tx[float | None]:
        """After how many seconds somebody's corporation is to be asked for; None without anybody."""
        row = one((yield Run("corporations.next_due", {})))
        return None if row is None or row["due"] is None else float(row["due"]) - float(row["now"])

    @writes
    def placed(self, found: Sequence[Affiliation], unknown: Sequence[int], wait: float) -> Tx[None]:
        """ESI said who is in which corporation. unknown: characters of whom it said nothing, or that it does
        not know: they are where they were, for STILL_THERE. wait: seconds until they are asked for again."""
        if found:
            yield Many(
                "corporations.placed",
                [
                    {"character_id": each.character_id, "corporation_id": each.corporation_id, "wait": wait}
                    for each in found
                ],
            )
        if unknown:
            yield Many(
                "corporations.not_placed",
                [{"character_id": each, "holds": STILL_THERE, "wait": wait} for each in unknown],
            )

    @writes
    def settle(self) -> Tx[list[NewLender]]:
        """Make every corporation of our pilots a source, and see to it that somebody reads each who can.

        Answers those that are read again from now on.
        """
        unlisted = yield Run("corporations.unlisted", {"last_npc": LAST_NPC_CORPORATION})
        ids = [int(row[0]) for row in unlisted]
        for corporation_id in ids:
            yield from source_row(Source(SourceKind.CORPORATION, corporation_id), None)
        npcs = yield Run("corporations.unnamed", {"last_npc": LAST_NPC_CORPORATION})
        ids += [int(row[0]) for row in npcs]
        if ids:
            yield Bulk("names", ("id",), [(each,) for each in ids])
        found = []
        for row in (yield Run("corporations.vacant", {"scope": CORPORATION_SCOPE})):
            chosen, _ = yield from lend(int(row["id"]))
            if chosen is not None:
                found.append(NewLender(int(row["id"]), chosen, row["via_user_id"] is not None))
        return found

    @writes
    def without_pilots(self, again: float) -> Tx[list[int]]:
        """Corporations that none of our pilots is in any more. ESI is to be asked whether they were closed;
        no other daemon gets them for `again` seconds."""
        return sorted(int(row[0]) for row in (yield Run("corporations.without_pilots", {"again": again})))

    @writes
    def closed(self, corporation_id: int) -> Tx[None]:
        """ESI says that this corporation was closed."""
        yield Run("corporations.closed", {"corporation_id": corporation_id})

    @writes
    def refused(self, source_id: int, user_id: str, refusal: Refusal, words: str) -> Tx[float | None]:
        """ESI refused a corporation's list to this pilot: remember it, and choose another.

        Answers after how many seconds the list may be asked for: 0 with another's token; None with nobody's.
        """
        row = one((yield Run("corporations.via", {"source_id": source_id})))
        members = (yield from members_of([source_id])).get(source_id, [])
        member = next((each for each in members if each.lender.user_id == user_id), None)
        if row is None or member is None:  # erased, or gone from the corporation meanwhile
            return (yield from self.unusable.tx(source_id))
        now = float(row["now"])
        values = {
            "source_id": source_id,
            "last": member.refused_at or now,
            "since": member.refused_since or now,
        }
        others = one((yield Run("corporations.others", values)))
        before = ListRefusals(
            member.refusals,
            member.refused_since or 0.0,
            member.refused_at or 0.0,
            others is not None and bool(others["accepted"]),
            others is not None and bool(others["refused"]),
        )
        memory = heard(refusal, now, before=before)
        yield Run(
            "corporations.refused",
            {
                "source_id": source_id,
                "user_id": user_id,
                "refusal": memory.refusal.value,
                "words": words,
                "refusals": memory.count,
                "since": memory.since,
                "at": memory.at,
                "believed": memory.believed,
                "not_before": memory.not_before,
            },
        )
        return (yield from self.unusable.tx(source_id))

    @writes
    def unusable(self, source_id: int) -> Tx[float | None]:
        """Whoever read the list cannot lend a token any more: choose another. Answers as `refused`."""
        _, wait = yield from lend(source_id)
        return wait

    @writes
    def accepted(self, source_id: int, user_id: str) -> Tx[None]:
        """ESI gave the list to this pilot: earlier refusals count no more."""
        yield Run("corporations.accepted", {"source_id": source_id, "user_id": user_id})
