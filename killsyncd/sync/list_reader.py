"""Reading one page of a pilot's list: lawfully, with a token that works, and into the ledger.

What ESI's `Expires` and an ask without an answer forbid is refused before the door is
troubled, and a page's validators are committed with what the page told, never before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from killsyncd.core.errors import KillsyncdError
from killsyncd.core.logging import Logger
from killsyncd.core.model import Job, PageState, Source, SourceKind, SyncMode, WaitsFor, Walk
from killsyncd.esi.responses import ClockWrong, EsiError, EsiStatus, ListPage, NotBefore
from killsyncd.sync.walk import PageNews, PageWritten, SourceState

BELIEVED = 3600.0
"""Seconds for which a first page may be "unchanged" (304) before it is asked for whole: there are nodes of
ESI's that say so for ever, and an answer in full costs one token more."""


class WalkLedger(Protocol):
    """The ledger, as a walk needs it."""

    async def source_state(self, source_id: int) -> SourceState | None: ...
    async def open_walk(self, source_id: int, mode: SyncMode) -> Walk: ...
    async def restart_walk(self, walk: Walk, ends_at: int | None = None) -> Walk: ...
    async def page_state(self, source_id: int, page: int) -> PageState | None: ...
    async def before_ask(self, source_id: int, page: int, at: float) -> bool: ...
    async def write_page(self, job: Job, walk: Walk, news: PageNews, max_pages: int) -> PageWritten: ...
    async def page_refused(self, source_id: int, page: int, at: float, expires_at: float) -> None: ...
    async def torn_in_a_row(self, source_id: int) -> int: ...


class ListClient(Protocol):
    """ESI's door, as far as lists go."""

    async def list_page(
        self,
        source: Source,
        page: int,
        *,
        token: str,
        etag: str | None = None,
        not_before: float = 0.0,
        cached_for: float | None = None,
        before_ask: Callable[[float], Awaitable[None]] | None = None,
        character_id: int | None = None,
    ) -> ListPage:
        """Ask for one page. not_before: an Expires, in ESI's time; the door refuses to ask earlier.
        cached_for: seconds that this is after the answer; None: `cache_seconds`.

        before_ask is awaited with ESI's time when everything else allows the request, right
        before it leaves. Raises EsiError and what is below it.
        """

    def cache_seconds(self, kind: SourceKind) -> float:
        """How long ESI caches such a list: the longest it was seen to, else what its specification says."""

    def esi_now(self) -> float:
        """ESI's clock, in seconds since 1970; never ahead of it."""

    def wall(self, esi_time: float) -> float:
        """A moment of ESI's clock on this machine's, never before it."""


class AccessTokens(Protocol):
    """The token manager."""

    async def access_token(self, user_id: str) -> str:
        """A valid access token. Raises GrantUnusable, SsoUnavailable."""

    async def force_refresh(self, user_id: str, rejected_access_token: str) -> str:
        """Another one, after ESI said 401 to this."""

    async def list_refused(self, user_id: str, refused_access_token: str, words: str) -> NoReturn:
        """ESI said 403 to this one. Raises GrantUnusable where that is believed, else ListRefused."""

    async def list_accepted(self, user_id: str) -> None:
        """ESI gave the list."""


class LeaseLost(KillsyncdError):
    """Somebody else has the job now, or its source was erased. Nothing of ours was written."""


