"""A TCP proxy between a client and a server, that a test can let fail like a network fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

CHUNK = 65536


class Proxy:
    """Forwards bytes until told otherwise.

    cut(): every connection breaks, new ones are welcome. down()/up(): nobody is let in.
    freeze(): bytes stop flowing and nobody says so, as when a cable is pulled; thaw() undoes it.
    deafen(): only the server hears nothing more; thaw() undoes it. inject(): bytes to every client.
    to_server: sees what clients send and answers what is forwarded; None breaks the connection
    without forwarding. to_client: the same for what the server answers.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._hearing = asyncio.Event()
        self._hearing.set()
        self._clients: set[asyncio.StreamWriter] = set()
        self.to_server: Callable[[bytes], bytes | None] = lambda data: data
        self.to_client: Callable[[bytes], bytes | None] = lambda data: data
        self._refusing = False
        self.port = 0
        self.accepted = 0

    async def __aenter__(self) -> Proxy:
        await self.up()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def up(self) -> None:
        """Let clients in, always at the same port."""
        self._refusing = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Break every connection and turn new ones away.

        The port stays open: asyncio loses connections that come in while a server closes.
        """
        self._refusing = True
        await self.cut()

    async def close(self) -> None:
        """Break every connection and listen no more."""
        await self.down()
        if self._server is not None:
            for sock in self._server.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
            await asyncio.sleep(0)
            self._server.close()
            self._server = None
            await self.cut()

    async def cut(self) -> None:
        """Break every connection, as a reset does."""
        for writer in list(self._writers):
            writer.transport.abort()
        pairs = list(self._pairs)
        for pair in pairs:
            pair.cancel()
        if pairs:
            await asyncio.wait(pairs)

    def freeze(self) -> None:
        """Stop forwarding; connections stay open, new ones are accepted and hear nothing."""
        self._flowing.clear()

    def deafen(self) -> None:
        """Forward nothing more to the server, as when it stops reading."""
        self._hearing.clear()

    def thaw(self) -> None:
        """Forward again, whatever waited included."""
        self._flowing.set()
        self._hearing.set()

    def inject(self, data: bytes) -> None:
        """Say something to every client in the server's name."""
        for client in self._clients:
            client.write(data)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        self._writers.add(writer)
        self._clients.add(writer)
        upstream = None
        try:
            await self._flowing.wait()
            answers, upstream = await asyncio.open_connection(*self._target)
            self._writers.add(upstream)
            ways = [
                asyncio.ensure_future(self._forward(reader, upstream, True)),
                asyncio.ensure_future(self._forward(answers, writer, False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(task)
            self._clients.discard(writer)
            for each in (writer, upstream):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_server: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if to_server:
                    await self._hearing.wait()
                seen = (self.to_server if to_server else self.to_client)(data)
                if seen is None:
                    return
                writer.write(seen)
                await writer.drain()
