"""`python -m bench.torture [--long] [--seed N] [ROW ...]`: the table; exit 1 where a row does not hold.

Without a ROW the short form plays most of them, and a few of those that are alike (kill-*, storm-*) or
take minutes.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from bench.torture.clocks import CLOCKS
from bench.torture.days import DAYS
from bench.torture.disk import DISK
from bench.torture.kill_commands import KILL_COMMANDS
from bench.torture.kill_served import KILL_SERVED
from bench.torture.kills import KILLS
from bench.torture.lists import LISTS
from bench.torture.pauses import PAUSES
from bench.torture.power import POWER
from bench.torture.rig import Outcome, Row, scene
from bench.torture.servers import SERVERS
from bench.torture.sso import SSO
from bench.torture.storms import STORMS

ROWS: dict[str, Row] = {
    **KILLS,
    **KILL_COMMANDS,
    **KILL_SERVED,
    **POWER,
    **STORMS,
    **PAUSES,
    **LISTS,
    **SSO,
    **CLOCKS,
    **DISK,
    **SERVERS,
    **DAYS,
}
SLOW = (*LISTS, *SSO, *CLOCKS, *SERVERS, *DAYS)
SAMPLED = (
    (SLOW, 2),
    (tuple(name for name in ROWS if name.startswith("kill-")), 3),
    (tuple(name for name in ROWS if name.startswith("storm-")), 2),
)
"""Of rows that are alike, or that take minutes, the short form plays so many, chosen by the seed."""

HEADER = (
    "| fault | tried | lost | doubled | early | recovery p99 | figures | |\n|---|---|---|---|---|---|---|---|"
)


def line(name: str, found: Outcome) -> str:
    """A row of the table."""
    recovery = "" if found.recovery_p99 is None else f"{found.recovery_p99:.1f} s"
    figures = ", ".join(f"{key} {value}" for key, value in found.figures.items())
    verdict = "ok" if found.ok else "FAILED: " + "; ".join(found.wrong or ["see the counts"])
    return (
        f"| {name} | {found.tried} | {found.lost} | {found.doubled} | {found.early} | {recovery} "
        f"| {figures} | {verdict} |"
    )


def main() -> int:
    """Provoke, count, tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.torture", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--long", action="store_true", help="the thorough form: an hour or more")
    parser.add_argument("--seed", type=int, default=None, help="of a run that is to be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once; most of their time is waiting")
    parser.add_argument("--every-row", action="store_true", help="the short form without leaving rows out")
    chosen = parser.parse_args()
    if unknown := [each for each in chosen.rows if each not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; known: {', '.join(ROWS)}")
    seed = random.SystemRandom().randrange(1 << 32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}\n\n{HEADER}", flush=True)
    failed, began = 0, time.monotonic()
    names = chosen.rows or (list(ROWS) if chosen.long or chosen.every_row else sample(seed))
    with ThreadPoolExecutor(chosen.jobs) as pool:
        playing = {pool.submit(play, name, seed, chosen.long): name for name in names}
        for done in as_completed(playing):
            found = done.result()
            failed += not found.ok
            print(line(playing[done], found), flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"\nin {time.monotonic() - began:.0f} s, with {cpu:.0f} s of CPU", flush=True)
    return 1 if failed else 0


def sample(seed: int) -> list[str]:
    """The rows of the short form, those that take long first."""
    rng, left_out = random.Random(seed), set[str]()
    for alike, count in SAMPLED:
        left_out |= set(alike) - set(rng.sample(alike, count))
    return sorted((name for name in ROWS if name not in left_out), key=lambda name: name not in SLOW)


def play(name: str, seed: int, long: bool) -> Outcome:
    """One row, in a folder of its own. A row that fails is told as such, and the others run."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="killsyncd-torture-") as folder:
        try:
            with scene(Path(folder), seed, long) as stage:
                found = ROWS[name](stage)
        except Exception as error:
            found = Outcome(wrong=[f"{type(error).__name__}: {' '.join(str(error).split())[-400:]}"])
    found.figures["in"] = f"{time.monotonic() - began:.0f} s"
    return found


if __name__ == "__main__":
    sys.exit(main())
