"""`killsyncd import --everef` over a month, or a year, of full days, for a corporation of 50 pilots.

A day's archive is two bzip2 streams, which is one archive: 19,800 strangers' killmails, the same every day,
and 200 with one of ours on it, which are new. What is read, looked at and passed over does not get cheaper by
having been read before; what is kept is stored. `KILLSYNCD_BENCH_DAYS=365` makes it a year.
"""

from __future__ import annotations

import bz2
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from bench.history import MAILS, OURS, UNPACK, told_by
from bench.rig import Figure, RowFailed
from killsyncd.simulator import SimulatorConfig
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.everef import EverefRoutes
from killsyncd.simulator.ledger import RequestLedger
from killsyncd.simulator.world import World
from tests.support import DaemonProcess

FIRST_DAY = date(2025, 1, 1)
WARM = 3
"""Days after which memory is as it stays: names, caches and the allocator's arenas are there."""
MOST_GROWTH = 1.1
MOST_OF_BARE = 1.5
MOST_BYTES = 100e6
LEAST_PACE = 8000


class Archive:
    """The days, as EVE Ref serves them."""

    def __init__(self, mails: int) -> None:
        self.mails = mails
        self._world = World(SimulatorConfig(pilots=50, history=0, body_cache=0), SimClock())
        self._routes = EverefRoutes(self._world, RequestLedger(self._world.clock), set())
        self._rng = random.Random(1)
        self._pilots = list(self._world.pilots.values())
        strangers = [self._world.new_mail([], kind="gang") for _ in range(mails - mails // OURS)]
        tar = self._routes.tar(strangers)
        # Without the blocks that end a tar, so that ours can follow.
        self.bulk = bz2.compress(tar[: _end_of_members(tar)])
        self.asked: list[date] = []

    def pilots(self) -> list[int]:
        """Ours."""
        return [pilot.character_id for pilot in self._pilots]

    def day(self, day: date) -> bytes:
        """A day, packed; ours are made when it is asked for."""
        self.asked.append(day)
        age = (date.today() - day).days * 86_400.0
        ours = [
            self._world.new_mail([self._rng.choice(self._pilots)], kind="gang", age=age)
            for _ in range(self.mails // OURS)
        ]
        return self.bulk + bz2.compress(self._routes.tar(ours))


def _end_of_members(tar: bytes) -> int:
    """Where the padding of zeroes begins, in whole blocks."""
    end = len(tar.rstrip(b"\0"))
    return end + -end % 512


@contextmanager
def served(archive: Archive, days: list[date]) -> Iterator[str]:
    """The archive over HTTP; its address."""
    totals = json.dumps({f"{day:%Y%m%d}": archive.mails for day in days}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is http.server's
            name = self.path.rsplit("/", 1)[-1]
            body = totals
            if name != "totals.json":
                body = archive.day(date.fromisoformat(name.removeprefix("killmails-")[:10]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # the parameter's name is http.server's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def history_import(folder: Path, quick: bool) -> list[Figure]:
    """The whole command: fetch, unpack, look, keep, store; its CPU and its memory over the days."""
    count = int(os.environ.get("KILLSYNCD_BENCH_DAYS", "8" if quick else "30"))
    archive = Archive(MAILS // 10 if quick else MAILS)
    days = [FIRST_DAY + timedelta(days=number) for number in range(count)]
    with served(archive, days) as url:
        home = DaemonProcess(folder, "http://127.0.0.1:9", settings={"history": {"everef_url": url}})
        words = ["--everef", f"{days[0]}..{days[-1]}"]
        for pilot in archive.pilots():
            words += ["--character", str(pilot)]
        before_it = _bare(folder, archive)
        cpu, seen = _run(home, words, archive)
        before = len(archive.asked)
        bare = (before_it + _bare(folder, archive)) / 2
        again, _ = _run(home, words, archive)
    wanted = count * (archive.mails // OURS)
    if home.stored() != wanted or before != count or len(archive.asked) != count:
        raise RowFailed(f"{home.stored()} of {wanted} stored; {len(archive.asked)} days asked for")
    total = count * archive.mails
    settled = [rss for asked, rss in seen if asked > min(WARM, count // 2)]
    part = len(settled) // 4 or 1
    first, last = max(settled[:part]), max(settled[-part:])
    cpu -= again  # what starting costs, and asking what was read
    return [
        Figure(
            f"import --everef, {count} days of {archive.mails:,} killmails, {wanted:,} stored, one core",
            f"{total / cpu:,.0f} a second",
            f"{archive.mails / bare:,.0f} (bunzip2 alone, before and after)",
            "≥ 8,000 a second; on a slower machine ≤ 1.5 times bunzip2",
            cpu / count / bare,
            total / cpu >= LEAST_PACE or cpu / count <= MOST_OF_BARE * bare,
        ),
        Figure(
            "memory of it, the last quarter of the time",
            f"{last / 1e6:.0f} MB",
            f"{first / 1e6:.0f} MB (the first)",
            "≤ 100 MB, ≤ 1.1 times",
            last / first,
            last <= MOST_BYTES and last <= MOST_GROWTH * first,
        ),
        Figure("the same import again: nothing is fetched", f"{again:.1f} s of CPU", "", ""),
    ]


def _bare(folder: Path, archive: Archive) -> float:
    """CPU seconds of unpacking a day and nothing else."""
    path = folder / "bare.tar.bz2"
    path.write_bytes(archive.bulk)
    return told_by(UNPACK, str(path))["cpu"]


def _run(home: DaemonProcess, words: list[str], archive: Archive) -> tuple[float, list[tuple[int, int]]]:
    """Seconds of CPU, and the memory seen, with how many days had been asked for."""
    command = [sys.executable, "-m", "killsyncd", "import", *words, "--json", "--config", str(home.config)]
    seen: list[tuple[int, int]] = []
    with (home.folder / "import.json").open("wb") as out:
        running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=home.environ)
        memory = psutil.Process(running.pid)
        while not (ended := os.wait4(running.pid, os.WNOHANG))[0]:
            seen.append((len(archive.asked), memory.memory_info().rss))
            time.sleep(0.1)
    running.returncode = os.waitstatus_to_exitcode(ended[1])
    if running.returncode != 0:
        raise RowFailed((home.folder / "import.json").read_text()[-500:])
    return ended[2].ru_utime + ended[2].ru_stime, seen
