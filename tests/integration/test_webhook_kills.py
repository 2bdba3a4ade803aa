"""Webhooks against a Discord that enforces its limits and misbehaves, while whoever delivers is killed.

Every mail that passes arrives, in order; not one request comes early; a repeat there is only where an
answer was never heard, at most one a kill or lost answer, and it says so. The long form (issue 14: 10,000
mails, 50 kills):

    KILLSYNCD_TEST_WEBHOOKS=10000:50 make test TEST_ARGS="-k 'webhook_kills and sqlite'" WORKERS=0
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.webhooks import TakenMessage, WebhookTargets
from killsyncd.storage.migrations import Migratable, migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Sql, Tx
from killsyncd.webhooks.embed import AGAIN
from tests.support.api_world import ApiWorld
from tests.support.server_urls import create_database, drop_database
from tests.support.webhook_world import FASTEST, killmail_of, serving

MAILS, KILLS = (int(each) for each in os.environ.get("KILLSYNCD_TEST_WEBHOOKS", "90:5").split(":"))
TABLES = [
    {"name": "one", "kind": "discord", "path": "/api/webhooks/100/token"},
    {"name": "two", "kind": "discord", "path": "/api/webhooks/101/token", "exclude_npc": False},
    {"name": "tool", "kind": "json"},
]
HOOKS = {"one": "100", "two": "101", "tool": "tool"}
RETRY_AFTER = 0.3
"""Seconds of a 429: less than a process takes to start again, which may not have read it."""


def troubles(rng: random.Random, requests: int) -> list[str]:
    """What happens to requests: one in twelve goes wrong."""
    kinds = ["429", "500", "drop", "hang"]
    found = ["" if rng.random() > 1 / 12 else rng.choice(kinds) for _ in range(requests)]
    found[rng.randrange(20)] = "429-bare"
    return found


async def fill(store: Migratable) -> list[int]:
    """A database with mails behind every webhook's place."""
    await migrate(store)
    api = ApiWorld(store, SystemClock())
    await api.pilot()
    ids: list[int] = []
    for start in range(0, MAILS, 500):
        ids += [
            each.killmail_id
            for each in await api.add_some(min(500, MAILS - start), fresh=True, items=1, attackers=2)
        ]
    await store.write(_begin_at_the_start)
    return ids


@asynccontextmanager
async def database(kind: str, folder: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """Its file or address, and the mails that it holds."""
    if kind == "sqlite":
        path = folder / "killsyncd.db"
        store = await SqliteStore.open(path, SystemClock())
        try:
            ids = await fill(store)
        finally:
            await store.close()
        yield str(path), ids
        return
    url = await create_database()
    try:
        server = await PostgresStore.open(url)
        try:
            ids = await fill(server)
        finally:
            await server.close()
        yield url, ids
    finally:
        await drop_database(url)


def _begin_at_the_start() -> Tx[None]:
    for each in TABLES:
        yield Sql(
            "INSERT INTO webhooks (name, kind, position, created_at) VALUES (:name, :kind, 0, 0)",
            {"name": each["name"], "kind": each["kind"]},
        )


@asynccontextmanager
async def process(database: str, base: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    words = ["-m", "tests.support.webhook_process", database, base, str(folder), json.dumps(TABLES)]
    started = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert started.stdout is not None
        assert await started.stdout.readline() == b"begun\n"
        yield started
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGKILL)
        await started.wait()


def heard(taken: Sequence[TakenMessage], hook: str) -> list[int]:
    return [killmail_of(each) for each in taken if each.hook == hook]


@pytest.mark.slow
@pytest.mark.timeout(300 if MAILS < 1000 else 7200)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_webhook_kills(tmp_path: Path, kind: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    async with database(kind, tmp_path) as (where, ids):
        await _killed_all_along(where, ids, random.Random(seed), tmp_path)


async def _killed_all_along(where: str, ids: list[int], rng: random.Random, folder: Path) -> None:
    targets = WebhookTargets(SimClock(), FASTEST, channels={"100": "7", "101": "7"}, hang=0.2)
    targets.retry_after = RETRY_AFTER
    targets.trouble(troubles(rng, 4 * MAILS))

    def done() -> bool:
        """The last mail came everywhere: they come in order."""
        latest = targets.latest
        return all(hook in latest and killmail_of(latest[hook]) == ids[-1] for hook in HOOKS.values())

    kills = 0
    async with serving(targets) as base:
        for _ in range(KILLS):
            goal = len(targets.taken) + int(rng.uniform(0, 3 * MAILS / (KILLS + 1)))
            async with process(where, base, folder):
                await _until(lambda goal=goal: len(targets.taken) >= goal or done())
                await asyncio.sleep(rng.uniform(0.0, 0.05))
            kills += 1
        async with process(where, base, folder):
            await _until(done)
            await asyncio.sleep(0.5)
    assert targets.breaches == []
    lost = [each for each in targets.taken if not each.answered]
    for hook in HOOKS.values():
        got = heard(targets.taken, hook)
        assert list(dict.fromkeys(got)) == ids
        _repeats(targets.taken, hook, got, kills, [each for each in lost if each.hook == hook])


def _repeats(
    taken: Sequence[TakenMessage], hook: str, got: list[int], kills: int, lost: Sequence[TakenMessage]
) -> None:
    """Only what was in doubt came twice, right after itself, and says so."""
    counts = Counter(got)
    doubles = sum(counts.values()) - len(counts)
    assert doubles <= kills + len(lost)
    for before, after in pairwise(got):
        assert after >= before, "a repeat comes at once, not after others"
    messages = [each for each in taken if each.hook == hook]
    seen: dict[int, Any] = {}
    for each in messages:
        body, killmail_id = each.body, killmail_of(each)
        if killmail_id in seen:
            if "embeds" in body:
                assert AGAIN in body["embeds"][0]["footer"]["text"]
            else:
                assert body["id"] == seen[killmail_id]["id"]
        seen[killmail_id] = body


async def _until(holds: Any) -> None:
    while not holds():
        await asyncio.sleep(0.01)
