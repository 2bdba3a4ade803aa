"""The one door to ESI: nobody asks it but through here, and what it must not be asked is refused here.

What is kept (ESI.md; users' applications get banned otherwise): `Expires` of lists and of the status,
floating windows per group and user, `Retry-After`, the error limit, downtime, the configured pace. The door
answers with a page's validators and never stores them: only the ledger commits them.

Times called `until` are this machine's wall clock; `expires_at`, `at` and `asked_at` are ESI's clock. All
are seconds since 1970.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from killsyncd import user_agent
from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.killmail import is_hash
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import Source, SourceKind
from killsyncd.core.server_clock import Dissent, ServerTime
from killsyncd.esi import decoding
from killsyncd.esi.caching import CacheWaits, cache_end, read_made_at
from killsyncd.esi.downtime import DowntimeGate, GateClosed
from killsyncd.esi.http import DETAIL_CAP, LIST_CAP, OTHER_CAP, EsiHttp, HttpResponse
from killsyncd.esi.pipeline import BeforeAsk, EsiRequest, EsiStats, RequestPipeline
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.permits import Permit, PermitOffice
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.ratelimit.windows import BudgetStore, Usage, character_of, eta
from killsyncd.esi.responses import (
    BudgetView,
    ClockWrong,
    EsiError,
    KillmailResponse,
    ListPage,
    MalformedResponse,
    NotBefore,
    RateLimited,
    ResolvedName,
    ServerStatus,
)
from killsyncd.esi.routes import AFTER_EXPIRES, DETAIL, ERROR_WINDOW, ERRORS_A_MINUTE, LISTS, NAMES
from killsyncd.esi.signal import Condition
from killsyncd.esi.status import StatusKeeper

log = get_logger(__name__)

MOST_NAMES = 1000

_TIDY_EVERY = 3600.0
_DETAIL = EsiRequest(DETAIL, "GET", "", resource="", cap=0)


@dataclass(frozen=True, slots=True)
class EsiSettings:
    """What configuration says of ESI. timeout: seconds. client_id: of the EVE application."""

    base_url: str
    contact: str
    compatibility_date: str
    client_id: str
    requests_per_second: float = 50.0
    max_connections: int = 20
    timeout: float = 20.0
    egress: str = "default"

    @property
    def user_agent(self) -> str:
        """How every request introduces itself."""
        return user_agent(self.contact)


class EsiClient:
    """ESI, politely. `start` before the first question, `run` beside, `close` at the end."""

    def __init__(
        self, settings: EsiSettings, store: BudgetStore, clock: Clock, *, rng: random.Random | None = None
    ) -> None:
        """rng: for jitter; tests pass their own."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._rng = rng or random.Random()
        self._news = Condition(clock)
        self._time = ServerTime(clock)
        self._gate = DowntimeGate(self._rng)
        self._books = RateLimitAccounting(
            store, self._time, clock, egress=settings.egress, timeout=settings.timeout
        )
        self._lessons = RouteLimits(store, self._books)
        self._tokens = PermitOffice(
            self._books,
            self._lessons,
            self._time,
            clock,
            self._news,
            self._rng,
            client_id=settings.client_id,
            egress=settings.egress,
        )
        self._wire = EsiHttp(
            base_url=settings.base_url,
            user_agent=settings.user_agent,
            compatibility_date=settings.compatibility_date,
            timeout=settings.timeout,
            max_connections=settings.max_connections,
            clock=clock,
        )
        self._asker = RequestPipeline(
            self._wire,
            self._tokens,
            self._books,
            self._time,
            self._gate,
            clock,
            self._news,
            per_second=settings.requests_per_second,
            max_connections=settings.max_connections,
        )
        self._status = StatusKeeper(
            self._asker, self._books, self._lessons, self._time, self._gate, clock, egress=settings.egress
        )
        self._cached = CacheWaits()
        self._tidied_at = clock.monotonic()
        self._states = StateLog(log)

    async def start(self) -> None:
        """Read what was known before the restart. Raises Unavailable."""
        await self._books.load()
        await self._lessons.load()
        self._time.passed(max(self._status.last_told, self._books.last_time))

    # Lists

    async def list_page(
        self,
        source: Source,
        page: int,
        *,
        token: str,
        etag: str | None = None,
        not_before: float = 0.0,
        cached_for: float | None = None,
        before_ask: BeforeAsk | None = None,
        character_id: int | None = None,
    ) -> ListPage:
        """One page of a list: `GET /characters/{id}/killmails/recent`, or a corporation's.

        source: a character or a corporation. token: an access token of character_id (None: of the source).
        etag: of what the ledger holds of this page. not_before: its `Expires`, the law; after an ask that
        was never answered (a crash, a time-out) `asked_at + cache_seconds(kind)`. cached_for: the seconds
        that this is after the answer (None: cache_seconds); no clock makes us wait for longer. before_ask:
        told ESI's time right before the request; must write it down as the page's asked_at.

        Raises NotBefore, RateLimited, Downtime (wait until `until`, no attempt counts); EsiStatus (401,
        403, 404, 5xx), Malformed, Unanswered, NotSent. Where the error's `at` is set, ESI has nothing
        cached for us beyond its `expires_at`: the ledger may take its asked_at back.
        """
        route, path = LISTS[source.kind]
        subject_id = source.subject_id
        if not self._time.known:
            await self._learn_time()  # also to tell whether the list is cached: our clock may be behind
        key = (route, subject_id, page)
        life = self.cache_seconds(source.kind)
        self._raise_if_cached(key, not_before, life if cached_for is None else cached_for)
        headers = {"Authorization": f"Bearer {token}"}
        if etag:
            headers["If-None-Match"] = etag
        answer, at = await self._asker.ask(
            EsiRequest(
                route,
                "GET",
                f"{path.format(int(subject_id))}?page={int(page)}",
                resource=f"{route}/{subject_id}",
                cap=LIST_CAP,
                headers=headers,
                character_id=subject_id if character_id is None else character_id,
                before_ask=before_ask,
                ttl=life,
            )
        )
        self._cached.answered(key)
        end = cache_end(answer.headers, at, self._lessons.of(route).ttl)
        if end.odd:
            await self._confirm_time()  # before such an Expires is believed: is it a clock that is wrong?
            end = cache_end(answer.headers, self._time.not_before(), self._lessons.of(route).ttl)
            if end.odd:
                log.warning(
                    "ESI says that a list is cached for unusually long", route=route, subject=subject_id
                )
        self._lessons.cached_for(route, end.expires_at - at, odd=end.odd)
        made_at = read_made_at(answer.headers, at, self._lessons.of(route).ttl)
        return self._read_page(answer, at, end.expires_at, made_at, asked_with_etag=bool(etag))

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
        return self._lessons.of(LISTS[kind][0]).ttl

    def esi_now(self) -> float:
        """ESI's clock, never ahead of it."""
        return self._time.not_after()

    def wall(self, esi_time: float) -> float:
        """A moment of ESI's clock on this machine's wall clock, never before it."""
        return self._time.to_wall(esi_time)

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

    # Details

    async def detail_permits(self, count: int = 1, *, heavy: bool = False) -> list[Permit]:
        """One to `count` permits for details, without waiting for tokens to come back.

        heavy: for sources with much pending; leaves the window's last part to the others. Mostly in memory;
        about once a second a transaction. Raises RateLimited (its `until` tells when), Downtime, Unavailable.
        Permits live a few seconds; use each in `killmail`, or `release` it.
        """
        self._asker.raise_if_down(_DETAIL)
        try:
            return await self._tokens.details(count, heavy=heavy)
        except RateLimited:
            if self._time.known:
                raise
        await self._learn_time()  # windows run on ESI's clock: more may have come back than we dare say
        return await self._tokens.details(count, heavy=heavy)

    def release(self, permit: Permit) -> None:
        """Give an unused permit back. Safe to call again."""
        permit.release()

    async def changed(self, until: float) -> None:
        """Wait until then (wall clock), or until tokens came back or downtime began or ended."""
        await self._news.wait(max(0.0, until - self._clock.now()))

    async def killmail(self, permit: Permit, killmail_id: int, killmail_hash: str) -> KillmailResponse:
        """One killmail, not decoded yet: `GET /killmails/{killmail_id}/{killmail_hash}`, without a token.

        Uses up the permit, whatever happens. Raises RateLimited, Downtime (no attempt counts); EsiStatus (422
        for a pair that does not belong together, 404, 5xx), Malformed, Unanswered, NotSent.
        """
        if not is_hash(killmail_hash):
            permit.release()
            raise MalformedResponse("the killmail hash is not 40 lowercase hex digits")
        answer, at = await self._asker.ask(
            EsiRequest(
                DETAIL,
                "GET",
                f"/killmails/{int(killmail_id)}/{killmail_hash}",
                resource=f"killmail/{killmail_id}",
                cap=DETAIL_CAP,
                again=True,
            ),
            permit,
        )
        if answer.status == 304:
            raise MalformedResponse("304, although no ETag was sent", at=at)
        return KillmailResponse(answer.body, at)

    # The rest

    async def names(self, ids: Sequence[int]) -> list[ResolvedName]:
        """Names of 1 to 1000 different ids: `POST /universe/names`. Names nobody asked for are dropped.

        All or nothing: one unknown id is EsiStatus 404 for the whole batch, and an error on the old error
        limit; of those the door allows 20 a minute, then RateLimited. Raises the rest of EsiError, too.
        """
        wanted = set(ids)
        if not 1 <= len(wanted) <= MOST_NAMES or len(wanted) != len(ids):
            raise ValueError(f"1 to {MOST_NAMES} different ids")
        answer, at = await self._asker.ask(
            EsiRequest(
                NAMES,
                "POST",
                "/universe/names",
                resource=NAMES,
                cap=OTHER_CAP,
                headers={"Content-Type": "application/json"},
                body=msgspec.json.encode(list(ids)),
            )
        )
        try:
            return [name for name in decoding.decode_names(answer.body) if name.id in wanted]
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, at=at) from None

    async def status(self) -> ServerStatus:
        """EVE's status: `GET /status`, or what it was while that is cached. Also asked during downtime.

        Raises NotBefore (asked shortly before a restart), RateLimited, and the rest of EsiError.
        """
        return await self._status.get()

    async def _learn_time(self) -> None:
        """Before the first request: what time it is at ESI, on whose clock `Expires` runs."""
        try:
            await self._status.get()
        except NotBefore:
            if self._status.clock_was_off or self._time.wall_is_wrong:
                # By our own clock things might be asked for too early, or far too late.
                raise ClockWrong(self._clock.now() + max(1.0, self._status.left())) from None
        except EsiError:
            return  # an error has a Date, too; and where nothing answers, the list will not either

    async def _confirm_time(self) -> None:
        """One more word on ESI's clock, if the status may be asked; else its last one is quite new."""
        with contextlib.suppress(EsiError, Unavailable):
            await self._status.get()

    def clock_was_set(self) -> None:
        """This machine's clock was set, or it slept: what was known of ESI's has to be confirmed."""
        self._time.doubt()
        self._news.notify()

    # Watching

    @property
    def downtime(self) -> GateClosed | None:
        """Why and since when (monotonic seconds) only the status is asked for; None when ESI works."""
        return self._gate.closed

    @property
    def error_limited(self) -> bool:
        """Whether ESI's error limit (420) shuts every route just now."""
        return self._books.gate(self._books.every_gate) > self._time.not_after()

    def blocks(self) -> dict[str, float]:
        """Groups in which ESI asked us to wait (429), and until when on this machine's wall clock."""
        return {group: self._time.to_wall(until) for group, until in self._books.blocks().items()}

    @property
    def stats(self) -> EsiStats:
        """Counters for metrics and the watchdog."""
        return self._asker.stats

    @property
    def clock_offset(self) -> float:
        """Seconds that this machine's clock is behind ESI's.

        0 until ESI answered; but at least what it is behind the last word of ESI's before the restart.
        """
        return self._time.offset

    @property
    def wrong_dates(self) -> Dissent | None:
        """Answers among ESI's last ones that bear a wrong Date."""
        return self._time.dissent

    async def budgets(self) -> list[BudgetView]:
        """Every bucket with something spent, the address's first, the details' always. Raises Unavailable."""
        now = self._time.not_after()
        usages = {usage.bucket: usage for usage in await self._store.usage(now)}
        detail = self._tokens.bucket(DETAIL, None)
        usages.setdefault(detail, Usage(detail, (), 0.0))
        views = [self._view(usage, now) for usage in usages.values()]
        return sorted(views, key=lambda view: (view.character_id or 0, view.group))

    def _view(self, usage: Usage, now: float) -> BudgetView:
        known = self._lessons.of_group(usage.bucket.group)
        limit, window = (known.tokens, known.window) if known else (ERRORS_A_MINUTE, ERROR_WINDOW)
        blocked = usage.blocked_until > now
        next_at = usage.spends[0][0] if usage.spends else None
        if blocked:  # what was not spent is there again when the block ends
            next_at = max(usage.blocked_until, 0.0 if usage.used < limit else next_at or 0.0)
        return BudgetView(
            usage.bucket.group,
            character_of(usage.bucket.subject),
            limit,
            0 if blocked else max(0, limit - usage.used),
            window,
            None if next_at is None else self._time.to_wall(next_at),
        )

    async def eta(self, details: int) -> float:
        """Seconds until so many killmails can have been fetched, if all goes well. Raises Unavailable."""
        now = self._time.not_after()
        bucket = self._tokens.bucket(DETAIL, None)
        found = [usage for usage in await self._store.usage(now) if usage.bucket == bucket]
        known = self._lessons.of(DETAIL)
        usage = found[0] if found else Usage(bucket, (), 0.0)
        return eta(usage, known.tokens, known.window, details, now, self._settings.requests_per_second)

    # Upkeep

    async def run(self) -> None:
        """Until cancelled: settles what is over, and asks for the status in downtime."""
        while True:
            seconds = await self._upkeep()
            if seconds > 1.0:
                await self._news.wait(seconds)
            else:
                await self._clock.sleep(seconds)  # not woken by every answer: one write a second is enough

    async def _upkeep(self) -> float:
        """What is due now; answers after how many seconds to look again."""
        now = self._clock.monotonic()
        self._tokens.pool.sweep(self._lessons.of(DETAIL))
        try:
            if self._books.busy:
                self._books.note_time()
                await self._books.flush()
            if now - self._tidied_at > _TIDY_EVERY:
                self._tidied_at = now
                await self._books.tidy()
        except Unavailable as error:
            self._states.set("books", "failing", "budgets cannot be written just now", reason=error.message)
        else:
            self._states.set("books", "ok", "budgets can be written again")
        if self._gate.closed is not None and now >= self._gate.probe_at and await self._status.probe():
            self._news.notify()
        if self._time.known and not self._time.sure and self._gate.closed is None:
            await self._confirm_time()
        if self._gate.closed is not None:
            return min(1.0, max(0.05, self._gate.probe_at - self._clock.monotonic()))
        if self._time.known and not self._time.sure:
            return max(1.0, self._status.left())
        return 1.0 if self._tokens.pool.busy or self._books.busy else _TIDY_EVERY

    async def close(self) -> None:
        """Settle what can be settled, and close all connections. What is still in flight stays booked."""
        await self._tokens.pool.close()
        try:
            await self._books.flush()
        except Unavailable as error:
            log.warning("budgets could not be written; they stay booked", reason=error.message)
        await self._wire.close()


def _short(text: str | None, length: int) -> str | None:
    """A validator as sent; one of unlikely length is none."""
    return text if text is not None and len(text) <= length else None
