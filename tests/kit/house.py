"""Several daemons on one PostgreSQL and one RabbitMQ, both reached over a network that fails on command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import aiormq
import asyncpg

from tests.proxy import Proxy
from tests.servers import create_database, drop_database, need_amqp, unique

T = TypeVar("T")


class Loop:
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


class Shared:
    """A database and a queue of the test's own on the test's servers, behind proxies."""

    def __init__(self, loop: Loop, folder: Path, url: str, amqp: str | None) -> None:
        self._loop = loop
        self._folder = folder
        self.url = url
        self.amqp = amqp
        self.queue = unique("killsyncd_test")
        self.postgres = _proxy(url, 5432)
        self.rabbit = _proxy(amqp, 5672) if amqp else None
        for proxy in self._proxies():
            loop.run(proxy.up())

    def _proxies(self) -> list[Proxy]:
        return [each for each in (self.postgres, self.rabbit) if each is not None]

    def settings(self, **more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Sections of a daemon's configuration: everybody's database, queue and key."""
        parts = urlsplit(self.url)
        user = f"{parts.username}@" if parts.username else ""
        sections: dict[str, dict[str, Any]] = {
            "database": {"url": f"postgresql://{user}127.0.0.1:{self.postgres.port}{parts.path}"},
            "security": {"key_file": str(self._folder / "shared.key")},
        }
        if self.amqp and self.rabbit:
            broker = urlsplit(self.amqp)
            secret = self._folder / "amqp.password"
            secret.touch(mode=0o600)
            secret.write_text(broker.password or "guest")
            sections["queue"] = {
                "url": f"amqp://{broker.username or 'guest'}@127.0.0.1:{self.rabbit.port}{broker.path}",
                "password_file": str(secret),
                "name": self.queue,
            }
        for name, section in more.items():
            sections.setdefault(name, {}).update(section)
        return sections

    def cut(self, proxy: Proxy) -> None:
        """Every connection breaks."""
        self._loop.run(proxy.cut())

    def down(self, proxy: Proxy) -> None:
        """The server is gone, as when it restarts."""
        self._loop.run(proxy.down())

    def up(self, proxy: Proxy) -> None:
        """It is back."""
        self._loop.run(proxy.up())

    def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """Ask the database, past the proxy."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return list(await connection.fetch(sql, *parameters))
            finally:
                await connection.close()

        return self._loop.run(ask())

    def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        rows = self.rows(sql, *parameters)
        return rows[0][0] if rows else None

    def messages(self) -> int:
        """Messages that wait in the queue."""

        async def ask() -> int:
            connection = await aiormq.connect(self.amqp or "")
            channel = await connection.channel()
            said = await channel.queue_declare(self.queue, passive=True)
            await connection.close()
            return int(said.message_count or 0)

        return self._loop.run(ask())

    def close(self) -> None:
        """Take everything away again."""

        async def remove() -> None:
            await drop_database(self.url)
            if self.amqp:
                connection = await aiormq.connect(self.amqp)
                channel = await connection.channel()
                for name in (self.queue, f"{self.queue}.dead"):
                    await channel.queue_delete(name)
                await connection.close()

        for proxy in self._proxies():
            self._loop.run(proxy.close())
        self._loop.run(remove())


def _proxy(url: str, port: int) -> Proxy:
    parts = urlsplit(url)
    return Proxy(parts.hostname or "127.0.0.1", parts.port or port)


@contextmanager
def shared_house(folder: Path, *, rabbit: bool) -> Iterator[Shared]:
    """A database, and a queue if wanted. Skips where a server is not there."""
    with Loop() as loop:
        url = loop.run(create_database())
        amqp = loop.run(need_amqp()) if rabbit else None
        house = Shared(loop, folder, urlunsplit(urlsplit(url)), amqp)
        try:
            yield house
        finally:
            house.close()
