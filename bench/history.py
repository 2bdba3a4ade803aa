"""A day of EVE Ref's archive, read and filtered for a corporation of 50 pilots."""

from __future__ import annotations

import bz2
import json
import random
import subprocess
import sys
from pathlib import Path

from bench.rig import Figure, RowFailed
from killsyncd.simulator import SimulatorConfig
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.everef import EverefRoutes
from killsyncd.simulator.ledger import RequestLedger
from killsyncd.simulator.world import World

MAILS = 20_000
OURS = 100
"""One mail in so many has one of our pilots on it."""

READ = """
import json, resource, sys
from pathlib import Path
from killsyncd.archives.everef import Wanted, import_line, members
wanted = Wanted(characters=frozenset(json.loads(sys.argv[2])))
before = resource.getrusage(resource.RUSAGE_SELF)
read = kept = 0
for each in members(Path(sys.argv[1]), wanted):
    read += 1
    if each.wanted:
        kept += len(import_line(each)) > 0
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
# Not ru_maxrss: that of a new process begins with its parent's.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"read": read, "kept": kept, "cpu": cpu, "rss": int(peak.split()[1]) * 1024}))
"""

UNPACK = """
import bz2, json, resource, sys
with bz2.open(sys.argv[1]) as stream:
    while stream.read(1 << 16):
        pass
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime}))
"""


def history(folder: Path, quick: bool) -> list[Figure]:
    """How fast a day is read on one core, and whether memory stays flat. The least of three rounds."""
    count = MAILS // 10 if quick else MAILS
    path, pilots = _archive(folder, count)
    runs = [told_by(READ, str(path), json.dumps(pilots)) for _ in range(3)]
    bare = min(told_by(UNPACK, str(path))["cpu"] for _ in range(3))
    if {(each["read"], each["kept"]) for each in runs} != {(count, count // OURS)}:
        raise RowFailed(f"{runs[0]['read']} of {count} read, {runs[0]['kept']} kept")
    cpu, rss = min(each["cpu"] for each in runs), max(each["rss"] for each in runs)
    return [
        Figure(
            f"EVE Ref, a day of {count:,} killmails, one core",
            f"{count / cpu:,.0f} a second",
            f"{count / bare:,.0f} (bunzip2 alone)",
            "≥ 8,000 a second",
            cpu / bare,
            count / cpu >= 8000,
        ),
        Figure("memory of it", f"{rss / 1e6:.0f} MB", "", "≤ 100 MB", None, rss <= 100e6),
    ]


def _archive(folder: Path, count: int) -> tuple[Path, list[int]]:
    world = World(SimulatorConfig(pilots=50, history=0, body_cache=0), SimClock())
    pilots = list(world.pilots.values())
    rng = random.Random(1)
    mails = [
        world.new_mail([rng.choice(pilots)] if number % OURS == 0 else [], kind="gang")
        for number in range(count)
    ]
    path = folder / "day.tar.bz2"
    path.write_bytes(bz2.compress(EverefRoutes(world, RequestLedger(world.clock), set()).tar(mails)))
    return path, [pilot.character_id for pilot in pilots]


def told_by(program: str, *words: str) -> dict[str, float]:
    """What a program says, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
