"""Standing still: the process stopped, the database locked, and both gone on with."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, all_home, count_mails, settle
from tests.support import QUICK, pilots_of


def stopped(scene: Scene) -> Outcome:
    """SIGSTOP past the daemon's lease, new mails meanwhile, SIGCONT."""
    eve = scene.stage.eve(pilots=3, history=60, cache=LIST_LIFE, latency=0.01, seed=scene.seed)
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    for _ in range(scene.times(2, 10)):
        time.sleep(scene.rng.uniform(0.0, 1.0))
        os.kill(daemon.pid, signal.SIGSTOP)
        eve.add_mails(2, pilots)
        time.sleep(scene.times(8, 45))
        os.kill(daemon.pid, signal.SIGCONT)
        found.tried += 1
        found.recovery.append(all_home(daemon, eve, pilots, 60.0))
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    return found


def locked(scene: Scene) -> Outcome:
    """Somebody else holds the database's write lock for a while: no mail's attempts are spent on it."""
    eve = scene.stage.eve(pilots=3, history=60, cache=LIST_LIFE, latency=0.01, seed=scene.seed)
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    for _ in range(scene.times(1, 4)):
        time.sleep(scene.rng.uniform(0.0, 1.0))
        eve.add_mails(2, pilots)
        with sqlite3.connect(daemon.database, isolation_level=None, timeout=30) as rows:
            rows.execute("BEGIN IMMEDIATE")
            time.sleep(scene.times(20, 60))
            answered = daemon.ctl("status")
            rows.execute("ROLLBACK")
        found.tried += 1
        if not answered["problems"]:
            found.wrong.append("status told nothing of the locked database")
        found.recovery.append(all_home(daemon, eve, pilots, 90.0))
    with daemon.rows() as rows:
        spent = rows.execute("SELECT COUNT(*) FROM refs WHERE attempts > 0 OR refusals > 0").fetchone()[0]
    if spent:
        found.wrong.append(f"{spent} mails were charged with an attempt")
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    return found


PAUSES: dict[str, Row] = {"stopped": stopped, "locked": locked}
