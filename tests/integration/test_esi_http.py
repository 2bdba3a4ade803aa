"""HTTP to ESI against a server that says whatever a test wants, byte by byte."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.esi.http import BrokenResponse, ConnectFailed, EsiHttp, NoResponse

CAP = 1024 * 1024


@asynccontextmanager
async def saying(*answers: bytes, heard: list[bytes] | None = None) -> AsyncIterator[EsiHttp]:
    """A server that says these, one a connection, and then closes it."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        try:
            writer.write(left.pop(0))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = EsiHttp(
        base_url=f"http://127.0.0.1:{port}/",
        user_agent="killsyncd/1 (you@example.com; +https://example.com)",
        compatibility_date="2026-08-18",
        timeout=5.0,
        max_connections=2,
        clock=SystemClock(),
    )
    try:
        yield wire
    finally:
        await wire.close()
        server.close()
        await server.wait_closed()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close"]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_what_every_request_carries() -> None:
    heard: list[bytes] = []
    async with saying(answer(b"{}"), heard=heard) as wire:
        found = await wire.request("GET", "/status", cap=CAP)
    assert (found.status, found.body, found.flaw) == (200, b"{}", BrokenResponse.NONE)
    assert found.sent <= found.received
    line, *headers = heard[0].decode().split("\r\n")
    assert line == "GET /status HTTP/1.1"
    assert "X-Compatibility-Date: 2026-08-18" in headers
    assert "User-Agent: killsyncd/1 (you@example.com; +https://example.com)" in headers
    assert "Accept-Encoding: gzip" in headers


async def test_gzip_is_unpacked_and_a_bomb_is_not() -> None:
    good, bomb = gzip.compress(b'{"a": 1}'), gzip.compress(bytes(64 * CAP))
    packed = "Content-Encoding: gzip"
    async with saying(
        answer(good, packed), answer(bomb, packed), answer(good[:-9], packed), answer(b"{}", packed)
    ) as wire:
        assert (await wire.request("GET", "/", cap=CAP)).body == b'{"a": 1}'
        found = [await wire.request("GET", "/", cap=CAP) for _ in range(3)]
    assert [each.flaw for each in found] == [
        BrokenResponse.LARGE,
        BrokenResponse.SHORT,
        BrokenResponse.CODING,
    ]
    assert all(each.body == b"" and each.broken for each in found)


async def test_too_long_with_and_without_saying_so() -> None:
    long = bytes(CAP + 1)
    async with saying(answer(long), answer(long, length=False)) as wire:
        for _ in range(2):
            found = await wire.request("GET", "/", cap=CAP)
            assert (found.flaw, found.body) == (BrokenResponse.LARGE, b"")


async def test_an_error_is_cut_not_refused() -> None:
    page = b"<html>" + bytes(CAP)
    async with saying(answer(page, status="502 Bad Gateway")) as wire:
        found = await wire.request("GET", "/", cap=CAP)
    assert (found.status, found.flaw) == (502, BrokenResponse.NONE)
    assert len(found.body) < CAP


async def test_an_encoding_nobody_asked_for() -> None:
    async with saying(answer(b"{}", "Content-Encoding: br")) as wire:
        assert (await wire.request("GET", "/", cap=CAP)).flaw is BrokenResponse.CODING


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    heard: list[bytes] = []
    moved = answer(b"", "Location: http://127.0.0.1:1/", "Set-Cookie: a=b", status="302 Found")
    async with saying(moved, answer(b"{}"), heard=heard) as wire:
        assert (await wire.request("GET", "/", cap=CAP)).status == 302
        await wire.request("GET", "/", cap=CAP)
    assert b"Cookie" not in heard[1]


@pytest.mark.parametrize(
    ("said", "early"),
    [
        (b"", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n", None),
    ],
)
async def test_no_http_at_all(said: bytes, early: bool | None) -> None:
    async with saying(said) as wire:
        with pytest.raises(NoResponse) as caught:
            await wire.request("GET", "/killmails/1/" + "0" * 40, cap=CAP)
    assert early is None or caught.value.early is early
    assert "0" * 40 not in str(caught.value)


async def test_nobody_listens_and_after_closing_nobody_asks() -> None:
    async with saying() as wire:
        await wire.close()
        with pytest.raises(ConnectFailed, match="stopping"):
            await wire.request("GET", "/", cap=CAP)
    dead = EsiHttp(
        base_url="http://127.0.0.1:1",
        user_agent="x",
        compatibility_date="2026-08-18",
        timeout=5.0,
        max_connections=1,
        clock=SystemClock(),
    )
    with pytest.raises(ConnectFailed) as caught:
        await dead.request("GET", "/killmails/1/" + "0" * 40, cap=CAP)
    assert "0" * 40 not in str(caught.value)
    await dead.close()
