"""One refresh, from the lease to the stored answer. When to refresh, and for whom, is in token_manager.py.

The order is the point. The SSO may replace the refresh token with any answer, so

- lease and attempt are written in one durable transaction before the question: after a crash we
  know that an answer may be lost;
- the answer is stored before anything else is done with it;
- a refused refresh token (`invalid_grant`) is kept, encrypted, and the question is put again: after a
  minute, and then for a week ever more rarely (`refusals` has the rules), before it is forgotten.
"""

from __future__ import annotations

import asyncio
import functools
import random
from typing import NoReturn

from killsyncd.auth.circuit_breaker import CircuitBreaker
from killsyncd.auth.encryption import TokenKind, Vault, token_aad
from killsyncd.auth.grant import (
    BY_ITSELF,
    GrantRow,
    GrantUnusable,
    SsoUnavailable,
    TokenSet,
    renewal_time,
)
from killsyncd.auth.ports import GrantStore
from killsyncd.auth.refusals import BELIEVED_AFTER, COME_BACK, DAY, longest_wait, next_login_question
from killsyncd.auth.sso import SsoClient
from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import GrantDead
from killsyncd.core.logging import get_logger
from killsyncd.core.model import REMEDIES, Problem, UserState
from killsyncd.core.retry import retry

_FIRST_BACKOFF = 10.0
_LONGEST_BACKOFF = 300.0
_LONGEST_IN_OUTAGE = 30.0  # the circuit spares an SSO that is down; a pilot need not wait long after it
_STORE_DELAYS = (0.1, 0.5, 2.0, 5.0, 10.0, 20.0)

log = get_logger(__name__)


