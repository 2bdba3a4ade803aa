"""The row of fresh kills: from the kill to the feed, over hours that pass twenty times as fast.

libfaketime makes the clocks of simulator, daemons and this driver run so; without it the row is left out.
The same kills happen in two EVEs at once, one for a daemon with `producer.active_for` of an hour, one for a
daemon that goes by the interval alone. The floor is what `Expires` allows: a kill cannot be seen before the
answer that ESI has cached of the lists that show it has ended.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from bench.rig import Figure, RowFailed
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, log_in

T = TypeVar("T")

SPEED = 20
FLEETS, FLEET, QUIET = 2, 5, 10
"""Fleets of so many pilots, and pilots who hardly fight."""
BETWEEN_KILLS = 240.0
"""Seconds between two kills of a fleet, on average."""
AFTERWARDS = 900.0
"""Seconds after the last kill by which all are stored."""
ACTIVE = {"1h": "3600s", "0s": "0s"}
BEST = 1.5
"""Fighters of the daemon that lists them sooner wait so many times what Expires allows, at most."""


@dataclass
class Side:
    """One EVE with its daemon. least: what Expires allows, by killmail; kills: who fought, and when."""

    eve: SimulatorProcess
    running: DaemonProcess
    pilots: list[int]
    least: dict[int, float] = field(default_factory=dict)
    kills: dict[int, tuple[str, float]] = field(default_factory=dict)


def fresh_kills(folder: Path, quick: bool) -> list[Figure]:
    """Median and 95th percentile from kill to feed, of who fights and of who does not."""
    faketime = shutil.which("faketime")
    if faketime is None:
        print("fresh-kills is left out: faketime is not installed", file=sys.stderr)
        return []
    hours = 1 if quick else 2
    words = [faketime, "-f", f"+0 x{SPEED}", sys.executable, "-m", "bench.fights", str(folder), str(hours)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RowFailed("the hours did not pass as they should")
    return [_figure(hours, **each) for each in json.loads(done.stdout)]


def _figure(hours: int, who: str, active_for: str, took: list[float], least: list[float]) -> Figure:
    median, tail, floor, floor_tail = (*_spread(took), *_spread(least))
    ratio = median / floor if floor else None
    judged = who == "fighters" and active_for != "0s" and ratio is not None
    return Figure(
        f"from kill to feed, {who}, active_for {active_for} ({len(took)} kills in {hours} h): median, p95",
        f"{median:.0f} s, {tail:.0f} s",
        f"{floor:.0f} s, {floor_tail:.0f} s (what Expires allows)",
        f"median ≤ {BEST:g} times" if judged else "",
        ratio,
        ratio <= BEST if judged and ratio is not None else None,
    )


def _spread(seconds: Sequence[float]) -> tuple[float, float]:
    return statistics.median(seconds), statistics.quantiles(seconds, n=20, method="inclusive")[-1]


# -- in hours that pass faster -------------------------------------------------------------------


def main(folder: Path, hours: int) -> None:
    """Live through the hours and print the figures as JSON."""
    with ExitStack() as stack:
        sides = {name: _side(stack, folder / name, active) for name, active in ACTIVE.items()}
        begun = time.time() + 600.0  # first syncs are over by then, and no list is listed as a newcomer's
        for at, who, crew in _schedule(hours * 3600.0):
            time.sleep(max(0.0, begun + at - time.time()))
            for side in sides.values():
                _kill(side, who, crew)
        time.sleep(AFTERWARDS)
        print(json.dumps([found for name, side in sides.items() for found in _measured(name, side)]))


def _side(stack: ExitStack, folder: Path, active_for: str) -> Side:
    pilots = FLEETS * FLEET + QUIET
    words = ("--pilots", str(pilots), "--history", "2", "--pilots-per-corporation", str(FLEET))
    eve = stack.enter_context(SimulatorProcess(*words, start_timeout=60.0 * SPEED))
    # An answer may take as long as ever, by the machine's clock.
    settings = {
        "producer": {"active_for": active_for},
        "esi": {"timeout": "300s"},
        "log": {"level": "warning"},
    }
    running = DaemonProcess(folder, eve.base_url, settings=settings)
    stack.callback(running.kill)
    running.start(wait=False)
    running.wait_ready(60.0 * SPEED)
    ids = [int(each["character_id"]) for each in eve.pilots()]
    for each in ids:
        _patiently(lambda each=each: log_in(running.url, eve.base_url, each))  # type: ignore[misc]
    return Side(eve, running, ids)


def _patiently(work: Callable[[], T]) -> T:
    """Deadlines of thirty seconds are one and a half in these hours."""
    for _ in range(10):
        try:
            return work()
        except (OSError, TimeoutError):
            time.sleep(SPEED)
    return work()


def _schedule(seconds: float) -> Iterator[tuple[float, str, list[int]]]:
    """Kills in order: when, of whom, and places of the pilots on it; the first dies by the second's hand."""
    rng = random.Random(12)
    found: list[tuple[float, str, list[int]]] = []
    for fleet in range(FLEETS):
        members = range(fleet * FLEET, (fleet + 1) * FLEET)
        at = rng.uniform(0.0, BETWEEN_KILLS)
        while at < seconds:
            found.append((at, "fighters", rng.sample(members, rng.randint(2, FLEET))))
            at += rng.expovariate(1 / BETWEEN_KILLS)
    for quiet in range(FLEETS * FLEET, FLEETS * FLEET + QUIET):
        found.append((rng.uniform(0.0, seconds), "quiet pilots", [quiet]))
    yield from sorted(found)


def _kill(side: Side, who: str, crew: Sequence[int]) -> None:
    crew = [side.pilots[place] for place in crew]
    shared = len(crew) > 1
    listing = crew[:2] if shared else crew
    cached = [_cached_until(side.running, each) for each in listing]
    (made,) = side.eve.add_mails(1, crew, shared=shared, **({"loss": True} if shared else {}))
    now, killmail_id = time.time(), int(made["killmail_id"])
    side.kills[killmail_id] = who, now
    side.least[killmail_id] = max(0.0, min(cached) - now)


def _cached_until(running: DaemonProcess, pilot: int) -> float:
    sql = (
        "SELECT p.expires_at FROM pages p JOIN sources s ON s.id = p.source_id "
        "WHERE s.kind = 'character' AND s.subject_id = ? AND p.page = 1"
    )
    return float(running.value(sql, pilot) or 0.0)


def _measured(active_for: str, side: Side) -> list[dict[str, Any]]:
    with sqlite3.connect(side.running.database) as rows:
        stored = {
            int(row[0]): datetime.fromisoformat(row[1]).replace(tzinfo=UTC).timestamp()
            for row in rows.execute("SELECT killmail_id, created_at FROM killmails")
        }
    missing = side.kills.keys() - stored.keys()
    if missing or (found := side.eve.breaches()):
        raise RowFailed(f"missing {sorted(missing)}, breaches {[] if missing else found[:3]}")
    told = []
    for who in ("fighters", "quiet pilots"):
        ids = [each for each, (name, _) in side.kills.items() if name == who]
        took = [max(0.0, stored[each] - side.kills[each][1]) for each in ids]
        least = [side.least[each] for each in ids]
        told.append({"who": who, "active_for": active_for, "took": took, "least": least})
    return told


if __name__ == "__main__":
    assert "FAKETIME" in os.environ, "see fresh_kills"
    main(Path(sys.argv[1]), int(sys.argv[2]))
