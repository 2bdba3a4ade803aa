"""Standing still: the process stopped, the database locked, and both gone on with."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    all_home,
    count_breaches,
    count_logged_out,
    count_mails,
    settle,
)
from killsyncd.simulator import SimulatorProcess
from killsyncd.storage.repositories.daemons import LEASE_SECONDS
from tests.support import QUICK, DaemonProcess, pilots_of
from tests.support.mails import HALF_DONE, listed_ids
from tests.support.own_servers import PrivatePostgres, missing
from tests.support.postgres_look import value


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


def past_its_lease(scene: Scene) -> Outcome:
    """Two daemons on one PostgreSQL; one stands still for longer than its lease, is given up, and goes on.

    What it had claimed the other one has done by then: it writes nothing stale, and renews no token again. A
    refresh token whose successor is in an answer that it has not read yet must be good for that long.
    """
    eve = scene.stage.eve(
        pilots=4,
        history=40,
        cache=LIST_LIFE,
        token_life=25,
        rotation_grace=300,
        latency=0.02,
        seed=scene.seed,
    )
    pilots, found = pilots_of(eve), Outcome()
    with PrivatePostgres() as postgres:
        settings = {
            **QUICK,
            "database": {"url": postgres.url},
            "security": {"key_file": str(scene.folder / "shared.key")},
            "refresher": {"margin": "8s"},
        }
        daemons = [scene.stage.daemon(eve, settings, name=f"daemon{number}") for number in (1, 2)]
        scene.stage.log_in(daemons[0], eve)
        _home(eve, postgres.url, pilots)
        for _ in range(scene.times(1, 10)):
            time.sleep(scene.rng.uniform(0.0, 3.0))
            still = scene.rng.choice(daemons)
            eve.add_mails(2, pilots)
            os.kill(still.pid, signal.SIGSTOP)
            time.sleep(LEASE_SECONDS + scene.rng.uniform(2.0, 12.0))
            eve.add_mails(2, pilots)
            os.kill(still.pid, signal.SIGCONT)
            found.tried += 1
            found.recovery.append(_home(eve, postgres.url, pilots))
        if _missing(eve, postgres.url, pilots):
            _hour_later(daemons, postgres.url)
            _home(eve, postgres.url, pilots)
        found.lost = len(_missing(eve, postgres.url, pilots))
        doubled = "SELECT COUNT(*) - COUNT(DISTINCT feed_position) FROM killmails"
        found.doubled = int(value(postgres.url, doubled))
        for what, counting in HALF_DONE.items():
            if count := value(postgres.url, counting):
                found.wrong.append(f"{count} {what}")
        count_logged_out(found, daemons[0])
        for daemon in daemons:
            daemon.stop()
    count_breaches(found, eve)
    return found


def _home(eve: SimulatorProcess, url: str, pilots: list[int]) -> float:
    """Seconds until everything is stored, 60 at most."""
    began = time.monotonic()
    while _missing(eve, url, pilots) and time.monotonic() - began < 60.0:
        time.sleep(0.5)
    return time.monotonic() - began


def _hour_later(daemons: list[DaemonProcess], url: str) -> None:
    """A list that was asked for when its daemon was stopped has no answer: it may be cached for minutes."""
    for daemon in daemons:
        daemon.stop()
    now = time.time()
    for statement in (
        f"UPDATE pages SET asked_at = asked_at - 3600 WHERE asked_at > answered_at AND asked_at < {now - 4}",
        f"UPDATE pages SET expires_at = expires_at - 3600 WHERE expires_at > {now + 4}",
        "UPDATE wants SET not_before = GREATEST(0, not_before - 3600)",
    ):
        value(url, statement)
    for daemon in daemons:
        daemon.start()


def _missing(eve: SimulatorProcess, url: str, pilots: list[int]) -> set[int]:
    return listed_ids(eve, pilots) - set(value(url, "SELECT array_agg(killmail_id) FROM killmails") or ())


PAUSES: dict[str, Row] = {"stopped": stopped, "locked": locked}
if not missing():
    PAUSES["past-its-lease"] = past_its_lease
