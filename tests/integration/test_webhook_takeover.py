"""Two daemons on one database: one delivers; where it is killed, the other goes on within 15 seconds."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.webhooks import WebhookTargets
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.transaction import Sql, Tx, one
from tests.support.api_world import ApiWorld
from tests.support.daemon import PATIENCE
from tests.support.server_urls import create_database, drop_database
from tests.support.webhook_world import FASTEST, killmail_of, serving

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MAILS = 150
TABLES = [{"name": "corp", "kind": "discord", "path": "/api/webhooks/100/token", "exclude_npc": False}]
TAKEN_OVER_WITHIN = 15.0


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


@pytest.mark.timeout(150)
async def test_the_other_goes_on(tmp_path: Path) -> None:
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
        both = [await start(stack, url, base, tmp_path) for _ in range(2)]
        while len(targets.taken) < MAILS // 3:
            await asyncio.sleep(0.01)
        deliverer = await store.read(_holder)
        killed = next(each for each in both if each.pid == deliverer)
        killed.kill()
        before, began = len(targets.taken), time.monotonic()
        while len(targets.taken) <= before + 1:
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
        print(f"taken over after {took:.1f} s")
        while killmail_of(targets.taken[-1]) != ids[-1]:
            await asyncio.sleep(0.01)
    assert took < TAKEN_OVER_WITHIN * PATIENCE
    got = [killmail_of(each) for each in targets.taken]
    assert list(dict.fromkeys(got)) == ids
    assert len(got) - len(ids) <= 1  # what was under way when it was killed
    assert targets.breaches == []
