"""The API on a real port over a real SQLite store."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.server import ApiServer
from killsyncd.auth.login import Logins
from killsyncd.config import ApiConfig, Secret
from killsyncd.core.clock import SystemClock
from killsyncd.storage.repositories.sessions import SessionRepository
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.api_world import ApiWorld
from tests.support.new_database import open_migrated

TOKEN = "correct-horse-battery-staple-and-more"


def patient(limits: Limits) -> Limits:
    """The same, and time for what is allowed on a machine that does much else, unless the test sets it."""
    usual = Limits()
    return replace(
        limits,
        seconds=60.0 if limits.seconds == usual.seconds else limits.seconds,
        patience=60.0 if limits.patience == usual.patience else limits.patience,
    )


@dataclass
class Running:
    """A server, the world behind it, and a client."""

    world: ApiWorld
    server: ApiServer
    client: aiohttp.ClientSession
    reasons: list[str]

    @property
    def url(self) -> str:
        """Of GraphQL."""
        return f"{self.server.address}/graphql"

    async def ask(
        self, query: str, variables: dict[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        """Data, or the test fails."""
        body = await self.answer(query, variables, **headers)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def answer(self, query: str, variables: dict[str, Any] | None = None, **headers: str) -> Any:
        """Whatever comes back."""
        async with self.client.post(
            self.url, json={"query": query, "variables": variables}, headers=headers
        ) as response:
            return await response.json()

    async def refused(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The first error, or the test fails."""
        body = await self.answer(query, variables)
        assert "errors" in body, body
        error: dict[str, Any] = body["errors"][0]
        return error


Start = Callable[..., Awaitable[Running]]


@asynccontextmanager
async def raw(api: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for what no HTTP client does.

    Its buffer is small, and said to be: what is not read would grow it, to megabytes, as the kernel likes.
    """
    host, port = api.server.address.removeprefix("http://").split(":")
    connection = socket.socket()
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=connection)
    except BaseException:
        connection.close()
        raise
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)  # it is closed in the loop's next round


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_migrated(tmp_path / "killsyncd.db", SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def world(store: SqliteStore) -> ApiWorld:
    return ApiWorld(store, SystemClock())


@pytest.fixture
async def start(world: ApiWorld) -> AsyncIterator[Start]:
    """Start a server; arguments are those of `[api]`, and limits, logins, callback_url."""
    running: list[Running] = []

    async def begin(
        *,
        token: str | None = None,
        limits: Limits | None = None,
        logins: Logins | None = None,
        callback_url: str = "http://127.0.0.1:7420/auth/callback",
        metrics: bool = True,
        **api: Any,
    ) -> Running:
        if logins is not None:
            world.logins = logins
            world.__post_init__()
        reasons: list[str] = []

        async def readiness() -> list[str]:
            return reasons

        async def metrics_text() -> bytes:
            return b"killsyncd_up 1\n"

        server = ApiServer(
            ApiConfig(
                **{"listen": "127.0.0.1:0", "token": Secret(token) if token else None, **api},
            ),
            callback_url,
            ApiServices(world.reading, world.operations, world.clock, patient(limits or Limits())),
            sessions=SessionRepository(world.store, world.clock),
            events=world.events,
            readiness=readiness,
            metrics=metrics_text if metrics else None,
        )
        await server.start()
        client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        running.append(Running(world, server, client, reasons))
        return running[-1]

    yield begin
    for each in running:
        await each.client.close()
        await each.server.close()


@pytest.fixture
async def api(start: Start) -> Running:
    """A server on loopback without a token."""
    return await start()
