"""The row of webhooks: what fifty cost while nothing happens, and beside a first sync that is no news."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench.postgres import a_database
from bench.quiet import transactions
from bench.rig import Cost, Figure, RowFailed, eve, log_all_in, measured, wait_stored
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess

MANY = 50
MOST_QUERIES = 1.0
"""Transactions a second more than without webhooks, however many: a look at all of them every two seconds
where daemons may share the database, and every minute where not.
"""
MOST_BESIDE = 1.3


def webhooks(folder: Path, quick: bool) -> list[Figure]:
    """Idle, on SQLite and on PostgreSQL; and beside a first sync of which they send nothing."""
    seconds = 20.0 if quick else 60.0
    figures = _idle(folder / "sqlite", None, seconds)
    with a_database() as url:
        if url is not None:  # measured where there is one
            figures += _idle(folder / "postgres", url, seconds)
    return [*figures, _beside(folder / "beside", 500 if quick else 2000)]


def tables(folder: Path, base: str, number: int) -> list[dict[str, Any]]:
    """So many webhooks of Discord, each with an address of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for each in range(number):
        file = folder / f"{each}.url"
        file.write_text(f"{base}/api/webhooks/{1000 + each}/token\n")
        file.chmod(0o600)
        found.append({"name": f"hook{each}", "kind": "discord", "url_file": str(file)})
    return found


def _daemon(
    folder: Path, simulator: SimulatorProcess, number: int, **settings: dict[str, Any]
) -> DaemonProcess:
    sections = {"producer": {"enabled": False}, "log": {"level": "warning"}, **settings}
    for each in ("prices", "static_data"):
        sections.setdefault(each, {"enabled": False})
    hooks = tables(folder / "urls", simulator.base_url, number)
    return DaemonProcess(folder, simulator.base_url, settings=sections, webhooks=hooks)


def _idle(folder: Path, url: str | None, seconds: float) -> list[Figure]:
    database = {"database": {"url": url}} if url else {}
    with eve("--pilots", "1") as simulator, ExitStack() as stack:
        both = [
            stack.enter_context(_daemon(folder / str(number), simulator, number, **database))
            for number in (0, MANY)
            if url is None or number  # two daemons of one database would share the work
        ]
        time.sleep(5.0)  # what a start brings with it
        quiet = [_quiet(each, seconds) for each in both]
    queries, wakes, cost = quiet[-1]
    base = quiet[0] if url is None else (0.0, 0.0, Cost())
    name = "PostgreSQL" if url else "SQLite"
    beyond = "without" if url is None else "nothing"
    more = queries - base[0]
    return [
        Figure(
            f"{MANY} idle webhooks, {name}: transactions a second",
            f"{queries:.2f}",
            f"{base[0]:.2f} ({beyond})",
            f"≤ {MOST_QUERIES:g} more" if url is None else "",
            None,
            more <= MOST_QUERIES if url is None else None,
        ),
        Figure(
            f"{MANY} idle webhooks, {name}: CPU, and wakes a second",
            f"{cost.cpu / cost.wall:.2%}, {wakes:.0f}",
            f"{base[2].cpu / max(base[2].wall, 1e-9):.2%}, {base[1]:.0f} ({beyond})",
            "",
        ),
    ]


def _quiet(running: DaemonProcess, seconds: float) -> tuple[float, float, Cost]:
    """Transactions and wakes a second of a daemon that has nothing to do, and what it costs."""
    process = psutil.Process(running.pid)
    before, switched = transactions(running), process.num_ctx_switches().voluntary
    with measured(running.pid) as cost:
        time.sleep(seconds)
    switched = process.num_ctx_switches().voluntary - switched
    return (transactions(running) - before) / cost.wall, switched / cost.wall, cost


def _beside(folder: Path, count: int) -> Figure:
    """CPU of a first sync with and without webhooks that it is no news to; the least of two each."""
    least = {0: float("inf"), MANY: float("inf")}
    for turn in range(2):
        for number in least:
            words = ("--pilots", "1", "--history", str(count), "--no-limits", "--prebuild", str(count))
            with eve(*words) as simulator:
                fast = {"esi": {"requests_per_second": 10_000, "max_connections": 20}}
                with _daemon(folder / f"{turn}-{number}", simulator, number, **fast) as running:
                    with measured(running.pid) as cost:
                        log_all_in(running, simulator)
                        wait_stored(running, count, 300.0)
                    if running.stored() != count:
                        raise RowFailed(f"{running.stored()} of {count} stored")
                least[number] = min(least[number], cost.cpu)
    ours, alone = (least[each] / count for each in (MANY, 0))
    return Figure(
        f"a first sync of {count} beside {MANY} webhooks: CPU a mail",
        f"{ours * 1e6:.0f} µs",
        f"{alone * 1e6:.0f} µs (without)",
        f"≤ {MOST_BESIDE:g} times",
        ours / alone,
        ours <= MOST_BESIDE * alone,
    )
