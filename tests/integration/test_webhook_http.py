"""One request to a webhook, whatever the other side does: bounded, no redirect followed, no address told."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from killsyncd.simulator import wire
from killsyncd.webhooks.http import LONGEST_ANSWER, WebhookSender
from tests.support.daemon import free_port

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/very-secret"
    finally:
        await runner.cleanup()


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    sender = WebhookSender()
    yield sender
    await sender.close()


async def test_a_redirect_is_not_followed(sender: WebhookSender) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/other"})

    async with served(elsewhere) as url:
        answer = await sender.post(url, b"{}", {})
    assert answer.status == 307
    assert asked == ["/very-secret"]


async def test_an_endless_answer_is_not_read_to_its_end(sender: WebhookSender) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * LONGEST_ANSWER)
        except ConnectionError:
            return response

    async with served(endless) as url:
        answer = await sender.post(url, b"{}", {})
    assert (answer.status, answer.body, answer.error) == (200, b"", "")


async def test_silence_and_a_broken_connection_are_in_doubt_a_refused_one_is_not(
    sender: WebhookSender,
) -> None:
    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def dropping(request: web.BaseRequest) -> web.StreamResponse:
        wire.cut(request)
        return wire.nothing()

    async with served(silent) as url:
        late = await sender.post(url, b"{}", {}, timeout=0.3)
    async with served(dropping) as url:
        dropped = await sender.post(url, b"{}", {})
    refused = await sender.post(f"http://127.0.0.1:{free_port()}/very-secret", b"{}", {})
    nowhere = await sender.post("http://nowhere.invalid/very-secret", b"{}", {})
    assert (late.lost, dropped.lost, refused.lost, nowhere.lost) == (True, True, False, False)
    assert late.error == "no answer in 0.3 s"
    for each in (late, dropped, refused, nowhere):
        assert each.error
        assert "very-secret" not in each.error
        assert "127.0.0.1" not in each.error


async def test_who_we_are_and_what_is_said(sender: WebhookSender) -> None:
    told: list[tuple[str, str, bytes]] = []

    async def listening(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        told.append((request.headers["User-Agent"], request.headers["Content-Type"], body))
        return web.Response(headers={"X-RateLimit-Remaining": "3", "X-Other": "x"}, body=b"fine")

    async with served(listening) as url:
        answer = await sender.post(url, b'{"a": 1}', {"webhook-id": "5"})
    assert told[0][0].startswith("killsyncd/")
    assert told[0][1:] == ("application/json", b'{"a": 1}')
    assert (answer.headers, answer.body) == ({"X-RateLimit-Remaining": "3"}, b"fine")


async def test_nothing_leaves_that_is_not_ours_any_more(sender: WebhookSender) -> None:
    asked: list[str] = []

    async def listening(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response()

    async with served(listening) as url:
        for body in (b"{}", b""):
            answer = await sender.post(url, body, {}, ours=lambda: False)
            assert (answer.withheld, answer.lost) == (True, False)
        assert (await sender.post(url, b"{}", {}, ours=lambda: True)).status == 200
    assert len(asked) == 1


async def test_a_date_to_wait_for_is_seconds_by_their_own_clock(sender: WebhookSender) -> None:
    async def busy(request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Date": "Mon, 16 Nov 2026 12:00:00 GMT", "Retry-After": "Mon, 16 Nov 2026 12:01:30 GMT"}
        return web.Response(status=429, headers=headers)

    async with served(busy) as url:
        answer = await sender.post(url, b"{}", {})
    assert answer.headers["Retry-After"] == "90.0"


async def test_a_packed_answer_is_not_unpacked(sender: WebhookSender) -> None:
    asked: list[str] = []

    async def packed(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.headers["Accept-Encoding"])
        return web.Response(body=gzip.compress(b"x" * 10**7), headers={"Content-Encoding": "gzip"})

    async with served(packed) as url:
        answer = await sender.post(url, b"{}", {})
    assert asked == ["identity"]
    assert answer.status == 200
    assert len(answer.body) < LONGEST_ANSWER
