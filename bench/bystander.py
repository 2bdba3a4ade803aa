"""Somebody who asks a daemon for `/healthz` over and over, and sees how long it was held up.

Each answer is measured twice: by the clock, and by the CPU time that the daemon's main thread used meanwhile.
On a machine that does much else the clock tells of the others, too; the CPU time is the daemon's own, and no
step of its loop that came between question and answer can have been longer. (It counts up to three rounds of
the loop: reading, handling, answering.)

Run as `python -m bench.bystander URL PID` it asks until its standard input ends, and prints what it saw.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PAUSE = 0.003
PATIENCE = 60.0


@dataclass
class Seen:
    """Of each answer, in seconds. wall: by the clock. cpu: of the daemon's main thread meanwhile."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@contextmanager
def bystander(url: str, pid: int) -> Iterator[Seen]:
    """Ask during the block."""
    seen = Seen()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bystander", url, str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield seen
        out, _ = process.communicate(timeout=2 * PATIENCE)
        found = json.loads(out)
        seen.wall, seen.cpu = found["wall"], found["cpu"]
    finally:
        process.kill()
        process.wait()


def main_thread_seconds(pid: int) -> float:
    """CPU time of a process's main thread so far, to the nanosecond where the kernel tells."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def stand_by(url: str, pid: int) -> None:
    """Ask until standard input ends."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)
    seen = Seen()
    over = subprocess.Popen(["cat"], stdout=subprocess.DEVNULL)  # ends with our standard input
    print("ready", flush=True)
    while over.poll() is None:
        used, began = main_thread_seconds(pid), time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        seen.wall.append(time.perf_counter() - began)
        seen.cpu.append(main_thread_seconds(pid) - used)
        time.sleep(PAUSE)
    print(json.dumps({"wall": seen.wall, "cpu": seen.cpu}))


if __name__ == "__main__":
    stand_by(sys.argv[1], int(sys.argv[2]))
