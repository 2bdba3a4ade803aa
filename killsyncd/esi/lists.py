"""Lists of killmails: `GET /characters/{id}/killmails/recent`, and a corporation's.

ESI's `Expires` is kept here: a page that is still cached is not asked for.
"""

from __future__ import annotations

import random

from killsyncd.core.clock import Clock
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Source, SourceKind
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi import decoding
from killsyncd.esi.caching import CacheEnd, CacheWaits, cache_end, read_made_at
from killsyncd.esi.http import LIST_CAP, HttpResponse
from killsyncd.esi.pipeline import EsiRequest, RequestPipeline
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.responses import ListPage, MalformedResponse, NotBefore
from killsyncd.esi.routes import AFTER_EXPIRES, LISTS
from killsyncd.esi.status import ServerStatusClient

log = get_logger(__name__)


class KillmailLists:
    """Asks for pages of lists, no sooner than ESI allows."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        limits: RouteLimits,
        status: ServerStatusClient,
        time: ServerTime,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._status = status
        self._time = time
        self._clock = clock
        self._rng = rng
        self._cached = CacheWaits()

    async def page(
        self,
        source: Source,
        page: int,
        *,
        token: str,
        etag: str | None = None,
        not_before: float = 0.0,
        cached_for: float | None = None,
        alongside: Alongside | None = None,
        character_id: int | None = None,
        keep: float = 0.0,
    ) -> ListPage:
        """One page of a list: `GET /characters/{id}/killmails/recent`, or a corporation's.

        source: a character or a corporation. token: an access token of character_id (None: of the source).
        etag: of what the ledger holds of this page. not_before: its `Expires`; after a request that
        was never answered (a crash, a time-out) `asked_at + cache_seconds(kind)`. cached_for: the seconds
        that this is after the answer (None: cache_seconds); no clock makes us wait for longer. alongside:
        writes ESI's time down as the page's asked_at, in the transaction that reserves the request's tokens.
        keep: the part of the window (0..1) that it leaves alone.

        Raises NotBefore, RateLimited, Downtime (wait until `until`, no attempt counts); EsiStatus (401,
        403, 404, 5xx), MalformedResponse, NoResponseReceived, NotSent. Where its `at` is set, ESI has nothing
        cached for us beyond its `expires_at`: the ledger may take its asked_at back.
        """
        route, path = LISTS[source.kind]
        subject_id = source.subject_id
        if not self._time.known:
            # Also to tell whether the list is cached: our clock may be behind
            await self._status.learn_time()
        key = (route, subject_id, page)
        life = self.cache_seconds(source.kind)
        self._raise_if_cached(key, not_before, life if cached_for is None else cached_for)
        headers = {"Authorization": f"Bearer {token}"}
        if etag:
            headers["If-None-Match"] = etag
        answer, at = await self._pipeline.ask(
            EsiRequest(
                route,
                "GET",
                f"{path.format(int(subject_id))}?page={int(page)}",
                resource=f"{route}/{subject_id}",
                cap=LIST_CAP,
                headers=headers,
                character_id=subject_id if character_id is None else character_id,
                alongside=alongside,
                ttl=life,
                keep=keep,
            )
        )
        self._cached.answered(key)
        end = await self._end_of_cache(route, subject_id, answer, at)
        self._limits.cached_for(route, end.expires_at - at, odd=end.odd)
        made_at = read_made_at(answer.headers, at, self._limits.of(route).ttl)
        return self._read_page(answer, at, end.expires_at, made_at, asked_with_etag=bool(etag))

    async def _end_of_cache(self, route: str, subject_id: int, answer: HttpResponse, at: float) -> CacheEnd:
        """Until when the answer is cached; an odd time is believed only once ESI's clock is confirmed."""
        end = cache_end(answer.headers, at, self._limits.of(route).ttl)
        if not end.odd:
            return end
        await self._status.confirm_time()  # is it a clock that is wrong?
        end = cache_end(answer.headers, self._time.not_before(), self._limits.of(route).ttl)
        if end.odd:
            log.warning("ESI says that a list is cached for unusually long", route=route, subject=subject_id)
        return end

    def _raise_if_cached(self, key: object, expires_at: float, cached_for: float) -> None:
        wait = self._cached.left(
            key,
            expires_at,
            life=cached_for,
            after=AFTER_EXPIRES,
            now=self._time.not_after(),
            monotonic=self._clock.monotonic(),
        )
        if wait is None:
            return
        seconds = wait.seconds
        if wait.impossible and not self._time.sure:
            # One of the clocks is wrong. The status tells, as soon as it may be asked.
            seconds = min(seconds, max(1.0, self._status.left()))
        until = self._clock.now() + seconds + self._rng.uniform(0.0, 1.0)
        raise NotBefore("ESI's answer is still cached", until, "nothing to do: it goes on by itself")

    def cache_seconds(self, kind: SourceKind) -> float:
        """How long such a list is cached: the longest that was ever seen, at first what the
        specification says."""
        return self._limits.of(LISTS[kind][0]).ttl

    def _read_page(
        self,
        answer: HttpResponse,
        at: float,
        expires_at: float,
        made_at: float | None,
        *,
        asked_with_etag: bool,
    ) -> ListPage:
        date = decoding.read_date(answer.headers)
        try:
            if answer.status == 304 and not asked_with_etag:
                raise MalformedResponse("304, although no ETag was sent")
            pages = decoding.read_pages(answer.headers)
            entries, set_aside = (None, ()) if answer.status == 304 else decoding.decode_refs(answer.body)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, expires_at=expires_at, at=at) from None
        return ListPage(
            answer.status,
            entries,
            _short(answer.headers.get("ETag"), 200),
            _short(answer.headers.get("Last-Modified"), 64),
            expires_at,
            pages,
            date,
            at,
            made_at,
            set_aside,
        )


def _short(text: str | None, length: int) -> str | None:
    """A validator as sent; one of unlikely length is none."""
    return text if text is not None and len(text) <= length else None
