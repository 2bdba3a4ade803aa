"""Power cuts: what was not synced is lost, in whole or in part; what somebody was shown survives.

A library loaded into the daemon (unsynced.c) notes each write and each fsync of the database's files. After
a SIGKILL the files are built anew as a disk might hold them: up to the last fsync all of it, of what came
after it any part, and some of that torn.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, count_mails, settle
from tests.support import QUICK, DaemonProcess, pilots_of
from tests.support.mails import stored_ids
from tests.support.stopped_daemon import let_waiting_pass

_HEAD = struct.Struct("=cqq")
_SECTOR = 512


def power(scene: Scene) -> Outcome:
    """Cuts during a first sync and polls."""
    library = _library(scene.folder)
    eve = scene.stage.eve(
        pilots=4, history=60, page_size=25, cache=LIST_LIFE, no_limits=True, latency=0.01, seed=scene.seed
    )
    pilots = pilots_of(eve)
    folder = scene.folder / "daemon"
    daemon = scene.stage.daemon(
        eve,
        QUICK,
        environ={"LD_PRELOAD": str(library), "UNSYNCED_PREFIX": str(folder / "killsyncd.db")},
    )
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    forgotten = 0
    for _ in range(scene.times(10, 100)):
        time.sleep(scene.rng.uniform(0.0, 0.8))
        shown = _shown(daemon)
        daemon.kill()
        forgotten += _cut(folder, scene.rng)
        found.tried += 1
        found.lost += len(shown - _survived(folder))
        eve.add_mails(1, [scene.rng.choice(pilots)])
        if found.tried % 4 == 3:
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
            _forget_notes(folder)
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    found.figures["writes lost"] = str(forgotten)
    if bad := [each["state"] for each in daemon.ctl("users")["users"] if each["state"] != "ok"]:
        found.wrong.append(f"pilots are {bad}")
    return found


def _library(folder: Path) -> Path:
    made = folder / "unsynced.so"
    source = Path(__file__).with_name("unsynced.c")
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    except OSError as error:
        raise RuntimeError(f"there is no C compiler ({error}): install gcc, or set CC") from error
    return made


def _shown(daemon: DaemonProcess) -> set[int]:
    """What a reader beside the daemon sees committed."""
    try:
        return stored_ids(daemon)
    except sqlite3.Error:
        return set()


def _survived(folder: Path) -> set[int]:
    """What SQLite finds in a copy of the files: the daemon is to meet them as they are."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("killsyncd.db", "killsyncd.db-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy)
        rows = sqlite3.connect(Path(copy) / "killsyncd.db")
        try:
            return {int(row[0]) for row in rows.execute("SELECT killmail_id FROM killmails")}
        finally:
            rows.close()


def _cut(folder: Path, rng: random.Random) -> int:
    """Build the database's files as a power cut leaves them; answers how many writes are lost or torn."""
    lost = 0
    for notes in folder.glob("killsyncd.db*.writes"):
        path = notes.with_name(notes.name.removesuffix(".writes"))
        operations = _read(notes)
        synced = max((n for n, each in enumerate(operations) if each[0] == b"s"), default=-1)
        image = bytearray()
        for number, (kind, offset, data) in enumerate(operations):
            if number > synced and kind != b"s" and rng.random() < 0.5:
                lost += 1
                if kind == b"w" and rng.random() < 0.5:
                    data = data[: rng.randrange(len(data) // _SECTOR + 1) * _SECTOR]
                else:
                    continue
            if kind == b"w":
                if len(image) < offset:
                    image.extend(bytes(offset - len(image)))
                image[offset : offset + len(data)] = data
            elif kind == b"t":
                del image[offset:]
                image.extend(bytes(offset - len(image)))
        path.write_bytes(image)
        _note_image(notes, bytes(image))
    for gone in folder.glob("killsyncd.db-shm"):
        gone.unlink()
    return lost


def _read(notes: Path) -> list[tuple[bytes, int, bytes]]:
    raw, at, found = notes.read_bytes(), 0, list[tuple[bytes, int, bytes]]()
    while at + _HEAD.size <= len(raw):
        kind, offset, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        found.append((kind, offset, raw[at : at + length] if kind == b"w" else b""))
        at += length if kind == b"w" else 0
    return found


def _note_image(notes: Path, image: bytes) -> None:
    """What the disk holds now is where the next notes begin."""
    head = _HEAD.pack(b"t", 0, 0) + _HEAD.pack(b"w", 0, len(image))
    notes.write_bytes(head + image + _HEAD.pack(b"s", 0, 0))


def _forget_notes(folder: Path) -> None:
    """Somebody else wrote into the database, without the library: begin with what is there."""
    for notes in folder.glob("killsyncd.db*.writes"):
        path = notes.with_name(notes.name.removesuffix(".writes"))
        if path.exists():
            _note_image(notes, path.read_bytes())
        else:
            notes.unlink()


POWER: dict[str, Row] = {"power-cut": power} if shutil.which(os.environ.get("CC", "cc")) else {}
