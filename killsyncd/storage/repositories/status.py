"""What `ctl` and the dashboard show: status, where a killmail is, the feed with names."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.clock import utc
from killsyncd.core.model import Source, SourceKind, UserState, WaitsFor
from killsyncd.core.read_model import FeedEpoch
from killsyncd.core.text import count
from killsyncd.service import (
    Explained,
    Failed,
    FeedLine,
    LoggedOutUser,
    SeenThrough,
    StatusFacts,
    Unreadable,
    Verified,
    VerifiedCorporation,
    feed_cursor,
    parse_cursor,
)
from killsyncd.service.health import FAILING_ATTEMPTS, UserTrouble, WaitingList
from killsyncd.storage.repositories import revocations
from killsyncd.storage.repositories.background import all_tasks
from killsyncd.storage.repositories.corporations import lost
from killsyncd.storage.repositories.feed import feed_point
from killsyncd.storage.repositories.switches import SwitchRepository
from killsyncd.storage.repositories.values import explained_value
from killsyncd.storage.repositories.verify import verify, verify_corporations
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import (
    Ids,
    Row,
    Run,
    Tx,
    as_datetime,
    needed_datetime,
    one,
)

SHOWN_TROUBLES = 200
"""Users in trouble that `status` names one by one; `ctl users` has them all."""


def _subject(row: Row) -> str | None:
    """Whose list it is, where it is not that of the pilot whose token reads it."""
    if row["kind"] == SourceKind.CHARACTER:
        return None
    return f"{row['subject_name']} ({row['subject_id']})" if row["subject_name"] else str(row["subject_id"])


def _waiting() -> Tx[tuple[WaitingList, ...]]:
    return tuple(
        WaitingList(
            int(row["character_id"]),
            str(row["character_name"]),
            WaitsFor(row["waits_for"]),
            str(row["last_error"] or ""),
            float(row["not_before"]),
            Source(SourceKind(row["kind"]), int(row["subject_id"])),
            _subject(row),
        )
        for row in (yield Run("operations.waiting", {"limit": SHOWN_TROUBLES}))
    )


def _troubles() -> Tx[tuple[UserTrouble, ...]]:
    found = [
        UserTrouble(
            int(row["character_id"]),
            str(row["character_name"]),
            UserState(row["state"]),
            row["state_reason"],
            float(row["state_since"]),
        )
        for row in (yield Run("operations.troubled", {"limit": SHOWN_TROUBLES}))
    ]
    for row in (yield Run("operations.doubted", {"limit": SHOWN_TROUBLES})):
        found.append(
            UserTrouble(
                int(row["character_id"]),
                str(row["character_name"]),
                UserState.OK,
                "the SSO refused the login once (invalid_grant), which may be wrong; "
                f"it is asked again at {utc(float(row['not_before'])):%H:%M} UTC",
                float(row["now"] if row["refused_since"] is None else row["refused_since"]),
                doubted=True,
            )
        )
    doubted = {each.character_id for each in found}
    failing = yield Run("operations.failing", {"attempts": FAILING_ATTEMPTS, "limit": SHOWN_TROUBLES})
    for row in failing:
        if int(row["character_id"]) in doubted:
            continue  # its syncs fail for want of a token, which is told already
        found.append(
            UserTrouble(
                int(row["character_id"]),
                str(row["character_name"]),
                UserState.OK,
                row["last_error"],
                float(row["queued_at"]),
                int(row["attempts"]),
                source=Source(SourceKind(row["kind"]), int(row["subject_id"])),
                subject=_subject(row),
            )
        )
    return tuple(found)


def _explain_wanted(killmail_id: int, ref: Row, seen: list[SeenThrough]) -> Explained:
    quarantined = str(ref["state"]) == "quarantined"
    attempts = max(int(ref["attempts"]), int(ref["refusals"]))
    later = float(ref["not_before"]) > float(ref["now"])
    tries = count(attempts, "attempt")
    if quarantined:
        verdict = f"not stored: quarantined after {tries}; killsyncd ctl retry {killmail_id}"
    elif attempts:
        verdict = f"not stored yet: {tries} failed, it is tried again by itself"
    else:
        verdict = "not stored yet: it waits for its turn in ESI's budget"
    return Explained(
        killmail_id,
        "quarantined" if quarantined else "pending",
        verdict,
        seen,
        "esi",
        None,
        utc(float(ref["first_listed_at"])),
        None,
        None,
        None,
        attempts,
        utc(float(ref["not_before"])) if later and not quarantined else None,
        ref["reason"],
    )


def _line(row: Row, epoch: FeedEpoch, names: dict[int, str], ours: list[str]) -> FeedLine:
    def name(column: str) -> str | None:
        return None if row[column] is None else names.get(int(row[column]))

    return FeedLine(
        feed_cursor=feed_cursor(epoch, int(row["feed_position"])),
        killmail_id=int(row["killmail_id"]),
        killmail_time=needed_datetime(row["killmail_time"]),
        stored_at=needed_datetime(row["created_at"]),
        fresh=bool(row["fresh"]),
        solar_system_id=int(row["solar_system_id"]),
        solar_system=name("solar_system_id"),
        victim_id=row["victim_id"],
        victim=name("victim_id"),
        corporation_id=row["corporation_id"],
        corporation=name("corporation_id"),
        ship_type_id=int(row["ship_type_id"]),
        ship=name("ship_type_id"),
        final_blow_id=row["final_blow_id"],
        final_blow=name("final_blow_id"),
        attacker_count=int(row["attacker_count"]),
        characters=ours,
    )


class StatusRepository(Repository):
    """The database as `Operations` sees it (`service.ports.OperationsRows`)."""

    @reads
    def status_facts(self) -> Tx[StatusFacts]:
        """Everything `status` needs, from one snapshot."""
        counts = one((yield Run("operations.user_counts", {})))
        assert counts is not None, "an aggregate answers one row"
        troubles = yield from _troubles()
        states = {UserState(row["shown"]): int(row["n"]) for row in (yield Run("users.by_states", {}))}
        switches = yield from SwitchRepository(self._store).on.tx()
        refs = {str(row["state"]): row for row in (yield Run("operations.refs_by_state", {}))}
        pending, quarantined = refs.get("pending"), refs.get("quarantined")
        producer = one((yield Run("operations.producer", {})))
        revocations = one((yield Run("operations.revocations_open", {})))
        daemons = one((yield Run("operations.daemons", {})))
        retrying = one((yield Run("operations.retrying", {})))
        waiting = yield from _waiting()
        tasks = yield from all_tasks()
        unread = yield from lost(SHOWN_TROUBLES)
        point = yield from feed_point()
        first = as_datetime(counts["first_user_at"])
        return StatusFacts(
            now=float(counts["now"]),
            users=int(counts["users"]),
            ready=int(counts["ready"]),
            holding=int(counts["holding"]),
            first_user_at=first.timestamp() if first else None,
            troubles=troubles,
            users_by_state=states,
            switches=switches,
            pending=int(pending["n"]) if pending else 0,
            oldest_pending_at=float(pending["first_listed_at"]) if pending else None,
            quarantined=int(quarantined["n"]) if quarantined else 0,
            quarantined_since=float(quarantined["changed_at"]) if quarantined else None,
            revocations=int(revocations["n"]) if revocations else 0,
            producer_last_at=producer["last_run_at"] if producer else None,
            producer_last_queued=int(producer["last_queued"]) if producer else 0,
            producer_next_at=producer["next_run_at"] if producer else None,
            producer_running=producer is not None and producer["holder"] is not None,
            feed_cursor=feed_cursor(point.epoch, point.position),
            daemons=int(daemons["n"]) if daemons else 0,
            waiting=waiting,
            retrying=int(retrying["n"]) if retrying else 0,
            next_retry_at=retrying["not_before"] if retrying else None,
            tasks=tasks,
            unread=tuple(unread),
        )

    @writes
    def set_switch(self, name: str, *, on: bool) -> Tx[bool]:
        """Turn a switch; False where it stood so already."""
        return bool((yield Run("operations.switch_on" if on else "operations.switch_off", {"name": name})))

    @reads
    def failed(self, limit: int) -> Tx[list[Failed]]:
        """Quarantined mails, the newest first."""
        rows = yield Run("operations.failed", {"limit": limit})
        ids = Ids([int(row["killmail_id"]) for row in rows])
        names: dict[int, list[str]] = {}
        for row in (yield Run("operations.wanted_by", {"ids": ids})) if rows else []:
            name = row["character_name"] or str(row["subject_id"])
            names.setdefault(int(row["killmail_id"]), []).append(str(name))
        return [
            Failed(
                int(row["killmail_id"]),
                str(row["reason"] or "no reason was kept"),
                max(int(row["attempts"]), int(row["refusals"])),
                utc(float(row["first_listed_at"])),
                utc(float(row["changed_at"])),
                names.get(int(row["killmail_id"]), []),
            )
            for row in rows
        ]

    @reads
    def unreadable(self, limit: int) -> Tx[list[Unreadable]]:
        """Entries of lists that were set aside, the latest first."""
        return [
            Unreadable(
                str(row["entry"]),
                str(row["reason"]),
                str(row["character_name"] or row["subject_id"]),
                utc(float(row["listed_at"])),
            )
            for row in (yield Run("operations.unreadable", {"limit": limit}))
        ]

    @reads
    def verify(self, user_ids: Sequence[str]) -> Tx[list[Verified]]:
        """What can be claimed for each of these users."""
        return (yield from verify(user_ids))

    @reads
    def verify_corporations(self) -> Tx[list[VerifiedCorporation]]:
        """What can be claimed for each corporation whose list is read, or was."""
        return (yield from verify_corporations())

    @reads
    def explain(self, killmail_id: int) -> Tx[Explained]:
        """Where a mail came from, or why it is not here."""
        mail = one((yield Run("operations.stored_mail", {"killmail_id": killmail_id})))
        ref = one((yield Run("operations.wanted_mail", {"killmail_id": killmail_id})))
        seen = [
            SeenThrough(
                str(row["kind"]),
                None if row["character_id"] is None else int(row["character_id"]),
                row["character_name"] or row["name"],
                utc(float(row["listed_at"])),
                int(row["subject_id"]) or None,
                row["character_name"] or row["name"],
            )
            for row in (yield Run("operations.seen_through", {"killmail_id": killmail_id}))
        ]
        first = min((each.listed_at for each in seen), default=None)
        if mail is not None:
            value = yield from explained_value(killmail_id)
            stored_at = needed_datetime(mail["created_at"])
            origin = str(mail["origin"])
            how = "imported" if origin == "import" else "fetched from ESI"
            return Explained(
                killmail_id,
                "stored",
                f"stored: {how}" + ("" if seen else "; who brought it is not known here any more"),
                seen,
                origin,
                needed_datetime(mail["killmail_time"]),
                first,
                None if mail["fetched_at"] is None or origin == "import" else utc(float(mail["fetched_at"])),
                stored_at,
                bool(mail["fresh"]),
                0,
                None,
                None,
                value,
            )
        if ref is not None:
            return _explain_wanted(killmail_id, ref, seen)
        verdict = "not known: no list of a character here ever had it, and no import brought it"
        if seen:
            verdict = (
                "listed, but neither stored nor wanted: killsyncd ctl queue --full --force wants it again"
            )
        return Explained(
            killmail_id, "unknown", verdict, seen, None, None, first, None, None, None, 0, None, None
        )

    async def logout(self, user_id: str, *, erase: bool) -> LoggedOutUser | None:
        """Forget the tokens, leaving a pending revocation; erase: what only this user brought too."""
        return await revocations.logout(self._store, user_id, erase=erase)

    @reads
    def feed_start(self, after: str | None) -> Tx[int]:
        """The position a cursor stands for, or the feed's end. Raises BadInput."""
        point = yield from feed_point()
        return point.position if after is None else parse_cursor(after, point)

    @reads
    def feed_after(self, position: int, limit: int, *, fresh_only: bool) -> Tx[tuple[list[FeedLine], int]]:
        """Mails after a position in order, and the position that was looked at up to."""
        point = yield from feed_point()
        rows = yield Run(
            "operations.feed_after", {"position": position, "limit": limit, "fresh_only": int(fresh_only)}
        )
        if not rows:
            return [], max(position, point.position)
        columns = ("solar_system_id", "victim_id", "corporation_id", "ship_type_id", "final_blow_id")
        wanted = sorted({int(row[each]) for row in rows for each in columns if row[each] is not None})
        named = yield Run("operations.named", {"ids": Ids(wanted)})
        names = {int(row["id"]): str(row["name"]) for row in named}
        ours: dict[int, list[str]] = {}
        mails = Ids([int(row["killmail_id"]) for row in rows])
        for row in (yield Run("operations.ours_on", {"ids": mails})):
            ours.setdefault(int(row["killmail_id"]), []).append(str(row["character_name"]))
        lines = [_line(row, point.epoch, names, ours.get(int(row["killmail_id"]), [])) for row in rows]
        return lines, int(rows[-1]["feed_position"]) if len(rows) == limit else max(position, point.position)
