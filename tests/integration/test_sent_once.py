"""Every client of ours sends a request once, also where its connection is lost: no library sends it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from killsyncd.auth.grant import SsoUnavailable
from killsyncd.auth.sso.http import SsoHttp
from killsyncd.core import outbound
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import Unavailable
from killsyncd.esi.http import EsiHttp, NoResponse
from killsyncd.webhooks.http import WebhookSender

Ask = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def dropping(heard: list[bytes]) -> AsyncIterator[str]:
    """A server that answers the first request of a connection, and cuts it at the second."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
            heard.append(await reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def esi(url: str, stack: AsyncExitStack) -> Ask:
    wire = EsiHttp(
        base_url=url,
        user_agent="killsyncd/1",
        compatibility_date="2026-08-18",
        timeout=5.0,
        max_connections=1,
        clock=SystemClock(),
    )
    stack.push_async_callback(wire.close)
    return lambda path: wire.request("GET", path, cap=1024)


async def other(url: str, stack: AsyncExitStack) -> Ask:
    """zKillboard, archives, static data, prices' history."""
    session = await stack.enter_async_context(outbound.outbound_session("killsyncd/1", seconds=5.0))

    async def ask(path: str) -> bytes:
        async with outbound.get(session, url + path) as answer:
            return await answer.read()

    return ask


async def sso(url: str, stack: AsyncExitStack) -> Ask:
    session = await stack.enter_async_context(outbound.outbound_session("killsyncd/1", seconds=5.0))
    http = SsoHttp(session, user_agent="killsyncd/1", clock=SystemClock(), timeout=5.0)
    return lambda path: http.get(url + path)


@pytest.mark.parametrize(
    ("client", "error"), [(esi, NoResponse), (other, Unavailable), (sso, SsoUnavailable)]
)
async def test_a_request_on_a_connection_that_is_lost(
    client: Callable[[str, AsyncExitStack], Awaitable[Ask]], error: type[Exception]
) -> None:
    heard: list[bytes] = []
    async with dropping(heard) as url, AsyncExitStack() as stack:
        ask = await client(url, stack)
        await ask("/first")
        with pytest.raises(error):
            await ask("/second")
    assert [each.split()[1] for each in heard] == [b"/first", b"/second"]


async def test_a_webhook_has_a_connection_for_each_request() -> None:
    heard: list[bytes] = []
    async with dropping(heard) as url:
        sender = WebhookSender()
        for path in ("/first", "/second"):
            assert (await sender.post(url + path, b"{}", {})).status == 200
        await sender.close()
    assert [each.split()[1] for each in heard] == [b"/first", b"/second"]
