"""One PostgreSQL for several daemons, reached over a network that fails on command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg

from tests.support.proxy import Proxy
from tests.support.server_urls import create_database, drop_database

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a thread, for tests that wait in plain words."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for it here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class SharedPostgres:
    """A database of the test's own on the test's server, behind a proxy."""

    def __init__(self, loop: BackgroundLoop, folder: Path, url: str) -> None:
        self._loop = loop
        self._folder = folder
        self.url = url
        parts = urlsplit(url)
        self._proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
        self.up()

    def settings(self, **more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Sections of a daemon's configuration: everybody's database and key."""
        parts = urlsplit(self.url)
        user = f"{parts.username}@" if parts.username else ""
        return {
            "database": {"url": f"postgresql://{user}127.0.0.1:{self._proxy.port}{parts.path}"},
            "security": {"key_file": str(self._folder / "shared.key")},
            **{name: dict(section) for name, section in more.items()},
        }

    def cut(self) -> None:
        """Every connection breaks."""
        self._loop.run(self._proxy.cut())

    def down(self) -> None:
        """The server is gone, as when it restarts."""
        self._loop.run(self._proxy.down())

    def up(self) -> None:
        """It is back."""
        self._loop.run(self._proxy.up())

    def rows(self, sql: str) -> list[Any]:
        """Ask the database, past the proxy."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return self._loop.run(ask())

    def value(self, sql: str) -> Any:
        """The first column of the first row."""
        rows = self.rows(sql)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Take everything away again."""
        self._loop.run(self._proxy.close())
        self._loop.run(drop_database(self.url))


@contextmanager
def shared_house(folder: Path) -> Iterator[SharedPostgres]:
    """A new database. Skips where there is no server."""
    with BackgroundLoop() as loop:
        house = SharedPostgres(loop, folder, loop.run(create_database()))
        try:
            yield house
        finally:
            house.close()