class ListReader:
    """Reads and writes down one page after the other.

    max_pages: where a walk is cut. interval: seconds until a list that is not there (404) is asked for
    again. Both may be changed.
    """

    def __init__(
        self, ledger: WalkLedger, esi: ListClient, tokens: AccessTokens, max_pages: int, interval: float
    ) -> None:
        self._ledger = ledger
        self._esi = esi
        self._tokens = tokens
        self.max_pages = max_pages
        self.interval = interval

    async def next_page(self, job: Job, walk: Walk, log: Logger) -> PageWritten:
        """The walk's next page.

        Raises LeaseLost, EsiError, ListRefused, GrantUnusable, TokenRefused, Unavailable.
        """
        page = walk.next_page
        known = await self._ledger.page_state(job.source_id, page)
        if known is not None and page > 1 and self._same_generation(known, walk):
            # What we hold is fresh by HTTP's own rules and of this generation: as good as asked for.
            at = known.answered_at
            news = PageNews(
                page,
                None,
                known.etag,
                known.last_modified,
                known.expires_at,
                known.pages,
                at,
                held=known.body_at >= at,
            )
        else:
            news = await self._ask(job, walk, known, log)
            await self._tokens.list_accepted(job.user_id)
        written = await self._ledger.write_page(job, walk, news, self.max_pages)
        if not written.held:
            raise LeaseLost("the lease is lost")
        return written

    def _same_generation(self, known: PageState, walk: Walk) -> bool:
        answered = bool(known.etag) and known.answered_at >= known.asked_at
        fresh = known.expires_at > self._esi.esi_now() + 1.0
        same = known.last_modified is not None and known.last_modified == walk.last_modified
        # A walk that reads everything takes only what was sent, never what was called unchanged.
        sent = walk.mode is SyncMode.INCREMENTAL or known.body_at >= known.answered_at
        return answered and fresh and same and sent

    async def _ask(self, job: Job, walk: Walk, known: PageState | None, log: Logger) -> PageNews:
        token = await self._tokens.access_token(job.user_id)
        try:
            return await self._ask_with(job, walk, known, token)
        except EsiStatus as refusal:
            if refusal.status != 401:
                raise
        # ESI.md: 401 means refresh once, then ask again once.
        log.info("ESI refuses the token; renewing it once")
        token = await self._tokens.force_refresh(job.user_id, token)
        known = await self._ledger.page_state(job.source_id, walk.next_page)
        return await self._ask_with(job, walk, known, token)

    def _etag(self, walk: Walk, known: PageState | None) -> str | None:
        """What to ask with: a walk that reads everything believes nothing old, and no first page is
        taken for unchanged for long."""
        if known is None or walk.mode is not SyncMode.INCREMENTAL:
            return None
        if known.page == 1 and known.body_at < self._esi.esi_now() - BELIEVED:
            return None
        return known.etag

    async def _ask_with(self, job: Job, walk: Walk, known: PageState | None, token: str) -> PageNews:
        page, asked = walk.next_page, False

        async def before_ask(at: float) -> None:
            nonlocal asked
            if not await self._ledger.before_ask(job.source_id, page, at):
                raise LeaseLost("the lease is lost")
            asked = True

        try:
            answer = await self._esi.list_page(
                job.source,
                page,
                token=token,
                etag=self._etag(walk, known),
                not_before=self._lawful_at(job, known),
                cached_for=self._cached_for(job, known),
                before_ask=before_ask,
                character_id=job.character_id,
            )
        except ClockWrong:
            raise
        except NotBefore as error:
            error.waits_for = self._why_cached(job, known)
            raise
        except EsiError as error:
            if (empty := self._no_list(job, page, error)) is not None:
                return empty
            # Without an answer asked_at stands: until ESI's cache has certainly passed, the page
            # is not asked for again.
            if asked and error.at is not None:
                await self._ledger.page_refused(job.source_id, page, error.at, error.expires_at or 0.0)
            # 403 in ESI's own words may mean that the scope is missing: the token manager finds out. What
            # a gateway or a firewall on the way says in HTML is a failure like others.
            if isinstance(error, EsiStatus) and error.status == 403 and error.detail:
                await self._tokens.list_refused(job.user_id, token, error.detail)
            raise
        return PageNews(
            page,
            answer.entries,
            answer.etag,
            answer.last_modified,
            answer.expires_at,
            answer.pages,
            answer.at,
            answer.made_at,
            answer.set_aside,
        )

    def _no_list(self, job: Job, page: int, error: EsiError) -> PageNews | None:
        """404 on a first page, in ESI's own words: a character without any killmail, and no failure.

        It costs as much as any refusal, so it is asked again no sooner than the interval.
        """
        if page > 1 or not isinstance(error, EsiStatus) or error.status != 404 or not error.detail:
            return None
        if error.at is None:
            return None
        expires_at = max(error.expires_at or 0.0, error.at + self.interval)
        made_at = error.at - self._esi.cache_seconds(job.source.kind)
        return PageNews(1, (), None, None, expires_at, 1, error.at, made_at, no_list=True)

    def _why_cached(self, job: Job, known: PageState | None) -> WaitsFor:
        """What makes the page wait longest."""
        lawful_at = self._lawful_at(job, known)
        if known is None or known.expires_at >= lawful_at:
            return WaitsFor.CACHE
        return WaitsFor.EARLIER_LIFE if known.not_before >= lawful_at else WaitsFor.UNANSWERED

    def _cached_for(self, job: Job, known: PageState | None) -> float | None:
        """Seconds that a page is cached after its answer, by its own word."""
        if known is None:
            return None
        life = known.expires_at - known.answered_at
        if known.asked_at > known.answered_at or known.not_before > known.expires_at:
            return max(life, self._esi.cache_seconds(job.source.kind))
        return life

    def _lawful_at(self, job: Job, known: PageState | None) -> float:
        """From when a page may be asked for; an ask without an answer counts as one that was cached."""
        if known is None:
            return 0.0
        lawful_at = max(known.expires_at, known.not_before)
        if known.asked_at > known.answered_at:
            return max(lawful_at, known.asked_at + self._esi.cache_seconds(job.source.kind))
        return lawful_at
