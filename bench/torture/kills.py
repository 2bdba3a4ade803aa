"""SIGKILL inside work: whatever was going on, nothing is lost, doubled or left half done."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from typing import Any

from bench.torture.rig import (
    LIST_LIFE,
    Outcome,
    Row,
    Scene,
    count_breaches,
    count_logged_out,
    count_mails,
    let_settle,
    settle,
)
from tests.support import LoginFailed, log_in, pilots_of, wait_for
from tests.support.stopped_daemon import let_waiting_pass
from tests.support.valued import all_valued, change, check_whole, open_work
from tests.support.webhook_world import SECRET, secret_file

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

    The SSO takes the old token for some minutes more: without that, nobody could keep one whose successor
    was in an answer that died with the daemon. More than a start takes on a busy machine.
    """
    eve = scene.stage.eve(
        pilots=6,
        history=2,
        cache=LIST_LIFE,
        token_life=6,
        rotation_grace=300,
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
    count_logged_out(found, daemon)
    count_breaches(found, eve)
    return found


def values(scene: Scene) -> Outcome:
    """Killed while static data are swapped, prices taken and mails valued: each is whole, or done again."""
    eve = scene.stage.eve(pilots=2, history=20, cache=LIST_LIFE, no_limits=True, seed=scene.seed)
    daemon = scene.stage.daemon(eve, {**SETTINGS, "prices": {"history": True}})
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    first = 990_000
    for number in range(scene.times(8, 60)):
        time.sleep(scene.rng.uniform(0.0, 1.2))
        daemon.kill()
        found.tried += 1
        check_whole(daemon)
        eve.publish_static_data(types=[(first + number, 25, f"Prototype {number}")])
        change(daemon, "UPDATE background_tasks SET next_at = 0")  # as if an hour had passed
        eve.add_mails(1, pilots_of(eve))
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    daemon.kill()
    change(daemon, "UPDATE background_tasks SET next_at = 0")
    daemon.start()
    last = first + found.tried - 1
    wait_for(
        lambda: daemon.value("SELECT 1 FROM types WHERE type_id = ?", last), 60, "the last build is away"
    )
    settle(daemon, eve, pilots_of(eve))
    wait_for(lambda: all_valued(daemon) and not open_work(daemon), 90, daemon.tail)
    check_whole(daemon)
    count_mails(found, daemon, eve, pilots_of(eve))
    return found


def webhooks(scene: Scene) -> Outcome:
    """Killed while killmails go to webhooks: every fresh one arrives, once more only what was in doubt.

    A receiver drops such a repeat by its webhook-id; doubled are those that it could not know by that.
    """
    eve = scene.stage.eve(pilots=2, history=5, cache=1, latency=0.02, no_limits=True, seed=scene.seed)
    address = secret_file(scene.folder / "tool.url", eve.base_url + "/webhook-receiver/tool")
    key = secret_file(scene.folder / "tool.secret", SECRET)
    table = {"name": "tool", "kind": "json", "url_file": str(address), "secret_file": str(key)}
    daemon = scene.stage.daemon(eve, SETTINGS, webhooks=[{**table, "exclude_npc": False}])
    scene.stage.log_in(daemon, eve)
    pilots, found = pilots_of(eve), Outcome()
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM esi_prices"), 60, daemon.tail)
    made = set[int]()
    for _ in range(scene.times(8, 60)):
        made |= {int(each["killmail_id"]) for each in eve.add_mails(4, pilots)}
        time.sleep(scene.rng.uniform(0.5, 4.0))
        daemon.kill()
        found.tried += 1
        began = time.monotonic()
        daemon.start()
        found.recovery.append(time.monotonic() - began)
    settle(daemon, eve, pilots)

    def received() -> list[dict[str, Any]]:
        return [each["body"] for each in eve.webhooks(100_000)["taken"]]

    with contextlib.suppress(TimeoutError):
        wait_for(lambda: made <= {int(each["data"]["id"]) for each in received()}, 150, daemon.tail)
    bodies = received()
    arrived = Counter(int(each["data"]["id"]) for each in bodies)
    names = {(int(each["data"]["id"]), each["id"]) for each in bodies}
    found.lost = len(made - set(arrived))
    found.doubled = len(names) - len(arrived)
    again = sum(arrived.values()) - len(arrived)
    found.figures = {"deliveries": str(len(bodies)), "in doubt, sent again": str(again)}
    if again > found.tried:
        found.wrong.append(f"{again} repeats for {found.tried} kills")
    found.wrong += [str(each) for each in eve.webhooks()["breaches"]][:3]
    count_mails(found, daemon, eve, pilots)
    return found


KILLS: dict[str, Row] = {
    "kill-first-start": first_start,
    "kill-sync": sync,
    "kill-login": login,
    "kill-refresh": refresh,
    "kill-values": values,
    "kill-webhooks": webhooks,
}
