"""Two daemons on one database: one delivers; where it is killed, the other goes on within 15 seconds.

Where it only stood still for longer than its lease and goes on then, nothing more comes from it.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.webhooks import WebhookTargets
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.transaction import Sql, Tx, one
from killsyncd.webhooks.embed import AGAIN
from tests.support.api_world import ApiWorld
from tests.support.daemon import PATIENCE
from tests.support.server_urls import create_database, drop_database
from tests.support.webhook_world import FASTEST, killmail_of, serving

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MAILS = 150
TABLES = [{"name": "corp", "kind": "discord", "path": "/api/webhooks/100/token", "exclude_npc": False}]
TAKEN_OVER_WITHIN = 15.0
STOPS = 3


async def start(stack: AsyncExitStack, url: str, base: str, folder: Path) -> asyncio.subprocess.Process:
    words = ["-m", "tests.support.webhook_process", url, base, str(folder), json.dumps(TABLES)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    stack.push_async_callback(_end, process)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    return process


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _holder() -> Tx[int | None]:
    found = yield Sql("SELECT d.pid FROM webhooks w JOIN daemons d ON d.id = w.holder", {})
    row = one(found)
    return None if row is None else int(row["pid"])


def _from_the_start() -> Tx[None]:
    yield Sql("INSERT INTO webhooks (name, kind, position, created_at) VALUES ('corp', 'discord', 0, 0)", {})


@dataclass
class Pair:
    """Two processes that could deliver, and what came."""

    store: PostgresStore
    targets: WebhookTargets
    processes: list[asyncio.subprocess.Process]
    ids: list[int]

    async def deliverer(self) -> asyncio.subprocess.Process:
        pid = None
        while pid is None:
            pid = await self.store.read(_holder)
            await asyncio.sleep(0.01)
        return next(each for each in self.processes if each.pid == pid)

    async def taken(self, number: int) -> None:
        """Until so many requests were taken, or all mails came."""
        while len(self.targets.taken) < number and not self.done():
            await asyncio.sleep(0.01)

    def done(self) -> bool:
        return bool(self.targets.taken) and killmail_of(self.targets.taken[-1]) == self.ids[-1]

    async def until_done(self) -> None:
        while not self.done():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    url = await create_database()
    targets = WebhookTargets(SimClock(), FASTEST)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(drop_database, url)
        store = await PostgresStore.open(url)
        stack.push_async_callback(store.close)
        await migrate(store)
        api = ApiWorld(store, SystemClock())
        await api.pilot()
        ids = [each.killmail_id for each in await api.add_some(MAILS, fresh=True, items=0)]
        await store.write(_from_the_start)
        base = await stack.enter_async_context(serving(targets))
        both = [await start(stack, url, base, folder) for _ in range(2)]
        yield Pair(store, targets, both, ids)


@pytest.mark.timeout(150)
async def test_the_other_goes_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as two:
        await two.taken(MAILS // 3)
        (await two.deliverer()).kill()
        before, began = len(two.targets.taken), time.monotonic()
        await two.taken(before + 2)
        took = time.monotonic() - began
        print(f"taken over after {took:.1f} s")
        await two.until_done()
    assert took < TAKEN_OVER_WITHIN * PATIENCE
    got = [killmail_of(each) for each in two.targets.taken]
    assert list(dict.fromkeys(got)) == two.ids
    assert len(got) - len(two.ids) <= 1  # what was under way when it was killed
    assert two.targets.breaches == []


@pytest.mark.timeout(300)
async def test_one_that_stood_still_sends_nothing_more(tmp_path: Path) -> None:
    """Stopped at any moment, also between its word to the database and the request: what it finds out when
    it goes on is that it is late.
    """
    rng = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    async with pair(tmp_path) as two:
        for turn in range(1, STOPS + 1):
            await two.taken(turn * MAILS // (STOPS + 2))
            stopped = await two.deliverer()
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            stopped.send_signal(signal.SIGSTOP)
            before = len(two.targets.taken)
            await two.taken(before + 3)
            stopped.send_signal(signal.SIGCONT)
        await two.until_done()
        await asyncio.sleep(1.0)  # for what should not come
    messages = two.targets.taken
    got = [killmail_of(each) for each in messages]
    assert list(dict.fromkeys(got)) == two.ids
    for at, each in enumerate(messages[1:], 1):
        if got[at] in got[:at]:
            assert got[at] == got[at - 1], "a repeat comes at once, from whoever took over"
            assert AGAIN in each.body["embeds"][0]["footer"]["text"]
    assert len(got) - len(two.ids) <= STOPS
    assert two.targets.breaches == []
