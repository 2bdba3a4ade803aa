"""Answers onto the wire, whole or broken on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from .answer import Response
from .clock import SimClock
from .faults import Fault

_CHUNK = 256 * 1024


def whole(answer: Response, clock: SimClock, extra: Mapping[str, str] | None = None) -> web.Response:
    """An answer as it should be."""
    headers = answer.headers
    if extra:
        headers.update(extra)
    headers.setdefault("Date", clock.http_now())
    if answer.status != 304:
        headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)


async def broken(
    request: web.BaseRequest, answer: Response, fault: Fault, closing: asyncio.Event, clock: SimClock
) -> web.StreamResponse:
    """An answer that ends, or stands still, in the middle."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.headers.setdefault("Date", clock.http_now())
    response.headers["Content-Type"] = answer.content_type
    response.content_length = max(2, len(answer.body))
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        if fault.kind == "stall":
            await silence(request, fault.seconds or 3600.0, closing)
    cut(request)
    return response


async def large(request: web.BaseRequest, answer: Response, clock: SimClock) -> web.StreamResponse:
    """A body of megabytes, in pieces: the client may hang up in between."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.headers.setdefault("Date", clock.http_now())
    response.headers["Content-Type"] = answer.content_type
    response.content_length = len(answer.body)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for start in range(0, len(answer.body), _CHUNK):
            await response.write(answer.body[start : start + _CHUNK])
        await response.write_eof()
    return response


def listening(request: web.BaseRequest) -> bool:
    """Whether the client is still there to hear the answer."""
    return request.transport is not None and not request.transport.is_closing()


async def silence(request: web.BaseRequest, seconds: float, closing: asyncio.Event) -> None:
    """Say nothing until the time is over, the client has gone, or the simulator stops."""
    deadline = asyncio.get_running_loop().time() + seconds
    while listening(request):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(0.25, left)):
                await closing.wait()
            return


def cut(request: web.BaseRequest, *, reset: bool = False) -> None:
    """Close the connection under the client; `reset` sends RST in place of FIN."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError, AttributeError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def nothing() -> web.StreamResponse:
    """What a handler returns whose connection is gone."""
    return web.Response(status=503)
