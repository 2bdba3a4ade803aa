"""One request to ESI, from its turn to its settled answer: pace, gates, tokens, and what to make of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.core.model import WaitsFor
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.caching import cached_until
from killsyncd.esi.decoding import decode_error, read_date
from killsyncd.esi.downtime import DowntimeGate
from killsyncd.esi.http import BrokenResponse, ConnectFailed, EsiHttp, HttpResponse, NoResponse
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.permits import Permit, PermitOffice
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.windows import Pacer
from killsyncd.esi.responses import (
    Downtime,
    EsiError,
    EsiStatus,
    MalformedResponse,
    NoResponseReceived,
    NotSent,
    RateLimited,
    ResponseTruncated,
    TooLarge,
)
from killsyncd.esi.routes import DETAIL
from killsyncd.esi.settings import EsiSettings
from killsyncd.esi.signal import Condition

log = get_logger(__name__)

GATEWAY = frozenset({502, 503, 504})

BeforeAsk = Callable[[float], Awaitable[None]]
"""Told ESI's time right before a request is sent, to write it down. What it raises stops the request."""


@dataclass(slots=True)
class EsiStats:
    """Counters for metrics. Groups are ESI's rate-limit groups, or the route's name where there is none.

    requests: by (group, `2xx`|`3xx`|`4xx`|`420`|`429`|`5xx`|`unanswered`|`not_sent`). refused: asked of
    the client and not sent, by (group, reason). in_flight: requests sent and not answered. unheard: requests
    without an answer since the last one that had one. progress: monotonic seconds of the last answer or
    refusal.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_flight: int = 0
    unheard: int = 0
    progress: float = 0.0


@dataclass(slots=True)
class EsiRequest:
    """resource: what counts as one thing for the downtime gate. cap: bytes of the body. ttl: seconds that an
    answer may be cached, for when there is none; 0 where nothing forbids to ask again at once.
    before_ask: told before it is sent. alongside: written in the transaction that reserves its tokens.
    probe: the status, which may be asked while the gate is closed. again: a single lost connection is worth
    one more try at once. keep: the part of the bucket's limit (0..1) that it must leave for others."""

    route: str
    method: str
    path: str = field(repr=False)  # holds a killmail's hash
    resource: str
    cap: int
    headers: Mapping[str, str] | None = field(default=None, repr=False)  # hold a token
    body: bytes | None = field(default=None, repr=False)
    character_id: int | None = None
    before_ask: BeforeAsk | None = None
    alongside: Alongside | None = field(default=None, repr=False)
    ttl: float = 0.0
    probe: bool = False
    again: bool = False
    keep: float = 0.0


