"""What the rows share: a simulator, a daemon, and what a process costs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, log_in


class RowFailed(Exception):
    """What was stored is not what it should be; the figure would be worth nothing."""


@dataclass(frozen=True)
class Figure:
    """A line of the table. ok: None where there is no verdict."""

    row: str
    value: str
    floor: str
    wanted: str
    ratio: float | None = None
    ok: bool | None = None


@dataclass
class Cost:
    """What a process used between two moments. rss: the highest seen, bytes."""

    cpu: float = 0.0
    wall: float = 0.0
    rss: int = 0


@contextmanager
def measured(pid: int) -> Iterator[Cost]:
    """CPU, wall time and peak memory of a process during the block."""
    process = psutil.Process(pid)
    cost = Cost()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            try:
                cost.rss = max(cost.rss, process.memory_info().rss)
            except psutil.Error:
                return

    def spent() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    cost.rss = process.memory_info().rss
    before, began = spent(), time.perf_counter()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield cost
    finally:
        cost.cpu, cost.wall = spent() - before, time.perf_counter() - began
        over.set()
        watcher.join()


@contextmanager
def eve(*words: str) -> Iterator[SimulatorProcess]:
    """A simulator in a process of its own."""
    with SimulatorProcess(*words) as simulator:
        yield simulator


@contextmanager
def daemon(folder: Path, simulator: SimulatorProcess, **settings: dict[str, Any]) -> Iterator[DaemonProcess]:
    """A daemon whose producer keeps still unless a row wants it."""
    sections: dict[str, dict[str, Any]] = {"producer": {"enabled": False}, "log": {"level": "warning"}}
    for section, values in settings.items():
        sections.setdefault(section, {}).update(values)
    running = DaemonProcess(folder, simulator.base_url, settings=sections)
    with running:
        yield running


def log_all_in(running: DaemonProcess, simulator: SimulatorProcess) -> list[int]:
    """Every simulated pilot logs in; answers their character ids."""
    ids = [int(pilot["character_id"]) for pilot in simulator.pilots()]
    for character_id in ids:
        log_in(running.url, simulator.base_url, character_id)
    return ids


def bare_part(name: str, file: Path) -> dict[str, float]:
    """CPU and wall seconds of a bare part, alone in a process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.parts", name, str(file)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def wait_stored(running: DaemonProcess, count: int, timeout: float) -> None:
    """Until so many mails are stored; asks rarely, so that asking costs nothing."""
    deadline = time.monotonic() + timeout
    while running.stored() < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{running.stored()} of {count} mails after {timeout} s\n{running.tail()}")
        time.sleep(0.1)
