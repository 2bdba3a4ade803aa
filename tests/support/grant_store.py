"""A store of grants and logins in memory, word for word as the ports promise it.

For tests of policy, which need to stop a store at a given call or let it fail there. Storage
itself is held to the same words by tests/contract.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from killsyncd.auth.grant import GrantRow, NewGrant, Registered
from killsyncd.auth.login_state import LoginOrigin, LoginRow, LoginState
from killsyncd.auth.refusals import COME_BACK, LONGEST_LIFE, LONGEST_PAUSE, HeardRefusal, ListRefusals
from killsyncd.core.model import UserState


class Watched:
    """calls: what was asked, in order. before: called with a method's name before it works; it may raise."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.before: Callable[[str], object] | None = None

    async def _enter(self, name: str) -> None:
        await asyncio.sleep(0)  # a real store hops into a thread: whoever else can run does
        self.calls.append(name)
        if self.before is not None:
            self.before(name)


class MemoryGrants(Watched):
    """Several managers on one of these are several daemons on one database."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.now = now
        self.rows: dict[str, GrantRow] = {}
        self.refusals: dict[tuple[str, int], ListRefusals] = {}
        self.accepted: dict[int, float] = {}
        """When ESI gave which list, as the ledger has it."""
        self.revocations: list[tuple[int, bytes]] = []
        self._versions = 0

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    # -- GrantStore ----------------------------------------------------------------------------

    async def load(self, user_id: str) -> GrantRow | None:
        await self._enter("load")
        return self.rows.get(user_id)

    async def begin_attempt(self, user_id: str, *, holder: str, version: int) -> GrantRow | None:
        await self._enter("begin_attempt")
        row = self.rows.get(user_id)
        if row is None or row.version != version or row.state not in COME_BACK:
            return None
        if row.holder not in (None, holder) or row.refresh_token_enc is None:
            return None
        return self._put(row, holder=holder, unanswered_attempts=row.unanswered_attempts + 1)

    async def store_tokens(
        self,
        user_id: str,
        *,
        holder: str,
        version: int,
        access_token_enc: bytes | None,
        refresh_token_enc: bytes,
        expires_at: float,
        renew_at: float,
    ) -> GrantRow | None:
        await self._enter("store_tokens")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return None
        if row.state is UserState.NEEDS_LOGIN:
            row = replace(row, state=UserState.OK, state_reason=None)
        return self._put(
            row,
            access_token_enc=access_token_enc,
            refresh_token_enc=refresh_token_enc,
            expires_at=expires_at,
            renew_at=renew_at,
            version=self._next_version(),
            unanswered_attempts=0,
            refusals=0,
            refused_since=None,
            failures=0,
            not_before=0.0,
            holder=None if row.holder == holder else row.holder,
        )

    async def record_failure(
        self,
        user_id: str,
        *,
        holder: str,
        version: int,
        unanswered: bool,
        refused_at: float | None,
        not_before: float,
    ) -> bool:
        await self._enter("record_failure")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return False
        since = row.refused_since
        if refused_at is not None and (since is None or since > refused_at):
            since = refused_at
        self._put(
            row,
            failures=row.failures + 1,
            unanswered_attempts=max(0, row.unanswered_attempts - (not unanswered)),
            refusals=row.refusals + (refused_at is not None),
            refused_since=since,
            not_before=not_before,
            holder=None if row.holder == holder else row.holder,
        )
        return True

    async def release(self, user_id: str, *, holder: str) -> None:
        await self._enter("release")
        row = self.rows.get(user_id)
        if row is not None and row.holder == holder:
            self._put(row, holder=None)

    async def mark(
        self,
        user_id: str,
        *,
        version: int,
        state: UserState,
        reason: str | None,
        drop_tokens: bool = False,
        not_before: float = 0.0,
    ) -> bool:
        await self._enter("mark")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return False
        row = self._put(
            row,
            state=state,
            state_reason=reason,
            version=self._next_version(),
            not_before=not_before,
            holder=None,
        )
        if drop_tokens:
            self._put(row, access_token_enc=None, refresh_token_enc=None)
        return True

    async def list_refused(self, user_id: str, source_id: int, *, version: int) -> HeardRefusal | None:
        await self._enter("list_refused")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return None
        now = self.now()
        before = self.refusals.get((user_id, source_id), ListRefusals())
        after = self.refusals[user_id, source_id] = before.heard(now)
        self._put(row, list_refused=True)
        last = before.at if before.count else now
        others = [each for key, each in self.refusals.items() if key[1] != source_id]
        return replace(
            after,
            others_accepted=any(at > last for key, at in self.accepted.items() if key != source_id),
            others_refused=any(each.at >= after.since for each in others),
        ).verdict(now)

    async def list_accepted(self, user_id: str, source_id: int) -> None:
        await self._enter("list_accepted")
        self.refusals.pop((user_id, source_id), None)
        self._put(self.rows[user_id], list_refused=any(key[0] == user_id for key in self.refusals))

    async def rename(self, user_id: str, name: str) -> None:
        await self._enter("rename")
        self._put(self.rows[user_id], character_name=name)

    async def own(self, user_id: str, owner_hash: str) -> None:
        await self._enter("own")
        row = self.rows[user_id]
        self._put(row, owner_hash=row.owner_hash or owner_hash)

    async def keep_revocation(self, character_id: int, refresh_token_enc: bytes) -> None:
        await self._enter("keep_revocation")
        self.revocations.append((character_id, refresh_token_enc))

    # -- DueGrants -----------------------------------------------------------------------------

    async def due(self, now: float, limit: int) -> list[str]:
        await self._enter("due")
        due = [
            row
            for row in self._usable()
            if not now < row.renew_at <= now + LONGEST_LIFE
            and not now < row.not_before <= now + LONGEST_PAUSE
            and row.holder is None
        ]
        return [row.user_id for row in sorted(due, key=lambda row: row.renew_at)][:limit]

    async def next_due(self) -> float | None:
        await self._enter("next_due")
        return min((max(row.renew_at, row.not_before) for row in self._usable()), default=None)

    # -- LoginSink -----------------------------------------------------------------------------

    async def register(self, grant: NewGrant) -> Registered:
        await self._enter("register")
        known = [row.user_id for row in self.rows.values() if row.character_id == grant.character_id]
        user_id = known[0] if known else f"user-{len(self.rows) + 1}"
        self.refusals = {key: each for key, each in self.refusals.items() if key[0] != user_id}
        self.rows[user_id] = GrantRow(
            user_id=user_id,
            character_id=grant.character_id,
            character_name=grant.character_name,
            owner_hash=grant.owner_hash,
            state=grant.state,
            state_reason=grant.state_reason,
            access_token_enc=grant.access_token_enc,
            refresh_token_enc=grant.refresh_token_enc,
            expires_at=grant.expires_at,
            renew_at=grant.renew_at,
            version=self._next_version(),
            unanswered_attempts=0,
            refusals=0,
            refused_since=None,
            list_refused=False,
            failures=0,
            not_before=0.0,
            holder=None,
        )
        return Registered(user_id, created=not known)

    # -- within --------------------------------------------------------------------------------

    def _usable(self) -> list[GrantRow]:
        rows = self.rows.values()
        return [row for row in rows if row.state in COME_BACK and row.refresh_token_enc is not None]

    def _put(self, row: GrantRow, **changes: object) -> GrantRow:
        changed = replace(row, **changes)  # type: ignore[arg-type]
        self.rows[row.user_id] = changed
        return changed


class MemoryLogins(Watched):
    """Pending logins by the hash of their state."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, LoginRow] = {}

    async def put(self, row: LoginRow, *, forget_before: float) -> None:
        await self._enter("put")
        self.rows = {key: old for key, old in self.rows.items() if old.expires_at >= forget_before}
        self.rows[row.state_hash] = row

    async def take(
        self, state_hash: str, *, origins: Collection[LoginOrigin], cookie_hash: str | None, now: float
    ) -> LoginRow | None:
        await self._enter("take")
        row = self.rows.get(state_hash)
        if row is None or row.status is not LoginState.PENDING or row.origin not in origins:
            return None
        if now >= row.expires_at or row.cookie_hash not in (None, cookie_hash):
            return None
        self.rows[state_hash] = replace(row, status=LoginState.WORKING, verifier_enc=b"")
        return row

    async def finish(self, state_hash: str, *, status: LoginState, user_id: str | None, message: str) -> None:
        await self._enter("finish")
        row = self.rows.get(state_hash)
        if row is not None and row.status is LoginState.WORKING:
            self.rows[state_hash] = replace(row, status=status, user_id=user_id, message=message)

    async def load(self, state_hash: str) -> LoginRow | None:
        await self._enter("load")
        return self.rows.get(state_hash)