class TokenRefresh:
    """Refreshes grants, one call a refresh, with back-off a grant and one circuit for all.

    The caller sees to it that no two calls for one user run at once in this process; the lease
    does so across daemons.
    """

    def __init__(
        self,
        grants: GrantStore,
        sso: SsoClient,
        vault: Vault,
        clock: Clock,
        daemon_id: str,
        margin: float,
        rng: random.Random,
    ) -> None:
        self._grants = grants
        self._sso = sso
        self._vault = vault
        self._clock = clock
        self._daemon_id = daemon_id
        self._margin = margin
        self._rng = rng
        self._circuit = CircuitBreaker(clock, rng)
        self._trouble: SsoUnavailable | None = None

    def pause(self) -> float:
        """Seconds during which asking for anybody is useless because the SSO is down; 0 when it is not."""
        return self._circuit.wait()

    def problem(self) -> Problem | None:
        """Why nobody's tokens are renewed, for `ctl status`; None while the SSO answers."""
        if self._circuit.since is None or self._trouble is None:
            return None
        return Problem("sso_unavailable", self._trouble.message, self._trouble.hint, self._circuit.since)

    async def attempt(self, row: GrantRow) -> tuple[GrantRow, str] | None:
        """Refresh the grant as it stands in `row`: the row as stored, and the access token.

        None where another daemon has the lease or the grant changed meanwhile: look again.
        Raises SsoUnavailable (recorded, with back-off), GrantUnusable (dead, and marked so).
        """
        # Taken before the circuit breaker is looked at, so that concurrent failures count as one outage.
        came_at = self._clock.monotonic()
        self._refuse_if_too_early(row)
        refresh_token = self._refresh_token(row)
        held = await self._grants.begin_attempt(row.user_id, holder=self._daemon_id, version=row.version)
        if held is None:
            return None
        try:
            return await self._ask(held, refresh_token, came_at)
        except (SsoUnavailable, GrantUnusable):
            raise  # both gave back the lease with what they wrote
        except BaseException:
            # A bug, a dead database, or the end of the loop: the attempt stays unanswered, but
            # the lease must not stay with us for as long as we live.
            await asyncio.shield(self._release(row))
            raise

    async def _ask(self, row: GrantRow, refresh_token: str, came_at: float) -> tuple[GrantRow, str] | None:
        try:
            tokens = await self._sso.refresh(refresh_token)
        except GrantDead:
            self._circuit.succeeded()
            await self._refused(row)
            return None
        except SsoUnavailable as error:
            await self._failed(row, error, came_at)
            raise
        current: GrantRow | None = row
        stored = None
        while stored is None and current is not None:
            stored = await self._store(current, tokens)
            if stored is None:
                current = await self._still_replaced(row, refresh_token)
        if tokens.complaint is None:
            self._circuit.succeeded()
        if stored is None:
            await self._discard(row, tokens, refresh_token)
            return None
        if stored.state is not row.state:
            log.info("the login works again", character_id=row.character_id)
        if tokens.complaint is not None:
            await self._failed(stored, tokens.complaint, came_at)
            raise tokens.complaint
        return stored, tokens.access_token

    async def _store(self, row: GrantRow, tokens: TokenSet) -> GrantRow | None:
        """Store what the SSO answered. A database that stumbles gets its chances: there is no second copy."""
        write = functools.partial(
            self._grants.store_tokens,
            row.user_id,
            holder=self._daemon_id,
            version=row.version,
            access_token_enc=self._encrypted(row, "access", tokens.access_token)
            if tokens.access_token
            else None,
            refresh_token_enc=self._encrypted(row, "refresh", tokens.refresh_token),
            expires_at=tokens.expires_at,
            renew_at=renewal_time(self._clock.now(), tokens.expires_at, self._margin, self._rng),
        )

        def failed(error: Exception, seconds: float) -> None:
            log.error(
                "refreshed tokens not stored, trying again",
                character_id=row.character_id,
                error=type(error).__name__,
                seconds=seconds,
            )

        return await retry(
            write,
            on=Exception,
            wait=lambda attempt: _STORE_DELAYS[min(attempt, len(_STORE_DELAYS)) - 1],
            sleep=self._clock.sleep,
            stop=lambda attempts: attempts > len(_STORE_DELAYS),
            before_wait=failed,
        )

    async def _still_replaced(self, row: GrantRow, sent: str) -> GrantRow | None:
        """The grant as it is now, where what is stored is still the token that we sent and EVE has replaced.

        Only the state changed meanwhile (another list was refused, say). What the SSO gave must be stored all
        the same: nobody else has it, and the old one is dead.
        """
        now = await self._grants.load(row.user_id)
        if now is None or now.refresh_token_enc is None:
            return None
        aad = token_aad(row.character_id, "refresh")
        return now if self._vault.decrypt_text(now.refresh_token_enc, aad=aad) == sent else None

    async def _discard(self, row: GrantRow, tokens: TokenSet, sent: str) -> None:
        """A login, a logout or another daemon was quicker. After a logout nothing may stay at the SSO."""
        now = await self._grants.load(row.user_id)
        if tokens.refresh_token == sent or (now is not None and now.refresh_token_enc is not None):
            return
        try:
            await self._sso.revoke(tokens.refresh_token)
        except (SsoUnavailable, GrantDead) as error:
            # The revocation that the logout wrote down holds the token that this one replaced.
            await self._grants.keep_revocation(
                row.character_id, self._encrypted(row, "refresh", tokens.refresh_token)
            )
            log.warning(
                "logged out during a refresh; will be revoked", character_id=row.character_id, reason=error
            )

    async def _failed(self, row: GrantRow, error: SsoUnavailable, came_at: float) -> None:
        if error.everybody:
            self._trouble = error
            self._circuit.failed(came_at, error.retry_after)
        cap = _LONGEST_IN_OUTAGE if error.everybody else _LONGEST_BACKOFF
        longest = min(cap, _FIRST_BACKOFF * 2.0 ** min(row.failures, 10))
        delay = max(self._rng.uniform(1.0, longest), error.retry_after or 0.0)
        await self._record(row, delay, unanswered=not error.answered)

    async def _refused(self, row: GrantRow) -> None:
        """`invalid_grant`. Returns where the token that was refused is no longer the stored one."""
        now = await self._grants.load(row.user_id)
        if now is None or now.version != row.version:
            return
        heard_at = self._clock.now()
        refusals = now.refusals + 1
        refused_for = max(0.0, heard_at - (heard_at if now.refused_since is None else now.refused_since))
        lost = now.holder != self._daemon_id or now.unanswered_attempts > 1  # one of them is this one
        pause = next_login_question(refusals, refused_for)
        if pause is None:
            days = f"{refused_for / DAY:.0f} days"
            reason = f"the SSO refused the login {refusals} times in {days} (invalid_grant)"
            await self._needs_login(row, reason, forget=True)
            return
        # A little more than the pause, so that those who were refused together do not come together.
        pause *= self._rng.uniform(1.0, 1.1)
        told = "the SSO refuses the login (invalid_grant)"
        if lost:
            told += ", after an earlier refresh whose answer was lost on the way"
        await self._record(row, pause, unanswered=False, refused=True)
        if refusals < BELIEVED_AFTER:
            raise SsoUnavailable(
                told,
                f"It is asked again in {pause / 60:.0f} min; to get on at once: killsyncd login",
                answered=True,
                retry_after=pause,
                everybody=False,
            )
        again = heard_at + pause
        reason = f"{told}; it is asked again by itself at {utc(again):%Y-%m-%d %H:%M} UTC"
        await self._needs_login(row, reason, not_before=again)

    async def _needs_login(
        self, row: GrantRow, reason: str, *, forget: bool = False, not_before: float = 0.0
    ) -> None:
        marked = await self._grants.mark(
            row.user_id,
            version=row.version,
            state=UserState.NEEDS_LOGIN,
            reason=reason,
            drop_tokens=forget,
            not_before=not_before,
        )
        if not marked:
            return
        if forget or row.state is not UserState.NEEDS_LOGIN:
            log.warning("needs a new login", character_id=row.character_id, reason=reason)
        unusable(UserState.NEEDS_LOGIN, reason)

    async def _record(self, row: GrantRow, delay: float, *, unanswered: bool, refused: bool = False) -> None:
        now = self._clock.now()
        await self._grants.record_failure(
            row.user_id,
            holder=self._daemon_id,
            version=row.version,
            unanswered=unanswered,
            refused_at=now if refused else None,
            not_before=now + delay,
        )

    async def _release(self, row: GrantRow) -> None:
        try:
            await self._grants.release(row.user_id, holder=self._daemon_id)
        except Exception:
            log.exception("lease not given back", character_id=row.character_id)

    def _encrypted(self, row: GrantRow, kind: TokenKind, token: str) -> bytes:
        return self._vault.encrypt(token, aad=token_aad(row.character_id, kind))

    def _refresh_token(self, row: GrantRow) -> str:
        if row.refresh_token_enc is None or row.state not in COME_BACK:
            unusable(UserState.NEEDS_LOGIN, "no refresh token is stored")
        return self._vault.decrypt_text(row.refresh_token_enc, aad=token_aad(row.character_id, "refresh"))

    def _refuse_if_too_early(self, row: GrantRow) -> None:
        wait = row.not_before - self._clock.now()
        # Further away than any back-off of ours: written while the wall clock stood wrong.
        if 0 < wait <= longest_wait(row.state):
            raise SsoUnavailable(
                f"the last refresh of this token failed; the next is in {wait:.0f} s",
                BY_ITSELF,
                answered=True,
                retry_after=wait,
                everybody=False,
            )
        if wait := self._circuit.wait():
            trouble = self._trouble
            raise SsoUnavailable(
                trouble.message if trouble else "the SSO does not answer",
                trouble.hint if trouble else BY_ITSELF,
                answered=True,
                retry_after=wait,
            )


def unusable(state: UserState, reason: str) -> NoReturn:
    """Raise GrantUnusable with the state's remedy."""
    raise GrantUnusable(reason or f"the login is {state}", REMEDIES[state], state=state)
