"""How long after its commit a mail reaches a thousand subscribers, and what bare aiohttp needs for the same.

Run as `python -m bench.feed FILE` it is that bare server: it sends the bytes of FILE to every socket that
subscribed, whenever it reads a line, and prints when it began.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import WSMsgType, web

from bench.rig import Figure, RowFailed, daemon, eve, wait_stored
from tests.support import log_in

SUBSCRIBERS = 1000
PROTOCOL = "graphql-transport-ws"
QUERY = """subscription { newKillmail {
  id feedCursor killmailTime fresh solo npc attackerCount solarSystem { id name }
  victim { damageTaken
    character { id name } corporation { id name } alliance { id name } shipType { id name } }
  finalBlow { character { id name } corporation { id name } shipType { id name } }
  users { role user { characterId characterName } }
} }"""


class Subscribers:
    """Sockets that follow the feed, and when each of them had each mail."""

    def __init__(self, count: int, rounds: int) -> None:
        self.count = count
        self.ready = 0
        self.arrived: list[list[float]] = [[] for _ in range(rounds)]
        self.messages: list[set[str]] = [set() for _ in range(rounds)]

    async def follow(self, url: str, begin: Callable[[], Awaitable[None]]) -> None:
        """Subscribe with all; then, a mail at a time: begin, and wait until everybody has it."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.create_task(self._one(session, url)) for _ in range(self.count)]
            try:
                async with asyncio.timeout(120.0):
                    while self.ready < self.count:
                        await asyncio.sleep(0.1)
                await asyncio.sleep(2.0)
                for each in self.arrived:
                    await begin()
                    async with asyncio.timeout(60.0):
                        while len(each) < self.count:
                            await asyncio.sleep(0.1)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url, protocols=(PROTOCOL,)) as socket:
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json()
            await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": QUERY}})
            self.ready += 1
            for times, messages in zip(self.arrived, self.messages, strict=True):
                text = await socket.receive_str()
                times.append(time.time())
                messages.add(text)


def feed(folder: Path, quick: bool) -> list[Figure]:
    """A mail to 1,000 subscribers, p99 from its commit; against a bare fan-out of the same bytes."""
    rounds = 5 if quick else 15
    wanted = 4 * SUBSCRIBERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # raises where even that is not allowed
    ours = Subscribers(SUBSCRIBERS, rounds)
    with eve("--pilots", "1", "--history", "3", "--cache", "1", "--no-limits") as simulator:
        pilot = simulator.pilots()[0]["character_id"]
        often = {"enabled": True, "interval": "1s", "min_age": "0.5s"}
        with daemon(folder, simulator, producer=often) as running:
            log_in(running.url, simulator.base_url, pilot)
            wait_stored(running, 3, 30.0)

            async def fight() -> None:
                await asyncio.to_thread(simulator.add_mails, count=1, pilots=[pilot])

            uvloop.run(ours.follow(f"{running.url}/graphql", fight))
            with running.rows() as rows:
                # The moment before it is stored: what is measured holds the commit, too.
                fetched = dict(rows.execute("SELECT killmail_id, fetched_at FROM killmails").fetchall())
    samples: list[float] = []
    for times, messages in zip(ours.arrived, ours.messages, strict=True):
        if len(messages) != 1:
            raise RowFailed(f"subscribers were told {len(messages)} different things of one mail")
        mail = json.loads(next(iter(messages)))["payload"]["data"]["newKillmail"]
        samples += [each - fetched[int(mail["id"])] for each in times]
    floor = _floor(folder, next(iter(ours.messages[-1])), rounds)
    late, bare = _p99(samples), _p99(floor)
    medians = [statistics.median(each) * 1e3 for each in (samples, floor)]
    return [
        Figure(
            f"a mail at {SUBSCRIBERS} subscribers, p99 (median {medians[0]:.0f} ms)",
            f"{late * 1e3:.0f} ms",
            f"{bare * 1e3:.0f} ms (bare aiohttp, the same bytes; median {medians[1]:.0f} ms)",
            "≤ 250 ms",
            late / bare,
            late <= 0.25,
        )
    ]


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]


def _floor(folder: Path, message: str, rounds: int) -> list[float]:
    """The same sockets and bytes, sent by a server that does nothing else."""
    file = folder / "message.json"
    file.write_text(message)
    bare = Subscribers(SUBSCRIBERS, rounds)
    began: list[float] = []

    async def run() -> None:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.feed", str(file)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        to, answers = server.stdin, server.stdout

        async def send() -> None:
            to.write(b"\n")
            began.append(float(await answers.readline()))

        try:
            await bare.follow((await answers.readline()).decode().strip(), send)
        finally:
            to.close()
            await server.wait()

    uvloop.run(run())
    return [each - at for at, times in zip(began, bare.arrived, strict=True) for each in times]


async def serve(message: bytes) -> None:
    """The bare server, until its standard input ends."""
    sockets: list[web.WebSocketResponse] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), compress=False)
        await socket.prepare(request)
        async for frame in socket:
            if "connection_init" in frame.data:
                await socket.send_json({"type": "connection_ack"})
            else:
                sockets.append(socket)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"ws://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(time.time(), flush=True)
        for socket in sockets:
            await socket.send_frame(message, WSMsgType.TEXT)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]).read_bytes()))
