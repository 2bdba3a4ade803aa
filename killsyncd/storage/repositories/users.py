"""Users: who logged in, what state they are in, and who is to be synced next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from killsyncd.core.clock import utc
from killsyncd.core.model import Origin, Queued, Source, SyncMode, User, UserState
from killsyncd.storage.repositories import sync_requests as wants
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Row, Run, Tx, as_datetime, needed_datetime, one


def user_from(row: Row) -> User:
    """A user from a row of `users.all` and its siblings."""
    return User(
        id=str(row["id"]),
        character_id=int(row["character_id"]),
        character_name=str(row["character_name"]),
        state=UserState(row["state"]),
        state_reason=row["state_reason"],
        paused=bool(row["paused"]),
        last_killmail_sync_at=as_datetime(row["last_killmail_sync_at"]),
        last_killmail_id=None if row["last_killmail_id"] is None else int(row["last_killmail_id"]),
        expires_at=as_datetime(row["expires_at"]),
        created_at=needed_datetime(row["created_at"]),
        pending=int(row["pending"] or 0),
        source_id=None if row["source_id"] is None else int(row["source_id"]),
    )


def _by_id(user_id: str) -> Tx[User | None]:
    row = one((yield Run("users.by_id", {"user_id": user_id})))
    return user_from(row) if row is not None else None


def queue_user(
    user_id: str,
    priority: int,
    origin: Origin,
    *,
    skip_within: float | None,
    full: bool,
) -> Tx[Queued | None]:
    """Ask for a sync of a user, or say why not. None: there is no such user.

    skip_within: seconds; who was synced since is left out. None: nobody is.
    A list may not be asked for before its Expires, whoever asks: the job then waits for it.
    """
    user = yield from _by_id(user_id)
    row = one((yield Run("users.queue_facts", {"user_id": user_id})))
    if user is None or row is None:
        return None
    if user.paused:
        return Queued(user, None, False, "paused: killsyncd ctl resume --user NAME")
    if user.state is not UserState.OK or not row["granted"] or row["source_id"] is None:
        reason = user.state_reason or "needs a login: killsyncd login"
        if user.state is UserState.LEFT:
            reason = f"{reason}; a new login has it synced again: killsyncd login"
        elif row["granted"] and skip_within is None and origin is Origin.MANUAL:
            yield Run("grants.ask_soon", {"user_id": user_id})
            reason = f"{reason}; the SSO is asked in a minute whether the login is good again"
        return Queued(user, None, False, reason)
    last = user.last_killmail_sync_at
    asked = yield from ask(
        int(row["source_id"]), row, last, priority, origin, skip_within=skip_within, full=full
    )
    return Queued(user, asked.mode, asked.mode is not None, asked.reason, asked.plain_at, asked.list_at)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for a sync of a source that can be read. mode: None where it was skipped."""

    mode: SyncMode | None
    reason: str | None
    plain_at: datetime | None
    list_at: datetime | None


def ask(
    source_id: int,
    row: Row,
    last: datetime | None,
    priority: int,
    origin: Origin,
    *,
    skip_within: float | None,
    full: bool,
) -> Tx[Asked]:
    """Ask for a sync of a source, unless it was synced lately. A part for other transactions.

    row: its `queue_facts`. last: when it was synced. skip_within: see `queue_user`.
    """
    now, expires = float(row["now"]), float(row["expires_at"])
    left = min(expires - now, expires - float(row["answered_at"]))
    list_at = utc(now + left) if left > 0.0 else None
    since = float(row["state_since"] or 0.0)
    if skip_within is not None and last is not None and lately(now, last, since, skip_within):
        minutes = max(0, int((now - last.timestamp()) // 60))
        ago = f"{minutes} minute{'s' if minutes != 1 else ''} ago" if minutes else "less than a minute ago"
        return Asked(None, f"synced {ago}", utc(last.timestamp() + skip_within), list_at)
    if full:
        mode = SyncMode.FULL_SYNC
    else:
        mode = SyncMode.INCREMENTAL if row["unbroken_at"] is not None else SyncMode.FIRST_SYNC
    # Due at once: Expires runs on ESI's clock, which the ESI client alone knows; it has the job put back.
    mode = yield from wants.ask(source_id, mode, priority, origin, 0.0)
    waits = f"ESI has nothing newer for another {int(left) + 1} s" if left > 0.0 else None
    return Asked(mode, waits, None, list_at)


def lately(now: float, last: datetime, state_since: float, within: float) -> bool:
    """Whether the last sync makes another superfluous.

    Not where the user could not be synced since then (what was wanted meanwhile is forgotten), nor
    where it lies in the future, written while the clock stood wrong. Times in the table are whole seconds.
    """
    at = last.timestamp()
    return at >= float(state_since) - 1.0 and -60.0 < now - at < within


def source_id(source: Source, user_id: str | None) -> Tx[int]:
    """The id of a source, which is inserted where there is none. user_id: whose token it is read with."""
    values = {"kind": source.kind.value, "subject_id": source.subject_id, "user_id": user_id}
    row = one((yield Run("users.source", values)))
    assert row is not None, "INSERT ... RETURNING answers its row"
    return int(row["id"])


def mark(user_id: str, state: UserState, reason: str | None) -> Tx[bool]:
    """Set a user's state; answers whether anything changed. A part for other transactions."""
    rows = yield Run("users.mark", {"user_id": user_id, "state": state.value, "reason": reason})
    return bool(rows)


class UserRepository(Repository):
    """Users as the tasks and the operations see them."""

    @reads
    def all(self) -> Tx[list[User]]:
        """Everybody, by name."""
        return [user_from(row) for row in (yield Run("users.all", {}))]

    @reads
    def get(self, user_id: str) -> Tx[User | None]:
        """One user by our id."""
        return (yield from _by_id(user_id))

    @reads
    def find(self, words: str) -> Tx[list[User]]:
        """Users by character id, name (any case) or our id."""
        found: list[User] = []
        if words.isascii() and words.isdigit() and len(words) < 19:
            found = [
                user_from(row) for row in (yield Run("users.by_character", {"character_id": int(words)}))
            ]
        if not found:
            found = [user_from(row) for row in (yield Run("users.by_name", {"name": words}))]
        if not found:
            found = [user_from(row) for row in (yield Run("users.by_id", {"user_id": words}))]
        return found

    @writes
    def queue(
        self,
        user_ids: Sequence[str],
        priority: int,
        origin: Origin,
        *,
        skip_within: float | None = None,
        full: bool = False,
    ) -> Tx[list[Queued]]:
        """Ask for syncs in one transaction, in the order given."""
        done = []
        for user_id in user_ids:
            queued = yield from queue_user(user_id, priority, origin, skip_within=skip_within, full=full)
            if queued is not None:
                done.append(queued)
        return done

    @writes
    def pause(self, user_id: str, *, paused: bool) -> Tx[bool]:
        """Stop or restart one user; False when there is no such user."""
        return bool((yield Run("users.pause", {"user_id": user_id, "paused": paused})))

    @writes
    def mark(self, user_id: str, state: UserState, reason: str | None) -> Tx[bool]:
        """Set a user's state; answers whether anything changed."""
        return (yield from mark(user_id, state, reason))
