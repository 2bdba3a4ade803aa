"""Reads one page of a source's list: no sooner than ESI allows, with a valid token, and into the ledger.

A page's validators (`ETag`, `Expires`) are committed together with what the page listed, never before.
"""

from __future__ import annotations

from killsyncd.auth.grant import GrantRow
from killsyncd.core.logging import Logger
from killsyncd.core.model import Job, Origin, PageState, SyncMode, WaitsFor, Walk
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import ClockWrong, EsiError, EsiStatus, NotBefore
from killsyncd.sync.job_start import JobStart
from killsyncd.sync.lending import ListTokens
from killsyncd.sync.ports import WalkLedger
from killsyncd.sync.settings import ConsumerSettings
from killsyncd.sync.walk import LeaseLost, PageNews, PageWritten

BELIEVED = 3600.0
"""Seconds for which a first page may be "unchanged" (304) before it is asked for whole: there are nodes of
ESI's that say so for ever, and an answer in full costs one token more."""


def is_gone(error: EsiError) -> bool:
    """Whether ESI says, in its own words, that there is no such page; a gateway says 404 in HTML."""
    return isinstance(error, EsiStatus) and error.status == 404 and bool(error.detail)


LIVES = 2.0
"""So many lives of a list a walk waits at a page behind the first that is still cached; where ESI forbids to
ask for it for longer, the walk goes on without it, or news on all other pages would wait with it."""

KEPT = 0.5
"""The part of a list's window that is left alone by what is asked sooner than the interval."""


class ListReader:
    """Reads and writes down one page after the other. settings: may be replaced at any time."""

    def __init__(
        self, ledger: WalkLedger, esi: EsiClient, tokens: ListTokens, settings: ConsumerSettings
    ) -> None:
        self._ledger = ledger
        self._esi = esi
        self._tokens = tokens
        self.settings = settings

    async def next_page(
        self, job: Job, walk: Walk, log: Logger, start: JobStart | None = None
    ) -> PageWritten:
        """The walk's next page. start: what is known of it and of the grant, where that was just read.

        Raises LeaseLost, EsiError, ListRefused, LenderLost, GrantUnusable, TokenRefused, Unavailable.
        """
        page = walk.next_page
        if start is None:
            known, grant = await self._ledger.page_state(job.source_id, page), None
        else:
            known, grant = start.page, start.grant
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
            try:
                news = await self._ask(job, walk, known, grant, log)
            except NotBefore as error:
                if not self._holds_up(job, page, error):
                    raise
                log.info("a page is cached for unusually long; going on without it", page=page)
                news = PageNews(page, None, None, None, error.until, None, self._esi.esi_now(), passed=True)
            else:
                await self._tokens.accepted(job)
        with self._esi.settling() as settlement:
            written = await self._ledger.write_page(job, walk, news, self.settings.max_pages, settlement)
        if not written.held:
            raise LeaseLost("the lease is lost")
        return written

    def _holds_up(self, job: Job, page: int, error: NotBefore) -> bool:
        """Whether waiting for this page would keep the walk from the others for long."""
        if page == 1 or isinstance(error, ClockWrong):
            return False
        wait = error.until - self._esi.wall(self._esi.esi_now())
        return wait > LIVES * self._esi.cache_seconds(job.source.kind)

    def _same_generation(self, known: PageState, walk: Walk) -> bool:
        answered = bool(known.etag) and known.answered_at >= known.asked_at
        fresh = known.expires_at > self._esi.esi_now() + 1.0
        same = known.last_modified is not None and known.last_modified == walk.last_modified
        # A walk that reads everything takes only what was sent, never what was called unchanged.
        sent = walk.mode is SyncMode.INCREMENTAL or known.body_at >= known.answered_at
        return answered and fresh and same and sent

    async def _ask(
        self, job: Job, walk: Walk, known: PageState | None, grant: GrantRow | None, log: Logger
    ) -> PageNews:
        token = await self._tokens.token(job, grant)
        try:
            return await self._ask_with(job, walk, known, token)
        except EsiStatus as refusal:
            if refusal.status != 401:
                raise
        # A token can be refused before its end (401): it is renewed once, and the page asked for once more.
        log.info("ESI refuses the token; renewing it once")
        token = await self._tokens.renewed(job, token)
        known = await self._ledger.page_state(job.source_id, walk.next_page)
        return await self._ask_with(job, walk, known, token)

    def _etag(self, walk: Walk, known: PageState | None) -> str | None:
        """The ETag to ask with, None for none: a walk that reads everything asks for whole pages, and so
        does a first page that has been unchanged for long."""
        if known is None or walk.mode is not SyncMode.INCREMENTAL:
            return None
        if known.page == 1 and known.body_at < self._esi.esi_now() - BELIEVED:
            return None
        return known.etag

    async def _ask_with(self, job: Job, walk: Walk, known: PageState | None, token: str) -> PageNews:
        page = walk.next_page
        try:
            answer = await self._esi.list_page(
                job.source,
                page,
                token=token,
                etag=self._etag(walk, known),
                not_before=self._lawful_at(job, known),
                cached_for=self._cached_for(job, known),
                alongside=self._ledger.asking(job.source_id, page),
                character_id=job.character_id,
                keep=KEPT if job.origin is Origin.ACTIVE else 0.0,
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
            if error.at is not None:
                await self._ledger.page_refused(
                    job.source_id, page, error.at, error.expires_at or 0.0, gone=is_gone(error)
                )
            # 403 in ESI's own words may mean that scope or role is missing: whoever gives tokens finds out.
            # What a gateway or a firewall on the way says in HTML is a failure like others.
            if isinstance(error, EsiStatus) and error.status == 403 and error.detail:
                await self._tokens.refused(job, token, error.detail)
            raise
        return PageNews(
            page,
            answer.entries,
            # What could not be read may be well the next time: it is asked for again, never "unchanged".
            None if answer.set_aside else answer.etag,
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
        if page > 1 or not is_gone(error) or error.at is None:
            return None
        expires_at = max(error.expires_at or 0.0, error.at + self.settings.interval)
        made_at = error.at - self._esi.cache_seconds(job.source.kind)
        return PageNews(1, (), None, None, expires_at, 1, error.at, made_at, no_list=True)

    def _why_cached(self, job: Job, known: PageState | None) -> WaitsFor:
        """Which of the reasons to wait lasts longest."""
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
        """From when a page may be asked for, in ESI's time.

        A request without an answer counts as one whose answer ESI has cached.
        """
        if known is None:
            return 0.0
        lawful_at = max(known.expires_at, known.not_before)
        if known.asked_at > known.answered_at:
            return max(lawful_at, known.asked_at + self._esi.cache_seconds(job.source.kind))
        return lawful_at
