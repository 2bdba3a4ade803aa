"""Grants and pending logins in the database; tokens come and go here as ciphertext only."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from killsyncd.auth.grant import GrantRow, NewGrant, Registered
from killsyncd.auth.login_state import LoginOrigin, LoginRow, LoginState
from killsyncd.auth.refusals import LONGEST_LIFE, LONGEST_PAUSE
from killsyncd.core.clock import utc
from killsyncd.core.model import PRIORITY_PRODUCER, Origin, UserState
from killsyncd.storage.repositories.users import mark as mark_user
from killsyncd.storage.repositories.users import queue_user
from killsyncd.storage.transaction import Row, Run, Store, Tx, one

NEVER = 0.0


def _load(user_id: str) -> Tx[GrantRow | None]:
    row = one((yield Run("grants.load", {"user_id": user_id})))
    return _grant(row) if row is not None else None


def _begin_attempt(user_id: str, holder: str, version: int) -> Tx[GrantRow | None]:
    begun = yield Run("grants.begin_attempt", {"user_id": user_id, "holder": holder, "version": version})
    return (yield from _load(user_id)) if begun else None


def _store_tokens(
    user_id: str,
    holder: str,
    version: int,
    access: bytes | None,
    refresh: bytes,
    expires_at: float,
    renew_at: float,
) -> Tx[GrantRow | None]:
    stored = yield Run(
        "grants.store_tokens",
        {
            "user_id": user_id,
            "holder": holder,
            "version": version,
            "access_token": access,
            "refresh_token": refresh,
            "expires_at": expires_at,
            "renew_at": renew_at,
        },
    )
    if not stored:
        return None
    yield Run("grants.user_expiry", {"user_id": user_id, "expires_at": utc(expires_at)})
    if (yield Run("grants.works_again", {"user_id": user_id})):
        yield from _want(user_id)
    return (yield from _load(user_id))


def _want(user_id: str) -> Tx[None]:
    """Whoever can be synced again is, without waiting for the producer."""
    yield from queue_user(user_id, PRIORITY_PRODUCER, Origin.PRODUCER, skip_within=None, full=False)


def _rename(user_id: str, name: str) -> Tx[None]:
    yield Run("grants.rename", {"user_id": user_id, "name": name})


def _own(user_id: str, owner_hash: str) -> Tx[None]:
    yield Run("grants.own", {"user_id": user_id, "owner_hash": owner_hash})


def _keep_revocation(character_id: int, refresh_token: bytes) -> Tx[None]:
    yield Run("revocations.insert", {"character_id": character_id, "refresh_token": refresh_token})


def _record_failure(
    user_id: str, holder: str, version: int, unanswered: bool, refused_at: float | None, not_before: float
) -> Tx[bool]:
    values = {
        "user_id": user_id,
        "holder": holder,
        "version": version,
        "unanswered": int(unanswered),
        "refused": int(refused_at is not None),
        "at": refused_at or NEVER,
        "not_before": not_before,
    }
    return bool((yield Run("grants.record_failure", values)))


def _list_refused(user_id: str, version: int) -> Tx[int | None]:
    row = one((yield Run("grants.list_refused", {"user_id": user_id, "version": version})))
    return None if row is None else int(row["list_refusals"])


def _list_accepted(user_id: str) -> Tx[None]:
    yield Run("grants.list_accepted", {"user_id": user_id})


def _release(user_id: str, holder: str) -> Tx[None]:
    yield Run("grants.release", {"user_id": user_id, "holder": holder})


def _mark(
    user_id: str, version: int, state: UserState, reason: str | None, drop_tokens: bool, not_before: float
) -> Tx[bool]:
    values = {"user_id": user_id, "version": version, "not_before": not_before}
    if not (yield Run("grants.mark", values)):
        return False
    if drop_tokens:
        yield Run("grants.drop_tokens", {"user_id": user_id})
        yield Run("grants.user_expiry", {"user_id": user_id, "expires_at": None})
    changed = yield from mark_user(user_id, state, reason)
    if changed and state is UserState.OK:
        yield from _want(user_id)
    return True


def _due(now: float, limit: int) -> Tx[list[str]]:
    values = {"now": now, "longest_life": LONGEST_LIFE, "longest_wait": LONGEST_PAUSE, "limit": limit}
    return [str(row[0]) for row in (yield Run("grants.due", values))]


def _next_due() -> Tx[float | None]:
    row = one((yield Run("grants.next_due", {})))
    return None if row is None or row["due"] is None else float(row["due"])


def _register(grant: NewGrant) -> Tx[Registered]:
    known = one((yield Run("users.by_character", {"character_id": grant.character_id})))
    row = one(
        (
            yield Run(
                "users.insert",
                {
                    "user_id": secrets.token_hex(8),
                    "character_id": grant.character_id,
                    "character_name": grant.character_name,
                    "owner_hash": grant.owner_hash,
                    "scopes": " ".join(sorted(grant.scopes)),
                    "state": grant.state.value,
                    "reason": grant.state_reason,
                    "expires_at": utc(grant.expires_at),
                },
            )
        )
    )
    assert row is not None, "INSERT ... RETURNING answers its row"
    user_id = str(row["id"])
    yield Run("users.source", {"kind": "character", "subject_id": grant.character_id, "user_id": user_id})
    yield Run(
        "grants.register",
        {
            "user_id": user_id,
            "access_token": grant.access_token_enc,
            "refresh_token": grant.refresh_token_enc,
            "expires_at": grant.expires_at,
            "renew_at": grant.renew_at,
        },
    )
    return Registered(user_id, known is None)


def _grant(row: Row) -> GrantRow:
    none = row["version"] is None
    not_before = NEVER if none else float(row["not_before"])
    return GrantRow(
        user_id=str(row["user_id"]),
        character_id=int(row["character_id"]),
        character_name=str(row["character_name"]),
        owner_hash=str(row["owner_hash"] or ""),
        state=UserState(row["state"]),
        state_reason=row["state_reason"],
        access_token_enc=row["access_token"],
        refresh_token_enc=row["refresh_token"],
        expires_at=0.0 if none else float(row["expires_at"]),
        renew_at=0.0 if none else float(row["renew_at"]),
        version=0 if none else int(row["version"]),
        unanswered_attempts=0 if none else int(row["unanswered"]),
        refusals=0 if none else int(row["doubtful"]),
        refused_since=None if row["refused_since"] is None else float(row["refused_since"]),
        list_refusals=0 if none else int(row["list_refusals"]),
        failures=0 if none else int(row["failures"]),
        not_before=not_before,
        holder=row["holder"],
    )


class GrantRepository:
    """Grants as the token manager sees them; see `auth.ports.GrantStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, user_id: str) -> GrantRow | None:
        """The grant as it is now; None for an unknown user."""
        return await self._store.read(_load, user_id)

    async def begin_attempt(self, user_id: str, *, holder: str, version: int) -> GrantRow | None:
        """Lease and attempt in one transaction; None where the version or the lease is another's."""
        return await self._store.write(_begin_attempt, user_id, holder, version)

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
        """Compare and swap; None for another version."""
        return await self._store.write(
            _store_tokens, user_id, holder, version, access_token_enc, refresh_token_enc, expires_at, renew_at
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
        """The attempt brought no tokens."""
        return await self._store.write(
            _record_failure, user_id, holder, version, unanswered, refused_at, not_before
        )

    async def release(self, user_id: str, *, holder: str) -> None:
        """Give back the lease and nothing else."""
        await self._store.write(_release, user_id, holder)

    async def mark(
        self,
        user_id: str,
        *,
        version: int,
        state: UserState,
        reason: str | None,
        drop_tokens: bool = False,
        not_before: float = NEVER,
    ) -> bool:
        """Put the grant into another state where `version` still holds."""
        return await self._store.write(_mark, user_id, version, state, reason, drop_tokens, not_before)

    async def list_refused(self, user_id: str, *, version: int) -> int | None:
        """Count a 403 on the list; None for another version."""
        return await self._store.write(_list_refused, user_id, version)

    async def list_accepted(self, user_id: str) -> None:
        """The list came: what was refused before counts no more."""
        await self._store.write(_list_accepted, user_id)

    async def rename(self, user_id: str, name: str) -> None:
        """The character has another name."""
        await self._store.write(_rename, user_id, name)

    async def own(self, user_id: str, owner_hash: str) -> None:
        """Whose the character is, where that was not known."""
        await self._store.write(_own, user_id, owner_hash)

    async def keep_revocation(self, character_id: int, refresh_token_enc: bytes) -> None:
        """A grant that is still to be revoked at the SSO."""
        await self._store.write(_keep_revocation, character_id, refresh_token_enc)

    async def due(self, now: float, limit: int) -> list[str]:
        """Whose tokens are to be renewed, the longest due first."""
        return await self._store.read(_due, now, limit)

    async def next_due(self) -> float | None:
        """When the next one is due, in seconds since 1970."""
        return await self._store.read(_next_due)

    async def register(self, grant: NewGrant) -> Registered:
        """User, source and tokens of a finished login, in one transaction."""
        return await self._store.write(_register, grant)


def _put(row: LoginRow, forget_before: float) -> Tx[None]:
    yield Run("grants.login_forget", {"before": forget_before})
    yield Run(
        "grants.login_put",
        {
            "state_hash": row.state_hash,
            "door": row.origin.value,
            "verifier": row.verifier_enc,
            "cookie_hash": row.cookie_hash,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
        },
    )


def _login(state_hash: str) -> Tx[LoginRow | None]:
    row = one((yield Run("grants.login_load", {"state_hash": state_hash})))
    if row is None:
        return None
    return LoginRow(
        state_hash=str(row["state_hash"]),
        verifier_enc=bytes(row["verifier"]),
        origin=LoginOrigin(row["door"]),
        cookie_hash=row["cookie_hash"],
        created_at=float(row["created_at"]),
        expires_at=float(row["expires_at"]),
        status=LoginState(row["status"]),
        user_id=row["user_id"],
        message=str(row["message"] or ""),
    )


def _take(
    state_hash: str, origins: Collection[LoginOrigin], cookie_hash: str | None, now: float
) -> Tx[LoginRow | None]:
    row = yield from _login(state_hash)
    if (
        row is None
        or row.status is not LoginState.PENDING
        or row.origin not in origins
        or now >= row.expires_at
        or (row.cookie_hash is not None and not secrets.compare_digest(row.cookie_hash, cookie_hash or ""))
    ):
        return None
    taken = yield Run("grants.login_take", {"state_hash": state_hash, "nothing": b""})
    return row if taken else None


def _finish(state_hash: str, status: LoginState, user_id: str | None, message: str) -> Tx[None]:
    yield Run(
        "grants.login_finish",
        {"state_hash": state_hash, "status": status.value, "user_id": user_id, "message": message},
    )


class PendingLogins:
    """Logins that wait for their pilot; see `auth.ports.LoginStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, row: LoginRow, *, forget_before: float) -> None:
        """Keep a new login and drop old ones."""
        await self._store.write(_put, row, forget_before)

    async def take(
        self, state_hash: str, *, origins: Collection[LoginOrigin], cookie_hash: str | None, now: float
    ) -> LoginRow | None:
        """The pending login, for one caller only."""
        return await self._store.write(_take, state_hash, origins, cookie_hash, now)

    async def finish(self, state_hash: str, *, status: LoginState, user_id: str | None, message: str) -> None:
        """Write down the outcome of a login that is working."""
        await self._store.write(_finish, state_hash, status, user_id, message)

    async def load(self, state_hash: str) -> LoginRow | None:
        """The login as it stands."""
        return await self._store.write(_login, state_hash)
