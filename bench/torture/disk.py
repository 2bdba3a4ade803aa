"""A disk that is full, fails or can only be read at any write, and a database that somebody deletes.

failing_disk.c is loaded into the daemon and fails its writes for as long as a file says so.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from bench.torture.compiled import has_compiler, library
from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    all_home,
    count_logged_out,
    count_mails,
    settle,
)
from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, pilots_of, wait_for
from tests.support.mails import half_done

TROUBLES = {"full": errno.ENOSPC, "failing": errno.EIO, "read-only": errno.EROFS}
SPENT = "SELECT COUNT(*) FROM refs WHERE attempts > 0 OR refusals > 0 OR state <> 'pending'"


def disk(scene: Scene) -> Outcome:
    """New mails come while nothing can be written, from the n-th write on; some restarts fall into it."""
    eve, daemon, switch, found = *_prepared(scene), Outcome()
    pilots = pilots_of(eve)
    for number in range(scene.times(6, 60)):
        name = list(TROUBLES)[number % len(TROUBLES)]
        eve.add_mails(2, pilots)
        after = int(10 ** scene.rng.uniform(0.0, 2.5))
        switch.write_text(f"{TROUBLES[name]} {after}")
        found.tried += 1
        # What keeps a place free after a kill would be written, too: the next start meets the same disk.
        restarted = scene.rng.random() < 0.3
        time.sleep(scene.rng.uniform(3.0, 6.0))
        if restarted:
            daemon.kill()
            daemon.start(wait=False)
            time.sleep(scene.rng.uniform(1.0, 4.0))
        else:
            _still_answers(daemon, found, name)
        switch.write_text("")
        found.recovery.append(_resumed(daemon, eve, pilots))
        if spent := daemon.value(SPENT):
            found.wrong.append(f"{name}: {spent} mails were charged with an attempt")
        with daemon.rows() as rows:
            found.wrong += [f"{name}: {each}" for each in half_done(rows)]
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    count_logged_out(found, daemon)
    return found


def _prepared(scene: Scene) -> tuple[SimulatorProcess, DaemonProcess, Path]:
    """A daemon at work with the library, and the file that makes its disk fail."""
    eve = scene.stage.eve(pilots=3, history=30, cache=LIST_LIFE, latency=0.01, seed=scene.seed)
    switch = scene.folder / "switch"
    environ = {
        "LD_PRELOAD": str(library(scene, "failing_disk")),
        "FAILING_FOLDER": str(scene.folder / "daemon"),
        "FAILING_SWITCH": str(switch),
    }
    daemon = scene.stage.daemon(eve, QUICK, environ=environ)
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots_of(eve))
    return eve, daemon, switch


def _still_answers(daemon: DaemonProcess, found: Outcome, name: str) -> None:
    """Reads and ctl work; that nothing can be written is told as soon as something was to be written."""

    def told() -> bool:
        problems = daemon.ctl("status")["problems"]
        return any(each["code"] == "database_failing" for each in problems)

    try:
        wait_for(told, 20, every=0.5)
    except TimeoutError:
        found.wrong.append(f"{name}: status told nothing")
    if not daemon.graphql("{ killmails(first: 1) { edges { node { id } } } }")["killmails"]["edges"]:
        found.wrong.append(f"{name}: GraphQL found nothing")


def _resumed(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> float:
    """Seconds until all is well; a daemon that refused to start is started as a service manager does."""
    began = time.monotonic()
    assert daemon.process is not None
    try:
        daemon.wait_ready()
    except RuntimeError:
        if daemon.process.poll() is None:
            raise
        daemon.start()
    all_home(daemon, eve, pilots, 90.0)
    return time.monotonic() - began


def deleted(scene: Scene) -> Outcome:
    """The database's file is deleted under the daemon: that is told, and a backup saves everything."""
    eve = scene.stage.eve(pilots=3, history=30, cache=LIST_LIFE, latency=0.01, seed=scene.seed)
    pilots, found = pilots_of(eve), Outcome()
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots)
    for number in range(scene.times(1, 5)):
        time.sleep(scene.rng.uniform(0.0, 1.0))
        daemon.database.unlink()
        found.tried += 1
        eve.add_mails(2, pilots)
        began = time.monotonic()
        _still_answers(daemon, found, "deleted")
        copy = scene.folder / f"copy-{number}.tar"
        done = daemon.command("backup", "--output", str(copy))
        daemon.stop()
        done = daemon.command("restore", str(copy)) if done.returncode == 0 else done
        if done.returncode != 0:
            found.wrong.append(f"{done.args[3]}: {done.returncode} {done.stderr.strip()[-300:]}")
            break
        daemon.start()
        all_home(daemon, eve, pilots, 60.0)
        found.recovery.append(time.monotonic() - began)
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    count_logged_out(found, daemon)
    return found


DISK: dict[str, Row] = {**({"disk": disk} if has_compiler() else {}), "deleted": deleted}
