"""Connections: how many, for how long, and what is no HTTP."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from killsyncd.api.graphql.limits import Limits
from killsyncd.http.connections import share_of_files
from tests.integration.api.conftest import TOKEN, Running, Start, raw
from tests.integration.api.test_sockets import PROTOCOL

BEARER = {"Authorization": f"Bearer {TOKEN}"}
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            received += chunk
    return received


async def small(start: Start, **limits: Any) -> Running:
    """A server with room for few."""
    api = await start(token=TOKEN)
    bounds = api.server.connections
    bounds.limits = replace(bounds.limits, **{"most": 8, "unproven": 4, **limits})
    return api


@pytest.mark.parametrize("sent", [b"", b"GET /hea"])
async def test_headers_that_do_not_come_end_the_connection(start: Start, sent: bytes) -> None:
    api = await small(start, headers=0.2)
    async with raw(api) as (reader, writer):
        writer.write(sent)
        assert await until_closed(reader) == b""
    async with raw(api) as (reader, writer):  # also those of the second request
        writer.write(HEALTH)
        assert b"200 OK" in await reader.readuntil(b"}")
        writer.write(b"GET /hea")
        assert await until_closed(reader) == b""
    assert len(api.server.connections) == 0


async def test_idle_connections_end(start: Start) -> None:
    api = await small(start, idle=0.2)
    async with raw(api) as (reader, writer):
        writer.write(HEALTH)
        assert (await until_closed(reader)).endswith(b"}")


async def test_a_newcomer_takes_the_place_of_the_oldest_idle_one(start: Start) -> None:
    api = await small(start)
    async with raw(api) as (oldest, _), raw(api), raw(api), raw(api) as (newest, writer):
        while len(api.server.connections) < 4:
            await asyncio.sleep(0)
        async with api.client.post(api.url, json={"query": "{ __typename }"}, headers=BEARER) as response:
            assert response.status == 200
        assert await until_closed(oldest) == b""
        writer.write(HEALTH)
        assert b"200 OK" in await newest.readuntil(b"}")


async def test_anonymous_sockets_do_not_keep_the_owner_out(start: Start) -> None:
    api = await small(start)
    api.client._connector = aiohttp.TCPConnector(limit=0)
    anonymous = [await api.client.ws_connect(api.url, protocols=(PROTOCOL,)) for _ in range(12)]
    assert len(api.server.connections) <= 4
    async with api.client.ws_connect(api.url, protocols=(PROTOCOL,), headers=BEARER) as owner:
        await owner.send_json({"type": "connection_init"})
        assert (await owner.receive_json())["type"] == "connection_ack"
    for each in anonymous:
        await each.close()


async def test_those_who_proved_themselves_are_limited_too(start: Start) -> None:
    api = await small(start)
    sockets = [await api.client.ws_connect(api.url, protocols=(PROTOCOL,), headers=BEARER) for _ in range(4)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.client.ws_connect(api.url, protocols=(PROTOCOL,), headers=BEARER)
    assert refused.value.status == 503
    async with api.client.ws_connect(api.url, protocols=(PROTOCOL,)) as late:
        await late.send_json({"type": "connection_init", "payload": BEARER})
        await late.receive()
        assert late.close_code == 1013
    async with api.client.post(api.url, json={"query": "{ __typename }"}, headers=BEARER) as response:
        assert response.status == 200
    for each in sockets:
        await each.close()


async def test_who_does_not_take_any_answer_is_cut_off(start: Start) -> None:
    api = await start(limits=Limits(send_seconds=0.2))
    async with raw(api) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /dashboard/time.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        while len(api.server.connections):
            await asyncio.sleep(0.01)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await until_closed(reader)


@pytest.mark.parametrize(("files", "most"), [(256, 128), (1024, 768), (8192, 2560), (65536, 2560), (64, 16)])
def test_connections_leave_files_for_the_rest(files: int, most: int) -> None:
    assert share_of_files(files, 2560) == most


CANARY = b"canary-5f1d"
MALFORMED = {
    "no host": b"GET / HTTP/1.1\r\nX: canary-5f1d\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: canary-5f1d\r\n\r\n",
    "two lengths": b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    b"Content-Length: 4\r\n\r\nabc",
    "two origins": b"GET /session HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    b"Origin: null\r\n\r\n",
    "two sites": b"GET /session HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\n"
    b"Sec-Fetch-Site: cross-site\r\n\r\n",
    "bad chunks": b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\ncanary-5f1d\r\n",
    "bad chunks of a form": b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcdcanary-5f1d\r\n",
    "a method that is none": b"canary-5f1d\x01\x02 / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control characters": bytes(range(1, 9)) * 1024 + b"canary-5f1d\r\n\r\n",
    "a version that is none": b"GET / HTTP/canary-5f1d\r\nHost: localhost\r\n\r\n",
    "a header that is none": b"GET / HTTP/1.1\r\nHost: localhost\r\ncanary-5f1d\r\n\r\n",
    "another's address": b"GET http://canary-5f1d.example/graphql HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an authority": b"CONNECT canary-5f1d.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_http_is_one_short_line(
    start: Start, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    api = await start(token=None if "chunks" in name else TOKEN)
    caplog.set_level(logging.INFO)
    async with raw(api) as (reader, writer):
        writer.write(MALFORMED[name])
        answer = await reader.readuntil(b"\r\n\r\n") + await reader.read(1)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]
    assert CANARY not in answer
    (line,) = caplog.records
    assert line.exc_info is None
    assert CANARY.decode() not in repr(line.__dict__)
    assert len(line.getMessage()) < 200


async def test_a_cookie_that_is_none_never_reaches_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = await start(token=TOKEN)
    cookie = b'a=b; cana"ry-5f1d]=x; \x80canary-5f1d=1; canary-5f1d'
    async with raw(api) as (reader, writer):
        writer.write(b"GET /session HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + b"\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"}")
    assert "5f1d" not in caplog.text


async def test_an_absolute_address_of_ours_is_taken(api: Running) -> None:
    async with raw(api) as (reader, writer):
        writer.write(b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"}")
