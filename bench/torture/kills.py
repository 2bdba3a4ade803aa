"""SIGKILL inside work: whatever was going on, nothing is lost, doubled or left half done."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, all_home, count_breaches, count_mails, settle
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, LoginFailed, log_in, pilots_of
from tests.support.mails import stored_ids
from tests.support.stopped_daemon import let_waiting_pass

SETTINGS = {"producer": {"interval": "2s", "min_age": "1s"}}


def first_start(scene: Scene) -> Outcome:
    """Killed while it makes its key and its database: it must come up afterwards."""
    eve = scene.stage.eve(pilots=1, history=5, cache=LIST_LIFE, seed=scene.seed)
    found = Outcome()
    for number in range(scene.times(5, 40)):
        daemon = scene.stage.daemon(eve, SETTINGS, name=f"first-{number}", start=False)
        for _ in range(3):
            daemon.start(wait=False)
            time.sleep(scene.rng.uniform(0.05, 1.0))
            daemon.kill()
            found.tried += 1
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
        daemon.stop()
    return found


def sync(scene: Scene) -> Outcome:
    """Killed anywhere in a first sync and in polls."""
    eve = scene.stage.eve(
        pilots=5, history=80, page_size=25, cache=LIST_LIFE, no_limits=True, latency=0.015, seed=scene.seed
    )
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, {**SETTINGS, "esi": {"requests_per_second": 60}})
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    for _ in range(scene.times(15, 120)):
        time.sleep(scene.rng.uniform(0.0, 0.15 if scene.rng.random() < 0.5 else 1.0))
        daemon.kill()
        found.tried += 1
        eve.add_mails(1, [scene.rng.choice(pilots)])
        if found.tried % 5 == 4:
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    asked, mails = int(eve.counters()["detail_requests"]), len(eve.mails())
    found.figures["details asked"] = f"{asked} for {mails}"
    return found


def login(scene: Scene) -> Outcome:
    """Killed in the callback: who was told that the login is done is logged in afterwards."""
    count = scene.times(8, 60)
    eve = scene.stage.eve(pilots=count, history=1, cache=LIST_LIFE, latency=0.02, seed=scene.seed)
    daemon = scene.stage.daemon(eve, SETTINGS)
    found, told = Outcome(), list[int]()
    for pilot in pilots_of(eve):

        def browse(pilot: int = pilot) -> None:
            try:
                page = log_in(daemon.url, eve.base_url, pilot)
            except (OSError, LoginFailed, ValueError):
                return
            if "logged in" in page.lower():
                told.append(pilot)

        browser = threading.Thread(target=browse)
        browser.start()
        time.sleep(scene.rng.uniform(0.05, 0.6))
        daemon.kill()
        browser.join(30)
        found.tried += 1
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    states = {int(each["characterId"]): each["state"] for each in daemon.ctl("users")["users"]}
    found.lost = sum(states.get(pilot) != "ok" for pilot in told)
    found.figures["told"] = f"{len(told)} of {count}"
    count_breaches(found, eve)
    return found


def refresh(scene: Scene) -> Outcome:
    """Killed while refresh tokens are replaced, which they are at each refresh: no pilot is logged out.

    The SSO takes the old token for half a minute more: without that, nobody could keep one whose successor
    was in an answer that died with the daemon.
    """
    eve = scene.stage.eve(
        pilots=6,
        history=2,
        cache=LIST_LIFE,
        token_life=6,
        rotation_grace=30,
        latency=0.02,
        seed=scene.seed,
    )
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, {**SETTINGS, "refresher": {"margin": "2s"}})
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    for _ in range(scene.times(10, 80)):
        time.sleep(scene.rng.uniform(0.0, 2.5))
        daemon.kill()
        found.tried += 1
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    let_settle(daemon, eve, pilots)
    lost = [each for each in daemon.ctl("users")["users"] if each["state"] != "ok"]
    found.lost = len(lost)
    if lost:
        found.wrong.append(f"{[each['state'] for each in lost]}")
    count_breaches(found, eve)
    return found


def let_settle(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> None:
    """New mails of everybody come home: every token works."""
    eve.add_mails(1, pilots)
    settle(daemon, eve, pilots)


def commands(scene: Scene) -> Outcome:
    """Import, backup, rotate-key, erase and migrate-store killed inside, then run again to their end."""
    eve = scene.stage.eve(pilots=3, history=40, cache=LIST_LIFE, no_limits=True, seed=scene.seed)
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, SETTINGS)
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots)
    daemon.stop()
    found = Outcome()
    lines = scene.folder / "foreign.jsonl"
    lines.write_text(
        "".join(
            json.dumps({**eve.mail(each["killmail_id"]), "killmail_id": 10**9 + n}) + "\n"
            for n, each in enumerate(eve.mails() * 30)
        )
    )
    before = stored_ids(daemon)
    wanted = before | {10**9 + n for n in range(len(eve.mails()) * 30)}
    cases: list[tuple[str, list[str]]] = [
        ("import", ["import", str(lines)]),
        ("backup", ["backup", "--output", str(scene.folder / "copy.tar")]),
        ("rotate-key", ["rotate-key"]),
        ("migrate-store", ["migrate-store", "--to", f"sqlite:///{scene.folder}/moved.db"]),
    ]
    for name, words in cases:
        for _ in range(scene.times(4, 30)):
            _killed(daemon, words, scene.rng.uniform(0.15, 1.2))
            found.tried += 1
        done = daemon.command(*words)
        if done.returncode != 0:
            found.wrong.append(f"{name} afterwards: {done.returncode} {done.stderr.strip()[-300:]}")
    found.lost += len(wanted - stored_ids(daemon))
    began = time.monotonic()
    daemon.start()
    found.recovery.append(time.monotonic() - began)
    let_settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    if bad := [each["state"] for each in daemon.ctl("users")["users"] if each["state"] != "ok"]:
        found.wrong.append(f"pilots are {bad}")
    return found


def _killed(daemon: DaemonProcess, words: list[str], after: float) -> None:
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


KILLS: dict[str, Row] = {
    "kill-first-start": first_start,
    "kill-sync": sync,
    "kill-login": login,
    "kill-refresh": refresh,
    "kill-commands": commands,
}
