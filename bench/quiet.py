"""The row of the quiet poll: a list without news (304), beside a bare GET and one bare transaction."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from bench.postgres import a_database
from bench.rig import Cost, Figure, RowFailed, bare_part, daemon, eve, log_all_in, measured
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, wait_for

CACHE = 4.0
MOST_TRANSACTIONS = 3
OF_A_ROUND = 15
"""Transactions of a round whatever it polls: resuming, looking for jobs that are none, tasks beside."""
MOST_CPU = 0.0012


def quiet_poll(folder: Path, quick: bool) -> list[Figure]:
    """Polls of lists that have not changed, by a daemon on SQLite and by one on PostgreSQL."""
    figures = _on(folder / "sqlite", None, quick)
    with a_database() as url:
        if url is not None:  # measured where there is one
            figures += _on(folder / "postgres", url, quick)
    return figures


def _on(folder: Path, url: str | None, quick: bool) -> list[Figure]:
    pilots, rounds = (60, 2) if quick else (200, 4)
    settings = {"esi": {"requests_per_second": 10_000}, "database": {"url": url} if url else {}}
    words = ("--pilots", str(pilots), "--history", "2", "--no-limits", "--cache", f"{CACHE:g}")
    waiting = _waiting_in(folder / "killsyncd.db", url)
    with eve(*words) as simulator:
        with daemon(folder, simulator, **settings) as running:
            log_all_in(running, simulator)
            wait_for(lambda: waiting() == 0, 120.0, "first syncs are left")
            found = [_round(running, simulator, pilots, waiting) for _ in range(rounds)]
        floor = _floor(folder, simulator, url)
    a_poll = min(each[0] for each in found) / pilots
    cpu = min(each[1].cpu for each in found) / pilots
    name = "PostgreSQL" if url else "SQLite"
    return [
        Figure(
            f"quiet poll, {name}: transactions ({pilots} pilots, least of {rounds})",
            f"{a_poll:.2f}",
            "1",
            f"≤ {MOST_TRANSACTIONS}, and {OF_A_ROUND} a round",
            a_poll,
            a_poll <= MOST_TRANSACTIONS + OF_A_ROUND / pilots,
        ),
        Figure(
            f"quiet poll, {name}: CPU",
            f"{cpu * 1e3:.2f} ms",
            f"{floor * 1e3:.2f} ms (aiohttp GET of the same 304, one write transaction)",
            f"≤ {MOST_CPU * 1e3:g} ms",
            cpu / floor,
            cpu <= MOST_CPU,
        ),
    ]


def _round(
    running: DaemonProcess, simulator: SimulatorProcess, pilots: int, waiting: Callable[[], int]
) -> tuple[float, Cost]:
    """Everybody polled once: transactions, and what they cost."""
    time.sleep(CACHE + 2.5)
    running.ctl("pause")
    running.ctl("queue", "--force")
    simulator.reset_counters()
    before = transactions(running)
    with measured(running.pid) as cost:
        running.ctl("resume")
        wait_for(lambda: waiting() == 0, 120.0, "jobs are left")
    after = transactions(running)
    own = transactions(running) - after  # of looking
    answers = simulator.counters()["requests"]["esi.character_killmails"]
    if answers != {"304": pilots}:
        raise RowFailed(f"not {pilots} quiet polls: {answers}")
    return after - before - own, cost


def transactions(running: DaemonProcess) -> float:
    """How many transactions a daemon has had."""
    time.sleep(1.2)  # one answer serves a second
    status, text = running.get("/metrics")
    if status != 200:
        raise RowFailed(f"/metrics: {status}")
    families = {each.name: each for each in text_string_to_metric_families(text)}
    return sum(each.value for each in families["killsyncd_database_transactions"].samples)


def _waiting_in(database: Path, url: str | None) -> Callable[[], int]:
    import sqlite3

    async def on_server() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval("SELECT COUNT(*) FROM wants"))
        finally:
            await connection.close()

    def in_file() -> int:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM wants").fetchone()[0])
        finally:
            connection.close()

    return in_file if url is None else lambda: asyncio.run(on_server())


def _floor(folder: Path, simulator: SimulatorProcess, url: str | None) -> float:
    """CPU seconds of one bare GET that is answered 304, and of one bare write transaction."""
    lists = []
    for pilot in simulator.pilots()[:50]:
        character_id = pilot["character_id"]
        token = simulator.grant(character_id)["access_token"]
        lists.append((f"/characters/{character_id}/killmails/recent?page=1", token))
    file = folder / "floor.json"
    file.write_text(json.dumps({"base": simulator.base_url, "lists": lists, "rounds": 10, "postgres": url}))
    return min(bare_part("poll", file)["cpu"] / (10 * len(lists)) for _ in range(3))
