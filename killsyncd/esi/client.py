"""The ESI client: every request goes through it, and what ESI does not allow is refused here.

What is kept (docs/esi.md; users' applications get banned otherwise): `Expires` of lists and of the status,
floating windows per group and user, `Retry-After`, the error limit, downtime, the configured pace. The client
answers with a page's validators and never stores them: only the ledger commits them.

Times called `until` are this machine's wall clock; `expires_at`, `at` and `asked_at` are ESI's clock. All
are seconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager

import msgspec

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.killmail import is_hash
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Source, SourceKind
from killsyncd.core.server_clock import Dissent, ServerTime
from killsyncd.esi import decoding
from killsyncd.esi.caching import cache_end
from killsyncd.esi.downtime import DowntimeGate, GateClosed
from killsyncd.esi.http import DETAIL_CAP, OTHER_CAP, PRICES_CAP, EsiHttp
from killsyncd.esi.lists import KillmailLists
from killsyncd.esi.pipeline import BeforeAsk, EsiRequest, EsiStats, RequestPipeline
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.permits import Permit, PermitOffice
from killsyncd.esi.ratelimit.ports import Alongside, BudgetStore
from killsyncd.esi.ratelimit.report import BudgetReport
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.ratelimit.windows import Settlement
from killsyncd.esi.responses import (
    Affiliations,
    BudgetView,
    KillmailResponse,
    ListPage,
    MalformedResponse,
    MarketPrices,
    RateLimited,
    ResolvedName,
    ServerStatus,
)
from killsyncd.esi.routes import AFFILIATION, AFTER_EXPIRES, CORPORATION, DETAIL, NAMES, PRICES
from killsyncd.esi.settings import EsiSettings
from killsyncd.esi.signal import Condition
from killsyncd.esi.status import ServerStatusClient
from killsyncd.esi.upkeep import Upkeep

log = get_logger(__name__)

MOST_NAMES = 1000

_DETAIL = EsiRequest(DETAIL, "GET", "", resource="", cap=0)


class EsiClient:
    """ESI, by its rules. `start` before the first request, `run` beside, `close` at the end."""

    def __init__(
        self, settings: EsiSettings, store: BudgetStore, clock: Clock, *, rng: random.Random | None = None
    ) -> None:
        """rng: for jitter; tests pass their own."""
        self._clock = clock
        self._rng = rng or random.Random()
        self._changes = Condition(clock)
        self._time = ServerTime(clock)
        self._gate = DowntimeGate(self._rng)
        self._accounting = RateLimitAccounting(
            store, self._time, clock, egress=settings.egress, timeout=settings.timeout
        )
        self._limits = RouteLimits(store, self._accounting)
        self._permits = PermitOffice(
            self._accounting,
            self._limits,
            self._time,
            clock,
            self._changes,
            self._rng,
            client_id=settings.client_id,
            egress=settings.egress,
        )
        self._http = EsiHttp(
            base_url=settings.base_url,
            user_agent=settings.user_agent,
            compatibility_date=settings.compatibility_date,
            timeout=settings.timeout,
            max_connections=settings.max_connections,
            clock=clock,
        )
        self._pipeline = RequestPipeline(
            self._http,
            self._permits,
            self._accounting,
            self._time,
            self._gate,
            clock,
            self._changes,
            settings,
        )
        self._status = ServerStatusClient(
            self._pipeline,
            self._accounting,
            self._limits,
            self._time,
            self._gate,
            clock,
            egress=settings.egress,
        )
        self._lists = KillmailLists(self._pipeline, self._limits, self._status, self._time, clock, self._rng)
        self._report = BudgetReport(
            store, self._permits, self._limits, self._time, per_second=settings.requests_per_second
        )
        over = (self._permits, self._accounting, self._limits, self._time, self._gate, self._status)
        self._upkeep = Upkeep(*over, clock, self._changes)

    async def start(self) -> None:
        """Read what was known before the restart. Raises Unavailable."""
        await self._accounting.load()
        await self._limits.load()
        self._time.passed(max(self._status.last_told, self._accounting.last_time))

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
        alongside: Alongside | None = None,
        character_id: int | None = None,
        keep: float = 0.0,
    ) -> ListPage:
        """One page of a list; see `KillmailLists.page`."""
        return await self._lists.page(
            source,
            page,
            token=token,
            etag=etag,
            not_before=not_before,
            cached_for=cached_for,
            alongside=alongside,
            character_id=character_id,
            keep=keep,
        )

    def settling(self) -> AbstractContextManager[Settlement]:
        """What requests have cost and is not written down yet, for a transaction of the block's.

        Left alone it is written a moment later by itself.
        """
        return self._accounting.settling()

    def cache_seconds(self, kind: SourceKind) -> float:
        """How long such a list is cached: the longest that was ever seen, at first what the
        specification says."""
        return self._lists.cache_seconds(kind)

    def esi_now(self) -> float:
        """ESI's clock, never ahead of it."""
        return self._time.not_after()

    def wall(self, esi_time: float) -> float:
        """A moment of ESI's clock on this machine's wall clock, never before it."""
        return self._time.to_wall(esi_time)

    # Details

    async def detail_permits(self, count: int = 1, *, heavy: bool = False) -> list[Permit]:
        """One to `count` permits for details, without waiting for tokens to come back.

        heavy: for sources with much pending; leaves the window's last part to the others. Mostly in memory;
        about once a second a transaction. Raises RateLimited (its `until` tells when), Downtime, Unavailable.
        Permits live a few seconds; use each in `killmail`, or `release` it.
        """
        self._pipeline.raise_if_down(_DETAIL)
        try:
            return await self._permits.details(count, heavy=heavy)
        except RateLimited:
            if self._time.known:
                raise
        # Windows run on ESI's clock: more may have come back than we dare say
        await self._status.learn_time()
        return await self._permits.details(count, heavy=heavy)

    def release(self, permit: Permit) -> None:
        """Give an unused permit back. Safe to call again."""
        permit.release()

    async def changed(self, until: float) -> None:
        """Wait until then (wall clock), or until tokens came back or downtime began or ended."""
        await self._changes.wait(max(0.0, until - self._clock.now()))

    async def killmail(self, permit: Permit, killmail_id: int, killmail_hash: str) -> KillmailResponse:
        """One killmail, not decoded yet: `GET /killmails/{killmail_id}/{killmail_hash}`, without a token.

        Uses up the permit, whatever happens. Raises RateLimited, Downtime (no attempt counts); EsiStatus (422
        for a pair that does not belong together, 404, 5xx), MalformedResponse, NoResponseReceived, NotSent.
        """
        if not is_hash(killmail_hash):
            permit.release()
            raise MalformedResponse("the killmail hash is not 40 lowercase hex digits")
        answer, at = await self._pipeline.ask(
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
        limit; of those the client allows 20 a minute, then RateLimited. Raises the rest of EsiError, too.
        """
        asked_for = set(ids)
        if not 1 <= len(asked_for) <= MOST_NAMES or len(asked_for) != len(ids):
            raise ValueError(f"1 to {MOST_NAMES} different ids")
        answer, at = await self._pipeline.ask(
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
            return [name for name in decoding.decode_names(answer.body) if name.id in asked_for]
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, at=at) from None

    async def affiliations(self, ids: Sequence[int]) -> Affiliations:
        """Corporations of 1 to 1000 different characters: `POST /characters/affiliation`.

        Characters that ESI does not know are left out, and so are those nobody asked for. An error counts
        on the old error limit, see `names`. Raises EsiError.
        """
        asked_for = set(ids)
        if not 1 <= len(asked_for) <= MOST_NAMES or len(asked_for) != len(ids):
            raise ValueError(f"1 to {MOST_NAMES} different characters")
        answer, at = await self._pipeline.ask(
            EsiRequest(
                AFFILIATION,
                "POST",
                "/characters/affiliation",
                resource=AFFILIATION,
                cap=OTHER_CAP,
                headers={"Content-Type": "application/json"},
                body=msgspec.json.encode(list(ids)),
            )
        )
        try:
            found = decoding.decode_affiliations(answer.body)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, at=at) from None
        usual = self._limits.of(AFFILIATION).ttl
        cached_for = cache_end(answer.headers, at, usual).expires_at - at
        return Affiliations([each for each in found if each.character_id in asked_for], max(0.0, cached_for))

    async def corporation_closed(self, corporation_id: int) -> bool:
        """Whether ESI says that a corporation was closed: `GET /corporations/{corporation_id}`.

        An error counts on the old error limit, see `names`. Raises EsiError.
        """
        answer, at = await self._pipeline.ask(
            EsiRequest(
                CORPORATION,
                "GET",
                f"/corporations/{int(corporation_id)}",
                resource=f"corporation/{corporation_id}",
                cap=OTHER_CAP,
            )
        )
        try:
            return decoding.decode_corporation_closed(answer.body)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, at=at) from None

    async def market_prices(self, before_ask: BeforeAsk | None = None) -> MarketPrices:
        """What everything is worth: `GET /markets/prices`, cached for an hour.

        When it may be asked for again is the caller's to remember: it outlives the process. Raises EsiError.
        """
        life = self._limits.of(PRICES).ttl
        answer, at = await self._pipeline.ask(
            EsiRequest(
                PRICES,
                "GET",
                "/markets/prices",
                resource=PRICES,
                cap=PRICES_CAP,
                before_ask=before_ask,
                ttl=life,
            )
        )
        expires = cache_end(answer.headers, at, life).expires_at
        try:
            averages = decoding.decode_prices(answer.body)
        except MalformedResponse as error:
            raise MalformedResponse(error.reason, expires_at=expires, at=at) from None
        return MarketPrices(averages, at, self._time.to_wall(expires + AFTER_EXPIRES))

    async def status(self) -> ServerStatus:
        """EVE's status: `GET /status`, or what it was while that is cached. Also asked during downtime.

        Raises NotBefore (asked shortly before a restart), RateLimited, and the rest of EsiError.
        """
        return await self._status.get()

    def clock_was_set(self) -> None:
        """This machine's clock was set, or it slept: what was known of ESI's has to be confirmed."""
        self._time.doubt()
        self._changes.notify()

    # Watching

    @property
    def downtime(self) -> GateClosed | None:
        """Why and since when (monotonic seconds) only the status is asked for; None when ESI works."""
        return self._gate.closed

    @property
    def error_limited(self) -> bool:
        """Whether ESI's error limit (420) shuts every route just now."""
        return self._accounting.gate(self._accounting.every_gate) > self._time.not_after()

    def blocks(self) -> dict[str, float]:
        """Groups in which ESI asked us to wait (429), and until when on this machine's wall clock."""
        return {group: self._time.to_wall(until) for group, until in self._accounting.blocks().items()}

    @property
    def stats(self) -> EsiStats:
        """Counters for metrics and the watchdog."""
        return self._pipeline.stats

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
        return await self._report.budgets()

    async def eta(self, details: int) -> float:
        """Seconds until so many killmails can have been fetched, if all goes well. Raises Unavailable."""
        return await self._report.eta(details)

    async def run(self) -> None:
        """Until cancelled: settles what is over, and asks for the status in downtime."""
        await self._upkeep.run()

    async def close(self) -> None:
        """Settle what can be settled, and close all connections. What is still in flight stays booked."""
        await self._permits.pool.close()
        try:
            await self._accounting.flush()
        except Unavailable as error:
            log.warning("budgets could not be written; they stay booked", reason=error.message)
        await self._http.close()
