"""Token care: an access token whenever somebody needs one, and never a refresh token lost.

Within the process a user is refreshed once at a time, whoever asks, and cancelling those who
wait cancels neither question nor storing (refreshing.py has the steps).

Verification needs no place in the database: each process verifies every token version once before
it hands it out, its own and those that other daemons stored. Where the SSO's keys cannot be had,
the token is used all the same, since it came over TLS from the token endpoint itself
(OpenID Connect Core, 3.1.3.7 (6)), and is verified at the next occasion.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Collection
from typing import NoReturn

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import KILLMAIL_SCOPE, GrantRow, SsoUnavailable
from killsyncd.auth.token_refresh import GrantStore, SsoPort, TokenRefresh, unusable
from killsyncd.core import tasks as endings
from killsyncd.core.clock import Clock
from killsyncd.core.errors import NotFound, TokenRefused, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Problem, UserState

__all__ = ["GrantStore", "SsoPort", "TokenManager"]

_LEAST_LEFT = 5.0  # seconds of life with which a token is still worth sending
_LEASE_PATIENCE = 60.0

log = get_logger(__name__)


class TokenManager:
    """Gives access tokens, renewing them when their time has come. One a process.

    daemon_id: names us in leases; other daemons of the same database have others.
    margin: seconds before its end at which a token is renewed (never more than a third of its life).
    required_scopes: a grant that lacks one is marked `scope_missing`.
    """

    def __init__(
        self,
        grants: GrantStore,
        sso: SsoPort,
        vault: Vault,
        clock: Clock,
        daemon_id: str,
        margin: float,
        *,
        required_scopes: Collection[str] = (KILLMAIL_SCOPE,),
        rng: random.Random | None = None,
    ) -> None:
        self._grants = grants
        self._sso = sso
        self._vault = vault
        self._clock = clock
        self._required = frozenset(required_scopes)
        self._rng = rng or random.Random()
        self._refreshing = TokenRefresh(grants, sso, vault, clock, daemon_id, margin, self._rng)
        self._running: dict[str, asyncio.Task[str]] = {}
        self._vouched: dict[str, int] = {}
        self._distrust: Problem | None = None
        self._closing = False

    # -- for those who need tokens -----------------------------------------------------------

    async def access_token(self, user_id: str) -> str:
        """A token that holds for at least some seconds, renewed before it is handed out where needed.

        Raises NotFound, GrantUnusable (only a login helps), Unavailable (try later; an
        SsoUnavailable's `retry_after` says when), TokenRefused (what the SSO gave does not
        verify; nobody is disabled, try later), KeyRefused (not our key).
        """
        return await self._token(user_id, None)

    async def force_refresh(self, user_id: str, rejected_access_token: str) -> str:
        """Another token than the one that ESI answered with 401.

        Asks the SSO only where the rejected one is still the stored one. Raises as `access_token`.
        """
        return await self._token(user_id, rejected_access_token)

    async def scope_refused(self, user_id: str, refused_access_token: str) -> None:
        """ESI answered 403 to this token: mark the pilot, unless another token is stored by now.

        Raises GrantUnusable where the pilot is marked; NotFound; SsoUnavailable (the login just changed).
        """
        row = await self._usable(user_id)
        if row.access_token_enc is None:
            return
        stored = self._vault.decrypt_text(row.access_token_enc, aad=token_aad(row.character_id, "access"))
        if stored == refused_access_token:
            await self._turn(
                row, UserState.SCOPE_MISSING, "ESI refuses the list: the killmail scope is missing"
            )

    async def renew(self, user_id: str) -> None:
        """Renew if it is time; for the refresher, which wants to hear of failures.

        Raises as `access_token`, also where the old token still has some minutes.
        """
        await self._renewed(user_id, None)

    async def revoke(self, character_id: int, refresh_token_enc: bytes) -> None:
        """Take a grant back at the SSO, for logouts and their tombstones.

        Raises SsoUnavailable (keep the ciphertext, try later), KeyRefused.
        """
        aad = token_aad(character_id, "refresh")
        await self._sso.revoke(self._vault.decrypt_text(refresh_token_enc, aad=aad))

    # -- for those who watch -----------------------------------------------------------------

    def pause(self) -> float:
        """Seconds during which refreshing anybody is useless because the SSO is down; 0 when it is not."""
        return self._refreshing.pause()

    def problems(self) -> list[Problem]:
        """What keeps everybody's tokens from being renewed or believed, for `ctl status`."""
        return [problem for problem in (self._refreshing.problem(), self._distrust) if problem is not None]

    async def run(self, stopping: asyncio.Event) -> None:
        """See refreshes out when the daemon stops: each may bring a refresh token that nobody else has."""
        await endings.seen_out(self._running.values, stopping)

    async def aclose(self) -> None:
        """Begin no more refreshes; cut short those that still run. Their attempts stay unanswered."""
        self._closing = True
        await endings.cut_short(self._running.values)

    # -- one refresh at a time -----------------------------------------------------------------

    async def _token(self, user_id: str, rejected: str | None) -> str:
        row = await self._usable(user_id)
        token = self._stored(row, rejected)
        if token is not None and self._clock.now() < row.renew_at:
            await self._vouch(row, token)
            return token
        try:
            return await self._renewed(user_id, rejected)
        except Unavailable:
            if token is None:
                raise
            await self._vouch(row, token)  # its last minutes are as good as the others
            return token

    async def _renewed(self, user_id: str, rejected: str | None) -> str:
        token = await self._join(user_id, rejected)
        if token == rejected:
            # We joined somebody who had found the stored token fine. Once more, on our own account.
            token = await self._join(user_id, rejected)
        return token

    async def _join(self, user_id: str, rejected: str | None) -> str:
        task = self._running.get(user_id)
        if task is None:
            self._refuse_if_closing()
            task = asyncio.create_task(self._renew(user_id, rejected), name=f"refresh of user {user_id}")
            self._running[user_id] = task
            task.add_done_callback(functools.partial(self._ended, user_id))
        # Shielded: whoever waits may be cancelled; a refresh token under way must not be.
        return await asyncio.shield(task)

    def _ended(self, user_id: str, task: asyncio.Task[str]) -> None:
        del self._running[user_id]
        if not task.cancelled():
            task.exception()  # seen, should everybody who waited be gone

    async def _renew(self, user_id: str, rejected: str | None) -> str:
        give_up_at = self._clock.monotonic() + _LEASE_PATIENCE
        while True:
            row = await self._usable(user_id)
            token = self._stored(row, rejected)
            if token is not None and self._clock.now() < row.renew_at:
                await self._vouch(row, token)
                return token
            renewed = await self._refreshing.attempt(row)
            if renewed is not None:
                await self._vouch(*renewed)
                return renewed[1]
            self._refuse_if_closing()  # waiting for another daemon must not hold up the end
            if self._clock.monotonic() >= give_up_at:
                raise SsoUnavailable(
                    f"another daemon ({row.holder}) has been refreshing this token for long",
                    "It is asked for again by itself.",
                    answered=True,
                    everybody=False,
                )
            await self._clock.sleep(self._rng.uniform(0.1, 0.3))

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise SsoUnavailable("killsyncd is stopping", answered=True, everybody=False)

    # -- looking at rows -----------------------------------------------------------------------

    async def _usable(self, user_id: str) -> GrantRow:
        row = await self._grants.load(user_id)
        if row is None:
            raise NotFound(f"there is no user {user_id}", "killsyncd ctl users lists those there are.")
        if row.state is not UserState.OK:
            unusable(row.state, row.state_reason or "")
        return row

    def _stored(self, row: GrantRow, rejected: str | None) -> str | None:
        """The stored access token, where it still has some life and is not the rejected one."""
        if row.access_token_enc is None or row.expires_at - self._clock.now() < _LEAST_LEFT:
            return None
        aad = token_aad(row.character_id, "access")
        token = self._vault.decrypt_text(row.access_token_enc, aad=aad)
        return None if token == rejected else token

    async def _vouch(self, row: GrantRow, token: str) -> None:
        """Verify a token once a version. Raises TokenRefused, GrantUnusable."""
        if self._vouched.get(row.user_id) == row.version:
            return
        try:
            identity = await self._sso.verify(token)
            if identity.character_id != row.character_id:
                raise TokenRefused(
                    f"the SSO gave a token of another character than {row.character_id}",
                    "Nothing was used from it. Log this character in again: killsyncd login",
                )
        except SsoUnavailable as error:
            log.debug("token used unverified: no keys", character_id=row.character_id, error=error)
            return
        except TokenRefused as error:
            since = self._distrust.since if self._distrust else self._clock.now()
            self._distrust = Problem("token_refused", error.message, error.hint, since, row.character_id)
            raise
        self._distrust = None
        if identity.owner_hash != row.owner_hash:
            await self._turn(row, UserState.OWNER_CHANGED, "the character belongs to another account now")
        if missing := self._required - identity.scopes:
            await self._turn(row, UserState.SCOPE_MISSING, f"the login lacks {', '.join(sorted(missing))}")
        if identity.name != row.character_name:
            await self._grants.rename(row.user_id, identity.name)
            log.info("renamed", character_id=row.character_id, character=identity.name)
        self._vouched[row.user_id] = row.version

    async def _turn(self, row: GrantRow, state: UserState, reason: str) -> NoReturn:
        drop = state is UserState.OWNER_CHANGED  # not ours to use any more; the history stays
        marked = await self._grants.mark(
            row.user_id, version=row.version, state=state, reason=reason, drop_tokens=drop
        )
        if marked:
            log.warning("grant unusable", character_id=row.character_id, user_state=state, reason=reason)
            unusable(state, reason)
        raise SsoUnavailable(
            "the login changed while it was looked at", "Try again.", answered=True, everybody=False
        )
