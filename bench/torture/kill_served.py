"""SIGKILL of the daemon while it works for somebody: an import, a backup, an erasing.

What its client was told is so after the restart, and what it was not told can be asked for again.
"""

from __future__ import annotations

import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    all_home,
    count_logged_out,
    count_mails,
    foreign_mails,
    settle,
)
from killsyncd.control.client import ControlClient
from killsyncd.core.errors import KillsyncdError
from killsyncd.simulator import SimulatorProcess
from killsyncd.storage.sqlite import backup as backups
from tests.support import DaemonProcess, pilots_of, wait_for
from tests.support.mails import half_done, listed_ids, stored_ids
from tests.support.stopped_daemon import let_waiting_pass

SETTINGS = {"producer": {"interval": "2s", "min_age": "1s"}}
MAILS_APART = 10**6
"""Between the first ids of two files that are imported."""


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon with everything at home, its client, and what is found out about both."""

    scene: Scene
    eve: SimulatorProcess
    daemon: DaemonProcess
    client: ControlClient
    found: Outcome

    def killed_in(self, work: Callable[[], Any], took: float, *, erased: bool = False) -> Any | None:
        """The daemon dies within the seconds that a work takes, and comes back. What the client was told,
        None where it was told nothing."""
        told = list[Any]()

        def ask() -> None:
            with suppress(KillsyncdError, OSError):
                told.append(work())

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(self.scene.rng.uniform(0.0, took))
        self.daemon.kill()
        asking.join()
        self.found.tried += 1
        with self.daemon.rows() as rows:
            self.found.wrong += half_done(rows, erased=erased)
        began = time.monotonic()
        self.daemon.start()
        self.found.recovery.append(time.monotonic() - began)
        return told[0] if told else None

    def must(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.found.wrong.append(what)


def served(scene: Scene) -> Outcome:
    """Imports and backups through a daemon, and erasing, with the daemon killed inside."""
    tries = scene.times(3, 20)
    eve = scene.stage.eve(
        pilots=tries + 3, history=40, sharing=0.3, cache=LIST_LIFE, no_limits=True, seed=scene.seed
    )
    daemon = scene.stage.daemon(eve, SETTINGS)
    scene.stage.log_in(daemon, eve)
    pilots = pilots_of(eve)
    all_home(daemon, eve, pilots)
    client = ControlClient(str(daemon.folder / "killsyncd.sock"))
    found = Outcome()
    row = Served(scene, eve, daemon, client, found)
    imported = _imports(row, tries)
    _backups(row, tries)
    erased = pilots[: tries + 1]
    _erasures(row, erased, imported)
    daemon.stop()
    let_waiting_pass(daemon, longest_cache=LIST_LIFE)
    daemon.start()
    scene.stage.log_in(daemon, eve, *erased)
    settle(daemon, eve, pilots)
    found.lost += len(imported - stored_ids(daemon))
    count_mails(found, daemon, eve, pilots)
    count_logged_out(found, daemon)
    return found


def _timed(work: Callable[[], Any]) -> float:
    """The seconds that a work takes when nobody is killed."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _imports(row: Served, tries: int) -> set[int]:
    """Each import brings mails that nobody has seen; answers the ids of all of them."""
    lines, imported, cut = row.scene.folder / "foreign.jsonl", set[int](), 0

    def upload() -> Any:
        return row.client.upload("/v1/import", iter([lines.read_bytes()]))

    took = 0.0
    for number in range(tries + 1):
        ids = foreign_mails(row.eve, lines, 3, first=10**9 + number * MAILS_APART)
        imported |= ids
        if number == 0:
            took = _timed(upload)
            continue
        told = row.killed_in(upload, took)
        there = ids & stored_ids(row.daemon)
        if told is None:
            cut += 1
        else:
            row.found.lost += told["stored"] + told["known"] - len(there)
        again = upload()
        row.must(
            (again["stored"], again["known"], again["bad"]) == (len(ids - there), len(there), 0),
            f"an import that was run again told {again} with {len(there)} of {len(ids)} there",
        )
        row.found.lost += len(imported - stored_ids(row.daemon))
    row.found.figures["imports cut"] = f"{cut} in {took:.2f} s"
    return imported


def _backups(row: Served, tries: int) -> None:
    """A backup that the client took for whole is, and has everything."""
    copy, cut = row.scene.folder / "copy.tar", 0

    def back_up() -> bool:
        with copy.open("wb") as file:
            for piece in row.client.chunks("/v1/backup", post=True):
                file.write(piece)
        return True

    took = _timed(back_up)
    for _ in range(tries):
        if row.killed_in(back_up, took):
            row.found.lost += len(stored_ids(row.daemon) - _copied(copy, row.scene.folder))
        else:
            cut += 1
        left = [each.name for each in row.daemon.folder.glob(".*.backup-*")]
        row.must(not left, f"a backup that was cut off has left {left}")
        back_up()
        row.found.lost += len(stored_ids(row.daemon) - _copied(copy, row.scene.folder))
    row.found.figures["backups cut"] = f"{cut} in {took:.2f} s"


def _copied(copy: Path, folder: Path) -> set[int]:
    """The ids in a backup. Raises BadInput where it is not whole."""
    backups.verify(copy)
    with tarfile.open(copy) as tar:
        tar.extract("killsyncd.db", folder, filter="data")
    with closing(sqlite3.connect(folder / "killsyncd.db")) as rows:
        return {int(each[0]) for each in rows.execute("SELECT killmail_id FROM killmails")}


def _erasures(row: Served, pilots: list[int], imported: set[int]) -> None:
    """One pilot after the other is erased: what only their list showed goes, nothing else, all at once."""
    left, cut, again, took = pilots_of(row.eve), 0, 0, 0.0
    for pilot in pilots:

        def erase(pilot: int = pilot) -> Any:
            return row.client.post("/v1/logout", {"user": str(pilot), "erase": True})

        before = stored_ids(row.daemon)
        left.remove(pilot)
        after = listed_ids(row.eve, left) | imported
        if not took:
            took = _timed(erase) / 2  # the rest goes into taking the grant back
        else:
            told = row.killed_in(erase, took, erased=True)
            cut += told is None
            there = _is_user(row.daemon, pilot)
            row.must(told is None or not there, f"{pilot} is there after an erasing that was confirmed")
            now = stored_ids(row.daemon)
            row.found.lost += len((before if there else after) - now)
            row.must(there or now <= after, f"{pilot} is gone, {len(now - after)} of their mails are not")
            if there:
                erase()
                again += 1
        now = stored_ids(row.daemon)
        row.found.lost += len(after - now)
        row.must(now <= after, f"erasing {pilot} has left {len(now - after)} mails")
        row.must(not _is_user(row.daemon, pilot), f"{pilot} is still there")
    row.found.figures["erasings cut"] = f"{cut} in {took:.2f} s, {again} of them before they were done"
    # Taking the grants back goes on after the restarts.
    wait_for(lambda: not row.daemon.value("SELECT COUNT(*) FROM revocations"), 30, row.daemon.tail)


def _is_user(daemon: DaemonProcess, pilot: int) -> bool:
    return bool(daemon.value("SELECT COUNT(*) FROM users WHERE character_id = ?", pilot))


KILL_SERVED: dict[str, Row] = {"kill-served": served}
