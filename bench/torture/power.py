"""Power cuts: what was not synced is lost, in whole or in part; what somebody was shown survives.

A library loaded into the daemon (unsynced.c) notes each write and each fsync of the database's files, and can
end the daemon at any write: inside a commit. The files are then built anew as a disk might hold them
(disk_log.py).
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench.torture.compiled import has_compiler, library
from bench.torture.disk_log import Disk, begin_log, log_of, read_notes
from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    count_logged_out,
    count_mails,
    foreign_mails,
    settle,
)
from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, pilots_of, wait_for
from tests.support.mails import half_done
from tests.support.stopped_daemon import let_waiting_pass


@dataclass
class Shown:
    """What a reader saw committed. log: bytes of the library's log when he had read it."""

    log: int
    mails: set[int] = field(default_factory=set)
    grants: dict[str, int] = field(default_factory=dict)
    """User to version: a refresh token that was replaced, and is used from now on."""

    def lost_in(self, rows: sqlite3.Connection) -> int:
        """How much of it is not there any more."""
        there = _read(rows)
        older = sum(there.grants.get(user, -1) < version for user, version in self.grants.items())
        return len(self.mails - there.mails) + older


def _read(rows: sqlite3.Connection, log: int = 0) -> Shown:
    try:
        mails = {int(row[0]) for row in rows.execute("SELECT killmail_id FROM killmails")}
        grants = {
            str(user): int(version) for user, version in rows.execute("SELECT user_id, version FROM grants")
        }
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return Shown(log)
        raise
    return Shown(log, mails, grants)


class Reader:
    """Somebody who looks at the database beside the daemon, all the time, on one connection.

    A connection of its own each time would find a dead daemon's unsynced commits by itself: nobody was shown
    those.
    """

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self.seen = [Shown(0)]
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.03):
            try:
                with self._daemon.rows() as rows:
                    while not self._over.wait(0.03):
                        found = _read(rows)
                        if not self._alive():
                            return
                        found.log = log_of(self._daemon.database).stat().st_size
                        self.seen.append(found)
            except (sqlite3.Error, OSError):
                continue  # not there yet

    def _alive(self) -> bool:
        return self._daemon.process is not None and self._daemon.process.poll() is None

    def end(self) -> list[Shown]:
        """Look no more; what was seen, the last of it last."""
        self._over.set()
        self._thread.join()
        return self.seen


def cut(scene: Scene) -> Outcome:
    """The power fails inside commits, of starts, a first sync and polls; and the daemon goes on with that."""
    eve, daemon = _prepared(scene)
    pilots = pilots_of(eve)
    found, unsynced = Outcome(), 0
    daemon.start()
    scene.stage.log_in(daemon, eve)
    daemon.stop()
    begin_log(daemon.database)
    for number in range(scene.times(10, 100)):
        seen = _until_it_fails(scene, daemon)
        disk = Disk()
        for note in read_notes(log_of(daemon.database)):
            disk.apply(note)
        unsynced += disk.cut(daemon.database, scene.rng)
        found.tried += 1
        _check(found, daemon.database, seen)
        eve.add_mails(1, [scene.rng.choice(pilots)])
        if number % 4 == 3:
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        begin_log(daemon.database)
    daemon.environ.pop("UNSYNCED_DIE_AFTER")
    began = time.monotonic()
    daemon.start()
    found.recovery.append(time.monotonic() - began)
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    found.figures["writes lost"] = str(unsynced)
    count_logged_out(found, daemon)
    return found


def _until_it_fails(scene: Scene, daemon: DaemonProcess) -> Shown:
    """Run until the power fails: at a write chosen beforehand, or after some seconds. What was shown last."""
    daemon.environ["UNSYNCED_DIE_AFTER"] = str(int(10 ** scene.rng.uniform(0.0, 3.0)))
    daemon.start(wait=False)
    reader = Reader(daemon)
    process = daemon.process
    assert process is not None
    log, before = log_of(daemon.database), log_of(daemon.database).stat().st_size
    wait_for(lambda: process.poll() is not None or log.stat().st_size > before, 60, daemon.tail)
    try:
        process.wait(6.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the daemon ended with {process.returncode}:\n{daemon.tail(20)}")
    daemon.process = None
    return reader.end()[-1]


def replay(scene: Scene) -> Outcome:
    """One run with a first start, logins, a sync, an import and checkpoints, cut at hundreds of places."""
    eve, daemon = _prepared(scene)
    daemon.start(wait=False)
    reader = Reader(daemon)
    daemon.wait_ready()
    scene.stage.log_in(daemon, eve)
    lines = scene.folder / "foreign.jsonl"
    foreign_mails(eve, lines, scene.times(3, 15))
    if daemon.command("import", str(lines)).returncode != 0:
        raise RuntimeError("the import did not end well")
    for _ in range(4):
        eve.add_mails(2)
        time.sleep(2.0)
    daemon.kill()
    seen = reader.end()
    found = Outcome()
    notes = list(read_notes(log_of(daemon.database)))
    places = [number for number, note in enumerate(notes) if note.kind in b"wt"]
    chosen = set(scene.rng.sample(places, min(len(places), scene.times(60, 1000))))
    folder = scene.folder / "copy"
    folder.mkdir()
    disk, unsynced, shown = Disk(), 0, iter(seen[1:])
    last, following = seen[0], next(shown, None)
    for number, note in enumerate(notes):
        disk.apply(note)
        while following is not None and following.log <= note.ends_at:
            last, following = following, next(shown, None)
        if number not in chosen:
            continue
        unsynced += disk.cut(folder / "killsyncd.db", scene.rng)
        found.tried += 1
        _check(found, folder / "killsyncd.db", last)
    found.figures = {"writes lost": str(unsynced), "of": str(len(places)), "readings": str(len(seen))}
    return found


def _check(found: Outcome, database: Path, shown: Shown) -> None:
    """Open what the disk holds (a copy: a daemon is to meet it as it is), and compare."""
    began = time.monotonic()
    copy = database.with_name("opened.db")
    for name in ("", "-wal", "-journal"):
        copy.with_name(copy.name + name).unlink(missing_ok=True)
        path = database.with_name(database.name + name)
        if path.exists():
            shutil.copyfile(path, copy.with_name(copy.name + name))
    try:
        with closing(sqlite3.connect(copy)) as rows:
            found.lost += shown.lost_in(rows)
            found.wrong += half_done(rows)
            if (said := rows.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                found.wrong.append(f"integrity_check: {said}")
    except sqlite3.DatabaseError as error:
        found.wrong.append(f"SQLite: {error}")
    found.recovery.append(time.monotonic() - began)


def _prepared(scene: Scene) -> tuple[SimulatorProcess, DaemonProcess]:
    """An EVE, and a daemon with the library that was not started yet."""
    made = library(scene, "unsynced")
    eve = scene.stage.eve(
        pilots=4, history=60, page_size=25, cache=LIST_LIFE, no_limits=True, latency=0.01, seed=scene.seed
    )
    database = scene.folder / "daemon" / "killsyncd.db"
    environ = {"LD_PRELOAD": str(made), "UNSYNCED_PREFIX": str(database)}
    return eve, scene.stage.daemon(eve, QUICK, start=False, environ=environ)


POWER: dict[str, Row] = {"power-cut": cut, "power-replay": replay} if has_compiler() else {}
