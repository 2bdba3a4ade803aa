"""What logins and tokens need of the database; `storage/repositories` fills it.

Tests of policy run over stores in memory, which tests/contract/test_grants.py holds to the same promises.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from killsyncd.auth.grant import GrantRow, NewGrant, PendingRevocation, Registered
from killsyncd.auth.login_state import LoginOrigin, LoginRow, LoginState
from killsyncd.auth.refusals import HeardRefusal
from killsyncd.core.model import UserState


class GrantStore(Protocol):
    """Grants in the database. Every write is durable (synced) when its call returns, and atomic."""

    async def register(self, grant: NewGrant) -> Registered:
        """Store user, source and tokens in one durable transaction.

        A known character keeps its id and history. Replaces tokens, owner hash, name, scopes and
        state whatever they were; sets the refresh counters and not_before to 0, drops a lease.
        The grant's version must be one that this user never had, also across a logout, so that a
        refresh under way cannot overwrite it.
        """

    async def load(self, user_id: str) -> GrantRow | None:
        """The grant as it is now, read after every commit so far; None for an unknown user.

        A user whose tokens were dropped comes with both tokens None.
        """

    async def begin_attempt(self, user_id: str, *, holder: str, version: int) -> GrantRow | None:
        """Take the lease and write down that the SSO is about to be asked, in one transaction.

        Only where `version` still holds, the state is one that comes back (`refusals.COME_BACK`), a
        refresh token is there, and nobody living but `holder` has the lease. Sets the holder, adds one
        to unanswered_attempts, and returns the row as it is then; None, with nothing changed, where one
        of these fails.
        """

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
        """Replace the tokens where `version` still holds, whoever has the lease by now.

        Raises the version, sets unanswered_attempts, refusals, failures and not_before to 0 and
        refused_since to None, gives back the lease where `holder` has it, and returns the row as
        it is then. Who was in needs_login is ok again, and wants a sync. None, with nothing changed,
        for another version.
        """

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
        """The attempt brought no tokens. False, with nothing changed, where `version` no longer holds.

        Adds one to failures; takes the attempt off unanswered_attempts again (not below 0) unless
        `unanswered`; if refused_at is given, adds one to refusals and sets refused_since to it where
        that is None or later; sets not_before; gives back the lease where `holder` has it. The version
        stays.
        """

    async def release(self, user_id: str, *, holder: str) -> None:
        """Give back the lease where `holder` has it, and nothing else: the attempt stays unanswered."""

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
        """Put the grant into another state where `version` still holds; False otherwise.

        Raises the version, sets not_before and gives back the lease. drop_tokens: both ciphertexts go
        for good. Who becomes ok again wants a sync.
        """

    async def list_refused(self, user_id: str, source_id: int, *, version: int) -> HeardRefusal | None:
        """One more 403 on this list with this pilot's token: what is to be made of it (`ListRefusals`).

        None, with nothing changed, for another version.
        """

    async def list_accepted(self, user_id: str, source_id: int) -> None:
        """The list came with this pilot's token: what was refused before counts no more."""

    async def rename(self, user_id: str, name: str) -> None:
        """The character has another name."""

    async def own(self, user_id: str, owner_hash: str) -> None:
        """Whose the character is, where that was not known; a known owner stays."""

    async def keep_revocation(self, character_id: int, refresh_token_enc: bytes) -> None:
        """Write down a grant that is still to be revoked at the SSO."""

    async def due(self, now: float, limit: int) -> list[str]:
        """User ids with renew_at <= now, not_before <= now and no living holder, the longest due first.

        Times further ahead than `refusals.LONGEST_LIFE` and `LONGEST_PAUSE` count as past: they were
        written while the clock stood wrong.
        """

    async def next_due(self) -> float | None:
        """When the next one is due: the least of max(renew_at, not_before), None without grants."""


class LoginStore(Protocol):
    """Pending logins. Every write is atomic and durable when its call returns."""

    async def put(self, row: LoginRow, *, forget_before: float) -> None:
        """Keep a new login, and drop those whose expires_at lies before `forget_before`."""

    async def take(
        self, state_hash: str, *, origins: Collection[LoginOrigin], cookie_hash: str | None, now: float
    ) -> LoginRow | None:
        """The pending login, as it was, turned to working with its verifier wiped; for one caller only.

        None, with nothing changed, unless it is pending, made for one of `origins`, now < expires_at,
        and its cookie_hash is NULL or equal to `cookie_hash`.
        """

    async def finish(self, state_hash: str, *, status: LoginState, user_id: str | None, message: str) -> None:
        """Write down the outcome of a login that is working."""

    async def load(self, state_hash: str) -> LoginRow | None:
        """The login as it stands, in whatever status."""


class RevocationRows(Protocol):
    """Pending revocations in the database."""

    async def get(self, revocation_id: int) -> PendingRevocation | None: ...
    async def due(self, limit: int) -> list[PendingRevocation]: ...
    async def next_due(self) -> float | None: ...
    async def done(self, revocation_id: int) -> None: ...
    async def failed(self, revocation_id: int, not_before: float, *, refused: bool) -> None: ...
