"""The revoker: revokes at the SSO the grants that a logout left behind, until the SSO confirms.

A logout tries at once and forgets the tokens either way. What the SSO did not confirm stays in the database,
its token encrypted, as a pending revocation, and is tried again here, ever more rarely, across restarts.
"""

from __future__ import annotations

import asyncio
import random

from killsyncd.auth.grant import PendingRevocation, SsoUnavailable
from killsyncd.auth.ports import RevocationRows
from killsyncd.auth.refusals import LOGIN_PAUSES, REVOCATION_BELIEVED_AFTER
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.clock import Clock
from killsyncd.core.errors import GrantDead, KeyRefused, KillsyncdError, Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.retry import full_jitter

FIRST_BACKOFF = 60.0
LONGEST_BACKOFF = 6 * 3600.0
LOOK_AGAIN = 900.0
"""Seconds after which pending revocations are looked for although none is known to be due."""

BATCH = 20


class Revoker:
    """Works pending revocations off. One a daemon; two daemons at the same one do no harm."""

    def __init__(
        self, *, rows: RevocationRows, tokens: TokenManager, events: Events, clock: Clock, rng: random.Random
    ) -> None:
        self._rows = rows
        self._tokens = tokens
        self._clock = clock
        self._rng = rng
        self._signal = Wakeup()
        self._one_at_a_time = asyncio.Lock()
        events.on("grants", self._signal.ring)
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work off what is due, until stopping."""
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            while not stopping.is_set():
                wait = await self._round()
                rest = asyncio.ensure_future(self._signal.wait(self._clock, wait))
                await asyncio.wait({stopped, rest}, return_when=asyncio.FIRST_COMPLETED)
                rest.cancel()
                await asyncio.wait({rest})
        finally:
            stopped.cancel()

    async def revoke_now(self, revocation_id: int) -> bool:
        """Try one at once; False where the SSO did not confirm (it stays and is tried again)."""
        return await self._try(revocation_id)

    async def _round(self) -> float:
        """Try what is due; answers the seconds until something is."""
        try:
            for revocation in await self._rows.due(BATCH):
                await self._try(revocation.id)
            due = await self._rows.next_due()
        except Unavailable as error:
            self._states.set("rows", "failing", "pending revocations cannot be read", reason=error.message)
            return 15.0
        self._states.set("rows", "ok", "pending revocations can be read again")
        return LOOK_AGAIN if due is None else min(LOOK_AGAIN, max(1.0, due - self._clock.now()))

    async def _try(self, revocation_id: int) -> bool:
        async with self._one_at_a_time:
            # Read again: a logout that tries at once and the round may be at the same one.
            revocation = await self._rows.get(revocation_id)
            if revocation is None:
                return True
            return revocation.not_before <= self._clock.now() and await self._ask(revocation)

    async def _ask(self, revocation: PendingRevocation) -> bool:
        try:
            await self._tokens.revoke(revocation.character_id, revocation.refresh_token_enc)
        except GrantDead as error:
            # Where the pilot or another daemon was quicker there is nothing left to do; but said once it
            # may be wrong, and then the grant would stay for ever.
            if revocation.refusals + 1 < REVOCATION_BELIEVED_AFTER:
                await self._later(revocation, error)
                return False
        except (SsoUnavailable, KeyRefused) as error:
            await self._later(revocation, error)
            return False
        await self._rows.done(revocation.id)
        self._states.forget(revocation.id)
        self._log.info("grant revoked at the SSO", character_id=revocation.character_id)
        return True

    async def _later(self, revocation: PendingRevocation, error: KillsyncdError) -> None:
        refused = isinstance(error, GrantDead)
        wait = full_jitter(revocation.attempts + 1, first=FIRST_BACKOFF, cap=LONGEST_BACKOFF, rng=self._rng)
        if isinstance(error, SsoUnavailable) and error.retry_after:
            wait = max(wait, error.retry_after)
        if refused:
            wait = max(wait, LOGIN_PAUSES[revocation.refusals])
        await self._rows.failed(revocation.id, self._clock.now() + wait, refused=refused)
        self._states.set(
            revocation.id,
            "pending",
            "a grant could not be revoked at the SSO, will try again",
            character_id=revocation.character_id,
            reason=error.message,
        )
