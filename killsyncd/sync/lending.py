"""Access tokens for lists: a pilot's own for the pilot's list, that of whoever lends one for a
corporation's."""

from __future__ import annotations

from typing import NoReturn

from killsyncd.auth.grant import GrantRow, GrantUnusable, LenderLost
from killsyncd.auth.lending import refusal_of
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.clock import Clock
from killsyncd.core.model import Job, SourceKind
from killsyncd.sync.ports import LenderRows

REMEMBERED_FOR = 3600.0
"""Seconds after which it is written down again that a list is given to its lender: a quiet poll writes
little."""

UNUSABLE_PAUSE = 5.0
"""Seconds until a list is asked for again whose lender had no token to give."""


class ListTokens:
    """What the list reader asks for tokens and tells of answers. Every method raises Unavailable."""

    def __init__(self, tokens: TokenManager, lenders: LenderRows, clock: Clock) -> None:
        self._tokens = tokens
        self._lenders = lenders
        self._clock = clock
        self._given: dict[int, tuple[str, float]] = {}  # source: to whom, and when that was written down

    async def token(self, job: Job, grant: GrantRow | None = None) -> str:
        """A valid access token. grant: where it was just read.

        Raises as `TokenManager.access_token`, and LenderLost.
        """
        try:
            return await self._tokens.access_token(job.user_id, grant)
        except GrantUnusable as error:
            await self._lost(job, error)

    async def renewed(self, job: Job, rejected: str) -> str:
        """Another token than the one that ESI answered with 401. Raises as `token`."""
        try:
            return await self._tokens.force_refresh(job.user_id, rejected)
        except GrantUnusable as error:
            await self._lost(job, error)

    async def refused(self, job: Job, token: str, words: str) -> NoReturn:
        """ESI answered 403 to this token on the list. words: what it said.

        Raises what came of it: GrantUnusable or ListRefused for a pilot's own list, LenderLost for a
        corporation's, whose trouble is never the pilot's.
        """
        if job.source.kind is not SourceKind.CORPORATION:
            await self._tokens.list_refused(job.user_id, job.source_id, token, words)
        self._given.pop(job.source_id, None)
        wait = await self._lenders.refused(job.source_id, job.user_id, refusal_of(words), words)
        raise LenderLost(f"ESI refuses the list to {job.character_name} (403: {words})", retry_after=wait)

    async def accepted(self, job: Job) -> None:
        """ESI gave the list: what it refused before counts no more."""
        if job.source.kind is not SourceKind.CORPORATION:
            await self._tokens.list_accepted(job.user_id, job.source_id)
            return
        now = self._clock.monotonic()
        user_id, at = self._given.get(job.source_id, ("", 0.0))
        if user_id != job.user_id or now - at > REMEMBERED_FOR:
            await self._lenders.accepted(job.source_id, job.user_id)
            self._given[job.source_id] = job.user_id, now

    async def _lost(self, job: Job, error: GrantUnusable) -> NoReturn:
        """The grant gives no token. A pilot's own list then waits for the pilot, a corporation's for
        nobody."""
        if job.source.kind is not SourceKind.CORPORATION:
            raise error
        wait = await self._lenders.unusable(job.source_id)
        retry_after = None if wait is None else max(wait, UNUSABLE_PAUSE)
        raise LenderLost(f"{job.character_name} lends no token: {error.message}", retry_after=retry_after)
