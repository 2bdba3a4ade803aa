"""SIGKILL inside commands that work without a daemon. `kill_served` kills the daemon that works for one."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    all_home,
    count_logged_out,
    count_mails,
    foreign_mails,
    let_settle,
)
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, pilots_of
from tests.support.mails import half_done, stored_ids

SETTINGS = {"producer": {"interval": "2s", "min_age": "1s"}}


@dataclass(frozen=True, slots=True)
class Case:
    """A command that is killed. again: makes room for another run after one that came to its end."""

    name: str
    words: list[str]
    again: Callable[[], None] = lambda: None


def alone(scene: Scene) -> Outcome:
    """import, backup, rotate-key and migrate-store without a daemon: killed inside, then run to their end."""
    eve, daemon, found = _at_home(scene)
    lines, moved = scene.folder / "foreign.jsonl", scene.folder / "moved.db"
    wanted = stored_ids(daemon) | foreign_mails(eve, lines, scene.times(8, 30))
    copy = scene.folder / "copy.tar"
    for case in (
        Case("import", ["import", str(lines)]),
        Case("backup", ["backup", "--output", str(copy)], lambda: copy.unlink(missing_ok=True)),
        Case("rotate-key", ["rotate-key"]),
        Case("migrate-store", ["migrate-store", "--to", f"sqlite:///{moved}"], lambda: _remove(moved)),
    ):
        _kill(scene, daemon, case, found)
    _moved_whole(found, moved, wanted)
    found.lost += len(wanted - stored_ids(daemon))
    began = time.monotonic()
    daemon.start()
    found.recovery.append(time.monotonic() - began)
    let_settle(daemon, eve, pilots_of(eve))
    count_mails(found, daemon, eve, pilots_of(eve))
    count_logged_out(found, daemon)
    return found


def _kill(scene: Scene, daemon: DaemonProcess, case: Case, found: Outcome) -> None:
    """A command killed at moments spread over the time that it takes; then once to its end."""
    took = 2.0
    inside = 0
    for _ in range(scene.times(3, 30)):
        ended_after = _killed(daemon, case.words, scene.rng.uniform(0.3, 1.0) * took)
        found.tried += 1
        if ended_after is None:
            inside += 1
            took *= 1.3  # nobody knows yet how long it takes
        else:
            took = ended_after
            case.again()
    case.again()
    done = daemon.command(*case.words, timeout=300.0)
    if done.returncode != 0:
        found.wrong.append(f"{case.name} afterwards: {done.returncode} {done.stderr.strip()[-300:]}")
    found.figures[f"{case.name} cut"] = str(inside)


def _killed(daemon: DaemonProcess, words: list[str], after: float) -> float | None:
    """Run a command and kill it; the seconds that it took where it was quicker."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "killsyncd", *words, "--config", str(daemon.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        cwd=daemon.folder,
        env=daemon.environ,
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    return time.monotonic() - began


def _at_home(scene: Scene) -> tuple[SimulatorProcess, DaemonProcess, Outcome]:
    """A daemon with everything stored, stopped."""
    eve = scene.stage.eve(pilots=3, history=40, sharing=0.3, cache=LIST_LIFE, no_limits=True, seed=scene.seed)
    daemon = scene.stage.daemon(eve, SETTINGS)
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots_of(eve))
    daemon.stop()
    return eve, daemon, Outcome()


def _moved_whole(found: Outcome, moved: Path, wanted: set[int]) -> None:
    """The store that migrate-store filled has everything, too."""
    with closing(sqlite3.connect(moved)) as rows:
        there = {int(row[0]) for row in rows.execute("SELECT killmail_id FROM killmails")}
        found.wrong += half_done(rows)
    found.lost += len(wanted - there)


def _remove(database: Path) -> None:
    for path in database.parent.glob(database.name + "*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)


KILL_COMMANDS: dict[str, Row] = {"kill-commands": alone}
