"""The simulator: SSO, ESI and the levers of `/_sim/` on one port."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from killsyncd.core.errors import BadInput, NotFound, Unavailable

from . import wire
from .answer import Response, RoutedRequest, error
from .clock import SimClock, TimeSource
from .config import SimulatorConfig
from .everef import everef_call
from .exports import export_call
from .faults import Fault, disturbed
from .grants import SimulatedGrant
from .levers import Levers
from .operations import RemoteOperations
from .pages import index_page
from .routes import esi_call
from .sso import sso_call
from .state import SimulatorState
from .zkillboard import zkillboard_call

logger = logging.getLogger(__name__)

_BIG = 1_000_000
_PROCESSED = frozenset(
    {"truncate", "malformed", "ids_as_strings", "wrong_type", "body", "headers", "big", "bomb", "stall"}
    | {"entry", "capitals", "unchanged", "clock"}
)
_ON_THE_WIRE = frozenset({"truncate", "stall"})


class Simulator(SimulatorState, Levers):
    """EVE Online on one port of this machine, in the caller's event loop.

    An async context manager. The levers (`add_pilots`, `script`, `breaches`...) are plain methods, to be
    called from the loop's thread. Raises Unavailable when the port is taken.
    """

    def __init__(self, config: SimulatorConfig | None = None, clock: TimeSource | None = None) -> None:
        super().__init__(config or SimulatorConfig(), SimClock(clock))
        self._operations = RemoteOperations(self)
        self._closing = asyncio.Event()
        self._answered = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._growth: asyncio.Task[None] | None = None

    def perform(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        return self._operations.perform(operation, arguments)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises Unavailable when the port is taken."""
        server = web.Server(self._handle, access_log=None)
        # The runner waits so long for every task of the loop that is younger than it, the caller's too.
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=1024)
        try:
            await site.start()
        except OSError as problem:
            await self._runner.cleanup()
            raise Unavailable(
                f"the simulator cannot listen on {self.config.host}:{self.config.port}: {problem.strerror}",
                "Give another --port, or 0 for any free one.",
            ) from problem
        self.port = self._runner.addresses[0][1]
        self.sso.base_url = self.base_url
        self.grants.issuer = self.config.issuer or self.base_url
        self._growth = asyncio.create_task(self._grow(), name="simulator growth")

    async def stop(self) -> None:
        """Close the port and end what hangs."""
        self._closing.set()
        self.targets.closing.set()
        if self._growth is not None:
            self._growth.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._growth
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_until(self, holds: Any, within: float = 30.0) -> None:
        """Return as soon as `holds()` is true after some answer. Raises TimeoutError after `within`
        seconds."""
        async with asyncio.timeout(within):
            while not holds():
                self._answered.clear()
                await self._answered.wait()

    async def _grow(self) -> None:
        """New mails while it runs, at about `rate` a minute."""
        rng = random.Random(self.config.seed + 1)
        while True:
            pause = 60.0 / self.rate * rng.uniform(0.5, 1.5) if self.rate > 0 else None
            self.rate_changed.clear()
            # Not wait_for: up to Python 3.11 it may swallow a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.rate_changed.wait()
                continue
            if self.world.pilots:
                self.world.fight(late=rng.random() < self.late, age=rng.uniform(0, 60))

    # Requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_sim"):
            return await self._admin(request, path)
        if path == "/":
            return wire.whole(index_page(self.base_url), self.clock)
        if self.targets.takes(path):
            return await self._ask_webhooks(request)
        ask = self._ask_sso
        call = sso_call(path)
        if call is None:
            call, ask = export_call(request.method, path), self._ask_files
        if call is None:
            call, ask = zkillboard_call(path), self._ask_zkillboard
        if call is None:
            call, ask = everef_call(path), self._ask_everef
        if call is None:
            call, ask = esi_call(request.method, path), self._ask_esi
        self.ledger.enter(self.clock.monotonic())
        status = 0
        try:
            response = await ask(request, call, path)
            status = response.status if wire.listening(request) else 0
            return response
        except ConnectionResetError:
            raise  # whoever asked went away while the answer was on its way
        except Exception as problem:
            # A fault of the simulator itself must not pass for one of EVE's.
            logger.exception("the simulator failed on %s", call.route)
            self.ledger.crashes.append(f"{call.route}: {problem!r}")
            raise
        finally:
            self.ledger.leave(call.route, status)
            self._answered.set()

    async def _ask_webhooks(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self.targets.handle(request)
        finally:
            self._answered.set()

    async def _ask_sso(self, request: web.BaseRequest, call: RoutedRequest, path: str) -> web.StreamResponse:
        grant, token = None, ""
        if call.route == "sso.token" and request.method == "POST":
            form = await request.post()
            token = str(form.get("refresh_token", ""))
            if (grant := self.grants.find(token)) is not None:
                call.character = grant.character_id
            elif (code := self.grants.codes.get(str(form.get("code", "")))) is not None:
                call.character = code.character_id
        if grant is None:
            return await self._disturb_sso(request, call, path, grant, token)
        refreshing = self.grants.refreshing
        refreshing[grant.character_id] += 1
        try:
            if refreshing[grant.character_id] > 1:
                self.ledger.breach("concurrent_refresh", call.route, grant.character_id)
            return await self._disturb_sso(request, call, path, grant, token)
        finally:
            refreshing[grant.character_id] -= 1

    async def _disturb_sso(
        self,
        request: web.BaseRequest,
        call: RoutedRequest,
        path: str,
        grant: SimulatedGrant | None,
        token: str,
    ) -> web.StreamResponse:
        down = self._down(sso=True)
        fault = await self._strike(call, path)
        answer: Response | None = down
        if answer is None and (fault is None or fault.processed or fault.kind in _PROCESSED):
            answer = await self.sso.answer(request, call)
            if grant is not None and not (_reaches(fault) and wire.listening(request)):
                self.grants.lost(grant, token)
        return await self._send(request, answer, fault if down is None else None)

    async def _ask_files(
        self, request: web.BaseRequest, call: RoutedRequest, path: str
    ) -> web.StreamResponse:
        """Files of CCP and of third parties: no limits, no downtime, but they break like everything else."""
        fault = await self._strike(call, path)
        answer: Response | None = None
        if fault is None or fault.processed or fault.kind in _PROCESSED:
            answer = self.files.answer(call, request.headers)
        return await self._send(request, answer, fault)

    async def _ask_everef(
        self, request: web.BaseRequest, call: RoutedRequest, path: str
    ) -> web.StreamResponse:
        fault = await self._strike(call, path)
        answer: Response | None = None
        if fault is None or fault.processed or fault.kind in _PROCESSED:
            answer = self.archive.answer(call, request.headers)
        return await self._send(request, answer, fault)

    async def _ask_zkillboard(
        self, request: web.BaseRequest, call: RoutedRequest, path: str
    ) -> web.StreamResponse:
        board = self.board
        refused = board.look_at(call, path, request.query_string, request.headers)
        if refused is not None:
            return wire.whole(refused, self.clock)
        fault = await self._strike(call, path)
        answer: Response | None = None
        if fault is None or fault.processed or fault.kind in _PROCESSED:
            answer = board.answer(call, path)
            if fault is None and call.route == "zkb.list":
                board.told(path)
        if fault is not None:
            return await self._send(request, answer, fault)
        assert answer is not None
        if answer.status == 200:
            answer.body, answer.headers["Content-Encoding"] = gzip.compress(answer.body, 5), "gzip"
        return wire.whole(answer, self.clock)

    async def _ask_esi(self, request: web.BaseRequest, call: RoutedRequest, path: str) -> web.StreamResponse:
        headers, address = request.headers, request.remote or ""
        if call.route == "esi.killmail":
            self.ledger.details[call.subject] += 1
        self.gate.look_at(call, path, headers)
        if (refused := self.gate.blocked(call, address)) is not None:
            return wire.whole(refused, self.clock)
        claims, refused = self.gate.authenticate(call, headers)
        user = address if claims is None else f"{claims['azp']}:{claims['sub'].rpartition(':')[2]}"
        counted = call.group is not None and self.config.limits
        if counted and (full := self.gate.admit(call, user)) is not None:
            return wire.whole(full, self.clock)
        status = 0
        page = request.query.get("page", "1")
        call.page = int(page) if page.isdecimal() else 0  # before a fault looks at it
        try:
            fault = await self._strike(call, path)
            answer = self._down() or refused
            if answer is not None:
                fault = None
                if answer is refused and answer.status == 403 and "killmails" in call.route:
                    self.ledger.refusals[f"{call.subject}/{call.character}"] += 1
            elif fault is None or fault.processed or fault.kind in _PROCESSED:
                answer = await self._ask_world(
                    request, call, user, claims, told=_reaches(fault) and wire.listening(request)
                )
            if answer is None and fault is not None and fault.kind in ("reset", "hang"):
                return await self._send(request, None, fault)
            if fault is not None:
                answer = disturbed(fault, answer, self.clock, headers.get("If-None-Match"))
            assert answer is not None
            status = answer.status
        finally:
            # Charged when the price is known, on every way out: a client that hung up has spent it too.
            limits = self.gate.settle(call, user, address, status)
        if fault is not None:
            self._after_fault(call, user, address, fault, answer)
            if not fault.bare:
                answer.headers = {**limits, **answer.headers}
            return await self._send(request, answer, fault, made=True)
        return wire.whole(answer, self.clock, limits)

    async def _ask_world(
        self,
        request: web.BaseRequest,
        call: RoutedRequest,
        user: str,
        claims: Mapping[str, Any] | None,
        *,
        told: bool,
    ) -> Response:
        """The answer of a world in order; counts which lists were asked for."""
        ledger = self.ledger
        if call.route == "esi.killmail":
            answer = self.esi.answer(call, request.headers, b"", claims)
            if answer.status == 200 and told:
                ledger.details_ok[call.subject] += 1
                if ledger.details_ok[call.subject] > 1:
                    ledger.refetches += 1
            return answer
        if call.page < 1:
            return error(400, "page must be a positive integer")
        body = await request.read() if request.method == "POST" else b""
        if call.scope is not None and call.route != "esi.roles":
            ledger.lists[call.subject] += 1
            self.gate.too_early(call, user)
        answer = self.esi.answer(call, request.headers, body, claims)
        if answer.fresh_until is not None and told:
            self.gate.tell(call, user, answer.fresh_until)
        return answer

    def _down(self, *, sso: bool = False) -> Response | None:
        """The answer of the daily downtime."""
        if self.outage is None:
            return None
        status, ends, with_sso = self.outage
        if self.clock.monotonic() >= ends:
            self.outage = None
            return None
        if sso and not with_sso:
            return None
        return error(status, "The datasource tranquility is temporarily unavailable")

    async def _strike(self, call: RoutedRequest, path: str) -> Fault | None:
        """Wait as long as latency says; returns the fault that does more than that."""
        pause, serious = self.latency, None
        if self.trouble:
            for fault in self.trouble.strike(call, path, self.clock.monotonic()):
                self.ledger.fault_hits += 1
                if fault.kind == "latency":
                    pause += fault.seconds
                else:
                    serious = fault
        if pause > 0:
            await asyncio.sleep(pause)
        return serious

    def _after_fault(
        self, call: RoutedRequest, user: str, address: str, fault: Fault, answer: Response
    ) -> None:
        """What a scripted refusal makes binding for the client."""
        if answer.status == 429 and (wait := answer.headers.get("Retry-After", "")).isdecimal():
            self.gate.retry_after(call, user, int(wait))
        if answer.status == 420 and not fault.bare:
            reset = answer.headers.get("X-ESI-Error-Limit-Reset", "")
            seconds = float(reset) if reset.isdecimal() else self.config.error_window
            errors, now = self.gate.errors_of(address), self.clock.monotonic()
            errors.block(now, seconds)
            answer.headers = {**errors.headers(now), **answer.headers}

    async def _send(
        self, request: web.BaseRequest, answer: Response | None, fault: Fault | None, *, made: bool = False
    ) -> web.StreamResponse:
        """Onto the wire, with what the fault does to it there."""
        if fault is not None and fault.kind in ("reset", "hang"):
            if fault.kind == "hang":
                await wire.silence(request, fault.seconds or 3600.0, self._closing)
            wire.cut(request, reset=fault.kind == "reset")
            return wire.nothing()
        if fault is not None and not made:
            answer = disturbed(fault, answer, self.clock)
        assert answer is not None
        if fault is not None and fault.kind in _ON_THE_WIRE:
            return await wire.broken(request, answer, fault, self._closing, self.clock)
        if len(answer.body) > _BIG:
            return await wire.large(request, answer, self.clock)
        return wire.whole(answer, self.clock)

    # Levers from outside

    async def _admin(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        operation = path.removeprefix("/_sim").strip("/")
        body = await request.read()
        try:
            arguments = orjson.loads(body) if body else dict(request.query)
            if not isinstance(arguments, dict):
                raise BadInput("the arguments of an operation are a JSON object", "Send {} for none.")
            answer = Response(
                200, orjson.dumps(self.perform(operation, arguments), option=orjson.OPT_NON_STR_KEYS)
            )
        except NotFound as problem:
            answer = error(404, str(problem))
        except (BadInput, ValueError) as problem:
            answer = error(400, str(problem))
        return wire.whole(answer, self.clock)


def _reaches(fault: Fault | None) -> bool:
    """Whether the client gets to read the right answer, and so is bound by what it says."""
    return fault is None or (
        fault.kind in ("headers", "wrong_type", "clock") and "Expires" not in fault.headers
    )
