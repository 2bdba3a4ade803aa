"""Sources: every list that killmails come from, with its state, its times, and who lends a token to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from killsyncd.core.clock import utc
from killsyncd.core.model import Origin, QueuedSource, Source, SourceKind, UserState
from killsyncd.core.sources import (
    CORPORATION_SCOPE,
    FINE,
    LAST_NPC_CORPORATION,
    SWITCHES,
    Lender,
    Member,
    Refusal,
    SourceState,
    SourceView,
    Standing,
    failing,
    of_character,
    of_corporation,
    of_npc_corporation,
    of_zkillboard,
    of_zkillboard_corporation,
    switched_off,
)
from killsyncd.storage.repositories.users import ask
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Ids, Row, Run, Tx, as_datetime, one
from killsyncd.zkillboard.walk import EntityKind, Subject, known_until

REACH = timedelta(days=90)
"""How far back ESI's lists go."""


def member_from(row: Row) -> Member:
    """A pilot in a corporation from a row of `sources.members`."""
    return Member(
        Lender(str(row["user_id"]), int(row["character_id"]), str(row["character_name"])),
        UserState(row["state"]),
        bool(row["paused"]),
        bool(row["granted"]),
        bool(row["scoped"]),
        None if row["accepted_at"] is None else float(row["accepted_at"]),
        None if row["refusal"] is None else Refusal(row["refusal"]),
        str(row["words"] or ""),
        int(row["refusals"] or 0),
        None if row["refused_since"] is None else float(row["refused_since"]),
        None if row["refused_at"] is None else float(row["refused_at"]),
        bool(row["believed"]),
        float(row["not_before"] or 0.0),
    )


def _by_source(rows: Sequence[Row]) -> dict[int, list[Member]]:
    found: dict[int, list[Member]] = {}
    for row in rows:
        found.setdefault(int(row["source_id"]), []).append(member_from(row))
    return found


def members_of(source_ids: Sequence[int]) -> Tx[dict[int, list[Member]]]:
    """Our pilots in each of these corporations. A part for other transactions."""
    values = {"ids": Ids(source_ids), "scope": CORPORATION_SCOPE}
    return _by_source((yield Run("sources.members_of", values)))


def views(source_ids: Sequence[int]) -> Tx[list[SourceView]]:
    """These sources, by kind. A part for other transactions."""
    rows = yield Run("sources.some", {"ids": Ids(source_ids)})
    members = yield from members_of([int(r["id"]) for r in rows if r["kind"] == SourceKind.CORPORATION])
    off = yield from _off()
    return [_view(row, members.get(int(row["id"]), []), off) for row in rows]


def switch(kind: SourceKind, *, on: bool) -> Tx[None]:
    """Keep whether the configuration has lists of this kind read. A part for other transactions."""
    yield Run("meta.put", {"key": SWITCHES[kind], "value": "on" if on else "off"})


def _off() -> Tx[set[SourceKind]]:
    """Kinds whose lists the configuration has not read."""
    found = set()
    for kind, key in SWITCHES.items():
        row = one((yield Run("meta.get", {"key": key})))
        if row is not None and row["value"] == "off":
            found.add(kind)
    return found


def _view(row: Row, members: Sequence[Member], off: Collection[SourceKind]) -> SourceView:
    source = Source(SourceKind(row["kind"]), int(row["subject_id"]))
    standing = switched_off(source.kind) if source.kind in off else _standing(row, source, members)
    begun, end = _complete(row, source)
    return SourceView(
        int(row["id"]),
        source,
        row["character_name"] or row["name"] or row["via_name"],
        standing.state,
        standing.reason,
        standing.remedy,
        _via(row, source, members),
        as_datetime(row["last_sync_at"]),
        None if row["last_killmail_id"] is None else int(row["last_killmail_id"]),
        int(row["pending"]),
        begun,
        end,
        utc(float(row["created_at"])),
    )


