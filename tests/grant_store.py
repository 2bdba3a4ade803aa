"""A store of grants and logins in memory, word for word as the ports promise it.

For tests of policy, which need to stop a store at a given call or let it fail there. Storage
itself is held to the same words by tests/contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from killsyncd.doors import Door, LoginRow, LoginState
from killsyncd.grants import GrantRow, NewGrant, Registered
from killsyncd.model import UserState


class MemoryStore:
    """Several keepers on one of these are several daemons on one database.

    calls: what was asked, in order. before: called with a method's name before it works; it may
    raise, or be awaited for.
    """

    def __init__(self) -> None:
        self.rows: dict[str, GrantRow] = {}
        self.logins: dict[str, LoginRow] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], object] | None = None
        self._versions = 0

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    async def _enter(self, name: str) -> None:
        await asyncio.sleep(0)  # a real store hops into a thread: whoever else can run does
        self.calls.append(name)
        if self.before is not None and asyncio.iscoroutine(waiting := self.before(name)):
            await waiting

    # -- GrantStore ----------------------------------------------------------------------------

    async def load(self, user_id: str) -> GrantRow | None:
        await self._enter("load")
        return self.rows.get(user_id)

    async def begin_attempt(self, user_id: str, *, holder: str, version: int) -> GrantRow | None:
        await self._enter("begin_attempt")
        row = self.rows.get(user_id)
        if row is None or row.version != version or row.state is not UserState.OK:
            return None
        if row.holder not in (None, holder):
            return None
        return self._put(row, holder=holder, unanswered_attempts=row.unanswered_attempts + 1)

    async def store_tokens(
        self,
        user_id: str,
        *,
        holder: str,
        version: int,
        access_token_enc: bytes,
        refresh_token_enc: bytes,
        expires_at: float,
        renew_at: float,
    ) -> GrantRow | None:
        await self._enter("store_tokens")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return None
        return self._put(
            row,
            access_token_enc=access_token_enc,
            refresh_token_enc=refresh_token_enc,
            expires_at=expires_at,
            renew_at=renew_at,
            version=self._next_version(),
            unanswered_attempts=0,
            doubtful_refusals=0,
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
        doubtful: bool,
        not_before: float,
    ) -> None:
        await self._enter("record_failure")
        row = self.rows.get(user_id)
        if row is not None and row.version == version:
            self._put(
                row,
                failures=row.failures + 1,
                unanswered_attempts=max(0, row.unanswered_attempts - (not unanswered)),
                doubtful_refusals=row.doubtful_refusals + doubtful,
                not_before=not_before,
                holder=None if row.holder == holder else row.holder,
            )

    async def release(self, user_id: str, *, holder: str) -> None:
        await self._enter("release")
        row = self.rows.get(user_id)
        if row is not None and row.holder == holder:
            self._put(row, holder=None)

    async def mark(
        self, user_id: str, *, version: int, state: UserState, reason: str, drop_tokens: bool
    ) -> bool:
        await self._enter("mark")
        row = self.rows.get(user_id)
        if row is None or row.version != version:
            return False
        row = self._put(row, state=state, state_reason=reason, version=self._next_version(), holder=None)
        if drop_tokens:
            self._put(row, access_token_enc=None, refresh_token_enc=None)
        return True

    # -- DueGrants -----------------------------------------------------------------------------

    async def due(self, now: float, limit: int) -> list[str]:
        await self._enter("due")
        due = [row for row in self._usable() if row.renew_at <= now and row.not_before <= now]
        return [row.user_id for row in sorted(due, key=lambda row: row.renew_at) if row.holder is None][
            :limit
        ]

    async def next_due(self) -> float | None:
        await self._enter("next_due")
        return min((max(row.renew_at, row.not_before) for row in self._usable()), default=None)

    # -- LoginSink -----------------------------------------------------------------------------

    async def register(self, grant: NewGrant) -> Registered:
        await self._enter("register")
        known = [row.user_id for row in self.rows.values() if row.character_id == grant.character_id]
        user_id = known[0] if known else f"user-{len(self.rows) + 1}"
        self.rows[user_id] = GrantRow(
            user_id=user_id,
            character_id=grant.character_id,
            owner_hash=grant.owner_hash,
            state=grant.state,
            state_reason=grant.state_reason,
            access_token_enc=grant.access_token_enc,
            refresh_token_enc=grant.refresh_token_enc,
            expires_at=grant.expires_at,
            renew_at=grant.renew_at,
            version=self._next_version(),
            unanswered_attempts=0,
            doubtful_refusals=0,
            failures=0,
            not_before=0.0,
            holder=None,
        )
        return Registered(user_id, created=not known)

    # -- LoginStore ----------------------------------------------------------------------------

    async def put_login(self, row: LoginRow, *, forget_before: float) -> None:
        await self._enter("put_login")
        self.logins = {key: old for key, old in self.logins.items() if old.expires_at >= forget_before}
        self.logins[row.state_hash] = row

    async def take_login(
        self, state_hash: str, *, doors: Collection[Door], cookie_hash: str | None, now: float
    ) -> LoginRow | None:
        await self._enter("take_login")
        row = self.logins.get(state_hash)
        if row is None or row.status is not LoginState.PENDING or row.door not in doors:
            return None
        if now >= row.expires_at or row.cookie_hash not in (None, cookie_hash):
            return None
        self.logins[state_hash] = replace(row, status=LoginState.WORKING, verifier_enc=b"")
        return row

    async def finish_login(
        self, state_hash: str, *, status: LoginState, user_id: str | None, message: str
    ) -> None:
        await self._enter("finish_login")
        row = self.logins.get(state_hash)
        if row is not None and row.status is LoginState.WORKING:
            self.logins[state_hash] = replace(row, status=status, user_id=user_id, message=message)

    async def load_login(self, state_hash: str) -> LoginRow | None:
        await self._enter("load_login")
        return self.logins.get(state_hash)

    # -- within --------------------------------------------------------------------------------

    def _usable(self) -> list[GrantRow]:
        rows = self.rows.values()
        return [row for row in rows if row.state is UserState.OK and row.refresh_token_enc is not None]

    def _put(self, row: GrantRow, **changes: object) -> GrantRow:
        changed = replace(row, **changes)  # type: ignore[arg-type]
        self.rows[row.user_id] = changed
        return changed
