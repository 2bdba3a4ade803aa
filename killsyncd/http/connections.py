"""Connections of a server: counted, with deadlines, and one log line for what is no HTTP.

A connection is unproven until somebody has shown on it that they may ask. Of these there may be only so
many; a newcomer beyond that takes the place of the one that has been idle longest, so that whoever holds
connections open shuts nobody out.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from killsyncd.core.logging import get_sparing_logger

SEND_BUFFER = 64 * 1024
"""Bytes that the kernel holds for a reader (it takes twice that): what is beyond waits in our own count."""

WRITE_BUFFER = 4 * 1024
"""Bytes that a connection holds for its reader before whoever writes must wait."""

_MOST_FILES = 8192

log = get_sparing_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and how long they may take, in seconds.

    unproven: of those on which nobody has shown yet that they may ask. headers: until a request's headers
    are there, from its first byte, or from the beginning. idle: between two requests. send: for the reader to
    take an answer; None: as long as it likes.
    """

    most: int
    unproven: int
    headers: float = 10.0
    idle: float = 75.0
    send: float | None = 20.0


def open_files() -> int:
    """How many files this process may have open, after asking for what the system gives unasked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return most if soft == resource.RLIM_INFINITY else soft


def share_of_files(files: int, most: int) -> int:
    """How many connections the API may have, so that the database, ESI and `ctl` still get files."""
    return max(16, min(most, files - max(128, files // 4)))


class Connections:
    """The connections of one server. `serve` gives what the loop makes them with."""

    def __init__(self, limits: ConnectionLimits, name: str) -> None:
        self.limits = limits
        self.name = name
        # In the order in which they came.
        self._unproven: dict[Connection, None] = {}
        self._proven: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._unproven) + len(self._proven)

    def serve(self, server: web.Server) -> Callable[[], Connection]:
        """A factory of protocols, for `loop.create_server`."""
        loop = asyncio.get_running_loop()
        return lambda: Connection(self, server, loop)

    def admit(self, one: Connection) -> bool:
        """Count a newcomer, if need be in the place of another."""
        full = len(self._unproven) >= self.limits.unproven or len(self) >= self.limits.most
        if full and not self._make_room():
            return False
        self._unproven[one] = None
        return True

    def prove(self, request: web.Request) -> bool:
        """Somebody has shown on this connection that they may ask; False: there are too many already."""
        one = request.protocol
        if not isinstance(one, Connection) or one in self._proven:
            return True
        if len(self._proven) >= self.limits.most - self.limits.unproven:
            return False
        if self._unproven.pop(one, False) is None:
            self._proven[one] = None
        return True

    def forget(self, one: Connection) -> None:
        """It is gone."""
        self._unproven.pop(one, None)
        self._proven.pop(one, None)

    def _make_room(self) -> bool:
        """Close the unproven connection that matters least: an idle one, else the oldest that is answered."""
        victim = next((each for each in self._unproven if each.idle), None)
        victim = victim or next(iter(self._unproven), None)
        if victim is None:
            victim = next((each for each in self._proven if each.idle), None)
        if victim is None:
            return False
        victim.cut()
        self.forget(victim)
        return True


def _nobody() -> web.Response:
    """An answer where there is nobody to read it."""
    response = web.Response(status=400)
    response.force_close()
    return response


class Connection(RequestHandler):
    """One connection: aiohttp's, with deadlines and quiet errors."""

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=connections.limits.idle,
            lingering_time=2.0,
        )
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._admitted = False

    @property
    def idle(self) -> bool:
        """Whether no request is under way on it."""
        return self._current_request is None and not self._messages

    def cut(self) -> None:
        """Close it at once, whatever its reader has not taken."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by name
        if not self._connections.admit(self):
            transport.abort()
            return
        self._admitted = True
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._connections.forget(self)
        self._headers_came()
        if self._admitted:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came: whole headers end the wait for them, the first byte of others begins one."""
        if not self._admitted:
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count > before or self._upgraded:
            self._headers_came()
        elif data and self.idle and self._deadline is None:
            self._expect_headers()

    def _expect_headers(self) -> None:
        self._deadline = self._loop.call_later(self._connections.limits.headers, self._too_late)

    def _headers_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.idle:
            log.debug("connection closed", server=self._connections.name, reason="its headers did not come")
            self.cut()

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> Any:
        """Send an answer; whoever does not take it in time is cut off."""
        try:
            async with asyncio.timeout(self._connections.limits.send):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            log.info("connection closed", server=self._connections.name, reason="its reader does not read")
            self.cut()
            return resp, True

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP is one line, without a byte of it; who hangs up, or is cut off, is no failure."""
        if isinstance(exc, ConnectionError):
            log.debug("connection closed", server=self._connections.name, reason="its client is gone")
            # Not raised: aiohttp's own loop would keep the error, and all that the error knows, in a circle.
            return _nobody()
        if status < 500:
            log.info(
                "request refused",
                server=self._connections.name,
                reason="it is no HTTP",
                kind=type(exc).__name__,
                peer=request.remote or "",
            )
        else:
            log.exception("a request failed", exc, server=self._connections.name)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        text = "This is not HTTP as it should be.\n" if status < 500 else "Something went wrong.\n"
        response = web.Response(status=status, text=text)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp's own words show what came in."""
        error = kw.get("exc_info")
        kind = type(error).__name__ if isinstance(error, BaseException) else ""
        log.warning("a connection broke off", server=self._connections.name, kind=kind)
