"""The token manager: an access token whenever somebody needs one, and never a refresh token lost.

Within the process a user is refreshed once at a time, whoever asks, and cancelling those who
wait cancels neither request nor storing (token_refresh.py has the steps).

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
from killsyncd.auth.grant import BY_ITSELF, KILLMAIL_SCOPE, GrantRow, ListRefused, SsoUnavailable
from killsyncd.auth.ports import GrantStore
from killsyncd.auth.refusals import COME_BACK, LIST_PAUSES, LONGEST_LIFE, SCOPE_PAUSE
from killsyncd.auth.sso import SsoClient
from killsyncd.auth.token_refresh import TokenRefresh, unusable
from killsyncd.core import tasks
from killsyncd.core.clock import Clock
from killsyncd.core.errors import NotFound, TokenExpired, TokenRefused, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Problem, UserState

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
        sso: SsoClient,
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
        self._verified: dict[str, int] = {}
        self._list_refused: set[str] = set()
        self._refused: dict[str, Problem] = {}  # whose tokens don't verify
        self._believed = False  # whether any token verified since the first failure
        self._closing = False
        self._draining = False

    # -- for those who need tokens -----------------------------------------------------------

    async def access_token(self, user_id: str, grant: GrantRow | None = None) -> str:
        """A token that holds for at least some seconds, renewed before it is handed out where needed.

        grant: the user's, where somebody has just read it.
        Raises NotFound, GrantUnusable (only a login helps), Unavailable (try later; an
        SsoUnavailable's `retry_after` says when), TokenRefused (what the SSO gave does not
        verify; nobody is disabled, try later), KeyRefused (not our key).
        """
        return await self._token(user_id, None, grant)

    async def force_refresh(self, user_id: str, rejected_access_token: str) -> str:
        """Another token than the one that ESI answered with 401.

        Asks the SSO only where the rejected one is still the stored one. Raises as `access_token`.
        """
        return await self._token(user_id, rejected_access_token)

    async def list_refused(
        self, user_id: str, source_id: int, refused_access_token: str, words: str
    ) -> NoReturn:
        """ESI answered 403 to this token on a list. words: what ESI said.

        The token's own `scp` decides: it is renewed and looked at again. Without the scope the pilot is
        marked at once (looked at again daily); with it the refusal is counted, and believed only by the rules
        of `refusals.ListRefusals` (asked again hourly).
        Raises GrantUnusable where the pilot is marked, else ListRefused; NotFound; Unavailable.
        """
        row = await self._usable(user_id)
        told = f"ESI refuses the list (403: {words}), although the login has the killmail scope"
        pause = LIST_PAUSES[0]
        if self._is_stored(row, refused_access_token):  # else a login or a refresh was quicker: no verdict
            row = await self._renewed_after_403(row, refused_access_token)
            heard = await self._grants.list_refused(user_id, source_id, version=row.version)
            if heard is not None:
                self._list_refused.add(user_id)
                pause = heard.wait
            if heard is not None and heard.believed:
                again = self._clock.now() + pause
                reason = f"{told}, {heard.count} times in a row; it is asked again hourly"
                await self._mark_unusable(row, UserState.SCOPE_MISSING, reason, not_before=again)
        raise ListRefused(told, BY_ITSELF, retry_after=pause)

    async def _renewed_after_403(self, row: GrantRow, refused: str) -> GrantRow:
        try:
            await self._renewed(row.user_id, refused)
        except (Unavailable, TokenRefused) as error:
            # The scope was there when the old token was verified, and the list is asked again anyway.
            log.debug("token not renewed after a 403", character_id=row.character_id, error=error.message)
        return await self._usable(row.user_id)

    async def list_accepted(self, user_id: str, source_id: int) -> None:
        """ESI gave a list to this pilot: earlier refusals of it count no more. Raises Unavailable."""
        if user_id in self._list_refused:
            await self._grants.list_accepted(user_id, source_id)
            self._list_refused.discard(user_id)  # until the grant is read again, if other lists are refused

    async def renew(self, user_id: str) -> None:
        """Renew if it is time; for the refresher, which wants to hear of failures.

        Raises as `access_token`, also where the old token still has some minutes.
        """
        await self._renewed(user_id, None)

    async def revoke(self, character_id: int, refresh_token_enc: bytes) -> None:
        """Revoke a grant at the SSO, for the revoker.

        Raises SsoUnavailable (keep the ciphertext, try later); GrantDead: the SSO does not know the
        token, which may be wrong; KeyRefused.
        """
        aad = token_aad(character_id, "refresh")
        await self._sso.revoke(self._vault.decrypt_text(refresh_token_enc, aad=aad))

    # -- for those who watch -----------------------------------------------------------------

    def pause(self) -> float:
        """Seconds during which refreshing anybody is useless because the SSO is down; 0 when it is not."""
        return self._refreshing.pause()

    def problems(self) -> list[Problem]:
        """What keeps everybody's tokens from being renewed or believed, for `ctl status`."""
        refused = None if self._believed else next(iter(self._refused.values()), None)
        return [problem for problem in (self._refreshing.problem(), refused) if problem is not None]

    async def run(self, stopping: asyncio.Event) -> None:
        """See refreshes out when the daemon stops: each may bring a refresh token that nobody else has."""
        await stopping.wait()
        self._draining = True
        await tasks.seen_out(self._running.values, stopping)

    async def aclose(self) -> None:
        """Begin no more refreshes; cut short those that still run. Their attempts stay unanswered."""
        self._closing = self._draining = True
        await tasks.cut_short(self._running.values)

    # -- one refresh at a time -----------------------------------------------------------------

    async def _token(self, user_id: str, rejected: str | None, known: GrantRow | None = None) -> str:
        row = await self._usable(user_id) if known is None else self._if_usable(known)
        token = self._stored(row, rejected)
        if token is not None and self._clock.now() < row.renew_at:
            if await self._holds(row, token):
                return token
            token, rejected = None, token
        try:
            return await self._renewed(user_id, rejected)
        except Unavailable:
            # Its last minutes are as good as the others.
            if token is None or not await self._holds(row, token):
                raise
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
            if self._closing:
                self._refuse_to_begin()
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
            row = await self._load(user_id)
            kept = row.refresh_token_enc is not None
            if row.state is not UserState.OK and not (kept and row.state in COME_BACK):
                unusable(row.state, row.state_reason or "")
            token = self._stored(row, rejected) if row.state is UserState.OK else None
            if token is not None and self._clock.now() < row.renew_at:
                if await self._holds(row, token):
                    return token
                rejected = token
            renewed = await self._refreshing.attempt(row)
            if renewed is not None:
                await self._verify_once(*renewed)
                return renewed[1]
            if self._draining:  # waiting for another daemon must not hold up the end
                self._refuse_to_begin()
            if self._clock.monotonic() >= give_up_at:
                raise SsoUnavailable(
                    f"another daemon ({row.holder}) has been refreshing this token for long",
                    "It is asked for again by itself.",
                    answered=True,
                    everybody=False,
                )
            await self._clock.sleep(self._rng.uniform(0.1, 0.3))

    def _refuse_to_begin(self) -> NoReturn:
        raise SsoUnavailable("killsyncd is stopping", answered=True, everybody=False)

    # -- looking at rows -----------------------------------------------------------------------

    async def _load(self, user_id: str) -> GrantRow:
        row = await self._grants.load(user_id)
        if row is None:
            raise NotFound(f"there is no user {user_id}", "killsyncd ctl users lists those there are.")
        return row

    async def _usable(self, user_id: str) -> GrantRow:
        return self._if_usable(await self._load(user_id))

    def _if_usable(self, row: GrantRow) -> GrantRow:
        if row.list_refused:
            self._list_refused.add(row.user_id)  # counted before a restart, or by another daemon
        if row.state is not UserState.OK:
            unusable(row.state, row.state_reason or "")
        return row

    def _stored(self, row: GrantRow, rejected: str | None) -> str | None:
        """The stored access token, where it still has some life and is not the rejected one."""
        left = row.expires_at - self._clock.now()
        # More than any token lives: written while the clock stood wrong.
        if row.access_token_enc is None or not _LEAST_LEFT <= left <= LONGEST_LIFE:
            return None
        token = self._opened(row)
        return None if token == rejected else token

    def _is_stored(self, row: GrantRow, token: str) -> bool:
        return row.access_token_enc is not None and self._opened(row) == token

    def _opened(self, row: GrantRow) -> str:
        assert row.access_token_enc is not None, "looked at by both callers"
        return self._vault.decrypt_text(row.access_token_enc, aad=token_aad(row.character_id, "access"))

    async def _holds(self, row: GrantRow, token: str) -> bool:
        """Verify a stored token; False where it has ended by the SSO's clock, whatever ours says."""
        try:
            await self._verify_once(row, token, stored=True)
        except TokenExpired:
            return False
        return True

    async def _verify_once(self, row: GrantRow, token: str, *, stored: bool = False) -> None:
        """Verify a token once a version. Raises TokenRefused, GrantUnusable."""
        if self._verified.get(row.user_id) == row.version:
            self._believe(row.user_id)
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
            if not (stored and isinstance(error, TokenExpired)):
                self._distrust(row, error)
            raise
        self._believe(row.user_id)
        if not row.owner_hash:
            # Nobody said whose the character was: that is no other owner.
            await self._grants.own(row.user_id, identity.owner_hash)
        elif identity.owner_hash != row.owner_hash:
            # Signed by the SSO: no doubt about it. Not ours to use any more; the history stays.
            why = "the character belongs to another account now"
            await self._mark_unusable(row, UserState.OWNER_CHANGED, why, drop_tokens=True)
        if missing := self._required - identity.scopes:
            # CCP may have taken the scope from the application for a while.
            again = self._clock.now() + SCOPE_PAUSE
            why = f"the login lacks {', '.join(sorted(missing))}"
            await self._mark_unusable(row, UserState.SCOPE_MISSING, why, not_before=again)
        if row.state is not UserState.OK:
            row = await self._restore(row)
        if identity.name != row.character_name:
            await self._grants.rename(row.user_id, identity.name)
            log.info("renamed", character_id=row.character_id, character=identity.name)
        self._verified[row.user_id] = row.version

    def _distrust(self, row: GrantRow, error: TokenRefused) -> None:
        if not self._refused:
            self._believed = False
        known = self._refused.get(row.user_id)
        since = known.since if known is not None else self._clock.now()
        problem = Problem("token_refused", error.message, error.hint, since, row.character_id)
        self._refused[row.user_id] = problem

    def _believe(self, user_id: str) -> None:
        """A token verified, so it is not all users' tokens that fail to."""
        self._refused.pop(user_id, None)
        self._believed = self._believed or bool(self._refused)

    async def _restore(self, row: GrantRow) -> GrantRow:
        """Who was called scope_missing has a token with the scope: ESI is asked again."""
        if await self._grants.mark(row.user_id, version=row.version, state=UserState.OK, reason=None):
            log.info("the login has the killmail scope again", character_id=row.character_id)
        return await self._usable(row.user_id)

    async def _mark_unusable(
        self,
        row: GrantRow,
        state: UserState,
        reason: str,
        *,
        drop_tokens: bool = False,
        not_before: float = 0.0,
    ) -> NoReturn:
        marked = await self._grants.mark(
            row.user_id,
            version=row.version,
            state=state,
            reason=reason,
            drop_tokens=drop_tokens,
            not_before=not_before,
        )
        if marked:
            if row.state is not state:
                log.warning("grant unusable", character_id=row.character_id, user_state=state, reason=reason)
            unusable(state, reason)
        raise SsoUnavailable(
            "the login changed while it was looked at", "Try again.", answered=True, everybody=False
        )