class RequestPipeline:
    """Asks one request at a time for many callers."""

    def __init__(
        self,
        http: EsiHttp,
        permits: PermitOffice,
        accounting: RateLimitAccounting,
        time: ServerTime,
        gate: DowntimeGate,
        clock: Clock,
        changes: Condition,
        settings: EsiSettings,
    ) -> None:
        self._http = http
        self._permits = permits
        self._accounting = accounting
        self._time = time
        self._gate = gate
        self._clock = clock
        self._changes = changes
        self._pacer = Pacer(settings.requests_per_second)
        self._slots = asyncio.Semaphore(settings.max_connections)
        self.stats = EsiStats()
        self._details_flying = 0
        self._lost_in_a_row = 0
        """Connections lost under requests that may be sent again, since the last one that was answered."""

    async def ask(self, request: EsiRequest, permit: Permit | None = None) -> tuple[HttpResponse, float]:
        """A usable answer (2xx or 304, body whole) and ESI's time of it. permit: for details.

        Raises EsiError in all its kinds, and whatever before_ask raises. The permit is used up either way.
        """
        try:
            self.raise_if_down(request)
            await self._slots.acquire()
            try:
                delay = self._pacer.delay(self._clock.monotonic())
                if delay > 0:
                    await self._clock.sleep(delay)
                self.raise_if_down(request, consume=True)
                if permit is None or not self._still_good(permit):
                    permit = await self._fresh(request, permit)
                # What is known of ESI's clock gets narrower: never before what was written down as asked.
                asked_at = max(self._time.not_before(), permit.chunk.spent_at)
                self._check(request, permit, asked_at)
                if request.before_ask is not None:
                    await request.before_ask(asked_at)
                return await self._send(request, permit, asked_at)
            finally:
                self._slots.release()
        except (Downtime, RateLimited) as error:
            self._count_refusal(request, error)
            raise
        finally:
            if permit is not None and permit.open:
                permit.release()

    def _check(self, request: EsiRequest, permit: Permit, asked_at: float) -> None:
        """Raises RateLimited where nothing may be sent by this permit any more."""
        try:
            self._permits.check(request.route, permit.chunk.bucket)
            self._permits.check_left(permit, self._details_flying)
        except RateLimited as error:
            if request.alongside is not None:
                error.at = asked_at  # it is written down as asked, and was not
            raise

    def raise_if_down(self, request: EsiRequest, *, consume: bool = False) -> None:
        """Raises Downtime while the gate is closed. consume: use up the single request let through."""
        if self._gate.closed is None or request.probe:
            return
        now = self._clock.monotonic()
        may = self._gate.let_one_through(now) if consume else self._gate.trial_due(now)
        if not may:
            raise self.downtime()

    def downtime(self, at: float | None = None) -> Downtime:
        """The gate is closed: when to look again."""
        reason = self._gate.closed.reason if self._gate.closed is not None else "EVE is down"
        pause = max(1.0, self._gate.probe_at - self._clock.monotonic())
        return Downtime(
            f"ESI is down: {reason}", self._clock.now() + pause, "nothing to do: it goes on by itself", at=at
        )

    def _still_good(self, permit: Permit) -> bool:
        """Whether its reservation still covers it; the wait for a turn may have taken long."""
        if not permit.open:
            raise ValueError("a permit is good for one request")
        return self._clock.monotonic() <= permit.chunk.send_by

    async def _fresh(self, request: EsiRequest, permit: Permit | None) -> Permit:
        """Another permit in place of one that does not cover the request any more, or of none."""
        if permit is not None:
            permit.release()
        if request.route == DETAIL:
            return (await self._permits.details(1, heavy=permit.heavy if permit is not None else False))[0]
        return await self._permits.single(
            request.route, request.character_id, request.alongside, keep=request.keep
        )

    async def _send(
        self, request: EsiRequest, permit: Permit, asked_at: float, *, first: bool = True
    ) -> tuple[HttpResponse, float]:
        group = permit.chunk.bucket.group
        detail = int(request.route == DETAIL)
        self.stats.in_flight += 1
        self._details_flying += detail
        try:
            answer = await self._http.request(
                request.method,
                request.path,
                cap=request.cap,
                headers=request.headers,
                body=request.body,
            )
        except ConnectFailed as error:
            permit.release()
            self._count(group, "not_sent")
            raise self._gateway_failure(
                request, NotSent(f"ESI cannot be reached: {error}", at=asked_at)
            ) from None
        except NoResponse as error:
            self._permits.unanswered(permit)
            self._count(group, "unanswered")
            if error.early and request.again:
                # One alone was a kept connection that ESI had closed. Where one follows another, each costs
                # a request, and a second try would only double that.
                self._lost_in_a_row += 1
                if first and self._lost_in_a_row == 1 and (again := await self._another(permit)) is not None:
                    return await self._send(request, again, asked_at, first=False)
            expires_at = self._time.not_before() + request.ttl if request.ttl else None
            raise self._gateway_failure(
                request, NoResponseReceived(f"ESI did not answer: {error}", expires_at=expires_at)
            ) from None
        except BaseException:
            self._permits.unanswered(permit)  # cancelled: it may be under way
            raise
        finally:
            self.stats.in_flight -= 1
            self._details_flying -= detail
        if request.again:
            self._lost_in_a_row = 0
        return await self._hear(request, permit, answer, asked_at)

    async def _another(self, permit: Permit) -> Permit | None:
        try:
            return (await self._permits.details(1, heavy=permit.heavy))[0]
        except (RateLimited, Unavailable):
            return None

    async def _hear(
        self, request: EsiRequest, permit: Permit, answer: HttpResponse, asked_at: float
    ) -> tuple[HttpResponse, float]:
        """Settle, learn, and decide what kind of answer it is."""
        date = read_date(answer.headers)
        if date is not None:
            self._time.observe(date, answer.sent, answer.received)
        self._permits.answered(permit, answer)
        status = answer.status
        bucket = permit.chunk.bucket
        self._count(bucket.group, str(status) if status in (420, 429) else f"{status // 100}xx")
        at = max(asked_at, self._time.not_before())
        if status in (420, 429):
            await self._write_down()
            raise self._told_to_wait(permit, status, at)
        if status in GATEWAY:
            raise self._gateway_failure(request, EsiStatus(status, decode_error(answer.body), at=at))
        if not request.probe and self._gate.success(request.resource, answer.sent):
            log.info("ESI is back: a request was answered")
            self._changes.notify()
        if status < 300 or status == 304:
            if answer.flaw is not BrokenResponse.NONE:
                raise _flawed(answer, cached_until(answer.headers, at), at)
            return answer, at
        raise EsiStatus(status, decode_error(answer.body), expires_at=cached_until(answer.headers, at), at=at)

    def _told_to_wait(self, permit: Permit, status: int, at: float) -> RateLimited:
        try:
            self._permits.check(permit.route, permit.chunk.bucket)
        except RateLimited as error:
            log.warning("ESI asked us to wait", status=status, group=error.group)
            error.at = at
            return error
        group = permit.chunk.bucket.group  # a block that was over at once
        return RateLimited(
            f"ESI answered {status}: {group}",
            self._clock.now() + 1.0,
            group=group,
            at=at,
            waits_for=WaitsFor.BLOCKED,
        )

    def _gateway_failure(self, request: EsiRequest, error: EsiError) -> EsiError:
        """A gateway error, or no answer at all: perhaps downtime."""
        if request.probe:
            return error
        was_open = self._gate.closed is None
        # The kind of failure only: ESI's own words could differ each time.
        why = f"answers of {error.status}" if isinstance(error, EsiStatus) else error.message
        if not self._gate.failure(request.resource, why, self._clock.monotonic(), self._time.not_after()):
            return error
        if was_open and self._gate.closed is not None:
            log.warning("ESI is down: asking for its status only", reason=self._gate.closed.reason)
            self._changes.notify()
        down = self.downtime(error.at)
        down.expires_at = error.expires_at
        return down

    async def _write_down(self) -> None:
        """A block must survive a crash; without the database it holds in memory."""
        with contextlib.suppress(Unavailable):
            await self._accounting.flush()

    def _count(self, group: str, outcome: str) -> None:
        self.stats.requests[group, outcome] += 1
        self.stats.unheard = self.stats.unheard + 1 if outcome in ("unanswered", "not_sent") else 0
        self.stats.progress = self._clock.monotonic()

    def _count_refusal(self, request: EsiRequest, error: EsiError) -> None:
        reason = "downtime" if isinstance(error, Downtime) else "limit"
        self.stats.refused[self._permits.bucket(request.route, None).group, reason] += 1
        self.stats.progress = self._clock.monotonic()


def _flawed(answer: HttpResponse, expires_at: float | None, at: float) -> EsiError:
    """A good status with a body that can't be used."""
    if answer.flaw is BrokenResponse.SHORT:
        return ResponseTruncated(f"ESI's answer broke off: {answer.broken}", expires_at=expires_at, at=at)
    kind = TooLarge if answer.flaw is BrokenResponse.LARGE else MalformedResponse
    return kind(answer.broken, expires_at=expires_at, at=at)