def _complete(row: Row, source: Source) -> tuple[datetime | None, datetime | None]:
    """From when to when everything that the list showed is here, but for what is pending or quarantined."""
    if source.kind is SourceKind.ZKILLBOARD:
        entity = EntityKind.CHARACTER if row["user_id"] is not None else EntityKind.CORPORATION
        subject = Subject(
            int(row["id"]),
            entity,
            source.subject_id,
            whole_at=row["whole_at"],
            unbroken_at=row["stream_unbroken_at"],
            watched_at=row["watched_at"],
        )
        until = known_until(subject, row["read_at"])
        if until is None:
            return None, None
        end = utc(until)
        return min(end, as_datetime(row["oldest"]) or end), end
    if row["unbroken_at"] is None or row["vouched_at"] is None:
        return None, None
    begun = utc(float(row["unbroken_at"])) - REACH
    return begun, max(begun, utc(float(row["vouched_at"])))


def _npc_corporation(corporation_id: int, rows: Sequence[Row]) -> SourceView:
    standing = of_npc_corporation([str(row["character_name"]) for row in rows])
    return SourceView(
        id=-corporation_id,
        source=Source(SourceKind.CORPORATION, corporation_id),
        name=rows[0]["name"],
        state=standing.state,
        reason=standing.reason,
        remedy=standing.remedy,
        via=(),
        last_sync_at=None,
        last_killmail_id=None,
        pending=0,
        complete_from=None,
        complete_to=None,
        created_at=utc(min(float(row["corporation_at"]) for row in rows)),
    )


def _standing(row: Row, source: Source, members: Sequence[Member]) -> Standing:
    """What keeps a source from being read: its own switch, its lenders, what its reader tells, its syncs."""
    if row["paused"]:
        remedy = f"killsyncd ctl resume --{source.kind} {source.subject_id}"
        return Standing(SourceState.PAUSED, "somebody paused it", remedy)
    standing = FINE
    if source.kind is SourceKind.CHARACTER and row["user_state"] is not None:
        user_state, paused = UserState(row["user_state"]), bool(row["user_paused"])
        standing = of_character(user_state, row["state_reason"], paused, source.subject_id)
    elif source.kind is SourceKind.ZKILLBOARD and row["via_state"] is not None:
        state = UserState(row["via_state"])
        standing = of_zkillboard(state, bool(row["via_paused"]), source.subject_id)
    elif source.kind is SourceKind.ZKILLBOARD:
        standing = of_zkillboard_corporation(row["watched_at"] is not None)
    elif source.kind is SourceKind.CORPORATION:
        standing = of_corporation(members, row["closed_at"] is not None)
    if standing is FINE and row["trouble"] is not None:
        remedy = "nothing to do if it passes: it is tried again by itself"
        return Standing(SourceState.UNAVAILABLE, str(row["trouble"]), remedy)
    return failing(int(row["attempts"] or 0), row["last_error"]) if standing is FINE else standing


def _via(row: Row, source: Source, members: Sequence[Member]) -> tuple[Lender, ...]:
    """Who lends a token, the one in use first."""
    if source.kind is SourceKind.CHARACTER and row["user_id"] is not None:
        return (Lender(str(row["user_id"]), int(row["character_id"]), str(row["character_name"])),)
    lend = [each.lender for each in members if each.usable and each.scoped and not each.believed]
    return tuple(sorted(lend, key=lambda each: each.user_id != row["via_user_id"]))


def queue_source(
    source_id: int, priority: int, origin: Origin, *, skip_within: float | None, full: bool
) -> Tx[QueuedSource | None]:
    """Ask for a sync of a list, or say why not. None: there is no such source. A part for other transactions.

    skip_within: seconds; what was synced since is left out. None: nothing is.
    """
    row = one((yield Run("sources.queue_facts", {"source_id": source_id})))
    if row is None:
        return None
    source = Source(SourceKind(row["kind"]), int(row["subject_id"]))
    last, name, via = as_datetime(row["last_sync_at"]), row["name"], row["via"]
    if row["paused"] or row["user_paused"] or not row["granted"] or row["state"] != UserState.OK.value:
        (view,) = yield from views([source_id])
        why = view.reason or "nobody lends a token to it just now"
        reason = f"{view.state.value}: {why}" + (f"; {view.remedy}" if view.remedy else "")
        return QueuedSource(source, name, via, None, False, reason, last)
    asked = yield from ask(source_id, row, last, priority, origin, skip_within=skip_within, full=full)
    queued = asked.mode is not None
    return QueuedSource(
        source, name, via, asked.mode, queued, asked.reason, last, asked.plain_at, asked.list_at
    )


class SourceRepository(Repository):
    """Sources as the operations see them."""

    @reads
    def all(self, kind: SourceKind | None = None) -> Tx[list[SourceView]]:
        """Every source, or those of a kind; by kind, in the order in which they came."""
        rows = yield Run("sources.all", {"kind": "" if kind is None else kind.value})
        members = _by_source((yield Run("sources.members", {"scope": CORPORATION_SCOPE})))
        off = yield from _off()
        return [_view(row, members.get(int(row["id"]), []), off) for row in rows]

    @reads
    def npc_corporations(self) -> Tx[list[SourceView]]:
        """NPC corporations that pilots of ours are in: they have no list, and it is said why. Their ids are
        below zero; none where corporations' lists are not read at all."""
        if SourceKind.CORPORATION in (yield from _off()):
            return []
        pilots: dict[int, list[Row]] = {}
        for row in (yield Run("sources.npcs", {"last_npc": LAST_NPC_CORPORATION})):
            pilots.setdefault(int(row["corporation_id"]), []).append(row)
        return [_npc_corporation(subject_id, rows) for subject_id, rows in pilots.items()]

    @reads
    def some(self, source_ids: Sequence[int]) -> Tx[list[SourceView]]:
        """These sources, by kind."""
        return (yield from views(source_ids))

    @reads
    def find(self, words: str, kind: SourceKind | None = None) -> Tx[list[SourceView]]:
        """Sources by the id of their subject, or its name (any case)."""
        only = "" if kind is None else kind.value
        rows: Sequence[Row] = ()
        if words.isascii() and words.isdigit() and len(words) < 19:
            rows = yield Run("sources.by_subject", {"subject_id": int(words), "kind": only})
        if not rows:
            rows = yield Run("sources.by_name", {"name": words, "kind": only})
        return (yield from views([int(row[0]) for row in rows])) if rows else []

    @reads
    def of_killmails(self, killmail_ids: Sequence[int]) -> Tx[dict[int, list[int]]]:
        """Through which sources each of these mails came: ids of sources."""
        found: dict[int, list[int]] = {}
        for row in (yield Run("sources.of_killmails", {"ids": Ids(killmail_ids)})):
            found.setdefault(int(row["killmail_id"]), []).append(int(row["source_id"]))
        return found

    @reads
    def due(self, before: datetime) -> Tx[list[int]]:
        """ESI's lists that can be read, were not since `before`, and do not wait already; longest ago
        first."""
        values = {"before": before, "active": Origin.ACTIVE.value}
        return [int(row[0]) for row in (yield Run("sources.due", values))]

    @reads
    def active(self, active_for: float, expired_by: float, limit: int) -> Tx[list[int]]:
        """Lists that showed a fresh kill within `active_for` seconds, whose answer was cached until
        `expired_by` (ESI's clock) at most, and that nobody has asked for; longest ago first."""
        values = {"active_for": active_for, "expired_by": expired_by, "limit": limit}
        return [int(row[0]) for row in (yield Run("sources.active", values))]

    @reads
    def next_active(self, active_for: float) -> Tx[float | None]:
        """Until when the first of those lists is cached, by ESI's clock; None without any."""
        row = one((yield Run("sources.next_active", {"active_for": active_for})))
        return None if row is None or row["due"] is None else float(row["due"])

    @writes
    def queue(
        self,
        source_ids: Sequence[int],
        priority: int,
        origin: Origin,
        *,
        skip_within: float | None = None,
        full: bool = False,
    ) -> Tx[list[QueuedSource]]:
        """Ask for syncs of lists in one transaction, in the order given. skip_within: as of users."""
        done = []
        for source_id in source_ids:
            queued = yield from queue_source(source_id, priority, origin, skip_within=skip_within, full=full)
            if queued is not None:
                done.append(queued)
        return done

    @writes
    def pause(self, source_id: int, *, paused: bool) -> Tx[bool]:
        """Stop or restart one source (a pilot's own list: pause the pilot instead); False: no change."""
        return bool((yield Run("sources.pause", {"source_id": source_id, "paused": paused})))
