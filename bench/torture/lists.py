"""Lists that lie: pages that come and go, ETags and Expires that are wrong, entries that cannot be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, count_mails, settle
from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, pilots_of, wait_for
from tests.support.mails import wait_home
from tests.support.stopped_daemon import DAY, HOUR, let_waiting_pass

Lie = Callable[[Scene, SimulatorProcess], None]

HUGE = (9223372036854775807, 9223372036854775808, 2**64, -1, 0)
"""Ids at and beyond the borders of 64 bits."""


def _pages(scene: Scene, eve: SimulatorProcess) -> None:
    """X-Pages grows and shrinks, and a walk meets another list on its next page."""
    for _ in range(6):
        eve.settings(page_size=scene.rng.choice((3, 7, 10, 19, 60)))
        eve.expire_lists()
        time.sleep(0.5)
    eve.settings(page_size=10)


def _headers(**headers: str) -> Lie:
    """The right list with these headers."""

    def lie(scene: Scene, eve: SimulatorProcess) -> None:
        eve.script(
            "headers", "character_killmails", headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return lie


def _expires(seconds: float, **conditions: int) -> Lie:
    """Expires so far from now."""

    def lie(scene: Scene, eve: SimulatorProcess) -> None:
        headers = {"Expires": formatdate(time.time() + seconds, usegmt=True)}
        eve.script("headers", "character_killmails", headers=headers, **conditions)

    return lie


def _unchanged(*, newer: bool) -> Lie:
    """304, although there are news; newer: with the ETag of the list that is not sent."""

    def lie(scene: Scene, eve: SimulatorProcess) -> None:
        eve.script("unchanged", "character_killmails", newer=newer)

    return lie


def _entries(scene: Scene, eve: SimulatorProcess) -> None:
    """An entry twice, one id with two hashes, and ids that are none."""
    there = scene.rng.choice(eve.mails())
    entries: list[dict[str, object]] = [
        {"killmail_id": there["killmail_id"], "killmail_hash": there["killmail_hash"]},
        {"killmail_id": there["killmail_id"], "killmail_hash": "0" * 40},
    ]
    entries += [{"killmail_id": each, "killmail_hash": "0" * 40} for each in HUGE]
    for each in entries:
        eve.script("entry", "character_killmails", body=json.dumps(each), probability=0.3)


FAR = "Expires far"

LIES: dict[str, Lie] = {
    "pages": _pages,
    "no X-Pages": _headers(X_Pages=""),
    "too many pages": _headers(X_Pages="9"),
    "one ETag for all": _headers(ETag='"one"'),
    "no ETag": _headers(ETag=""),
    "304 for ever": _unchanged(newer=False),
    "304, another ETag": _unchanged(newer=True),
    "Expires past": _expires(-3600.0),
    "Expires absent": _headers(Expires=""),
    "Expires garbage": _headers(Expires="soon"),
    # Of one list: what ESI says of a first page is its word, and the list is left alone for that long.
    FAR: _expires(DAY, page=1, count=1),
    # Of everybody's: no other page has to wait for it.
    "Expires far behind": _expires(DAY, page=2),
    "entries": _entries,
}


def _left_alone(daemon: DaemonProcess) -> list[int]:
    """Characters whose lists are not asked for within the life of a list."""
    soon = time.time() + LIST_LIFE + 1.0
    with daemon.rows() as rows:
        found = rows.execute(
            "SELECT DISTINCT s.subject_id FROM sources s LEFT JOIN wants w ON w.source_id = s.id "
            "LEFT JOIN pages p ON p.source_id = s.id AND p.page = 1 "
            "WHERE w.not_before > ? OR p.expires_at > ?",
            (soon, soon),
        ).fetchall()
    return [int(row[0]) for row in found]


def _heard(eve: SimulatorProcess, asked: Mapping[str, int]) -> bool:
    """Whether every list was asked for since, and every fault has struck that always does."""
    now = eve.counters()["lists"]
    struck = all(each["hits"] for each in eve.faults() if each["probability"] >= 1.0)
    return struck and all(now[who] > count for who, count in asked.items())


def _tell(name: str, scene: Scene, daemon: DaemonProcess, eve: SimulatorProcess, found: Outcome) -> None:
    """One lie while there are news, until everybody has heard it; and time for what it makes us wait for."""
    eve.clear_faults()
    asked = eve.counters()["lists"]
    LIES[name](scene, eve)
    eve.add_mails(2, pilots_of(eve))
    try:
        wait_for(lambda: _heard(eve, asked), 20, every=0.2)
    except TimeoutError:
        found.wrong.append(f"not everybody has heard {name!r}")
    time.sleep(scene.times(1, 10) * 0.3)
    found.tried += 1
    alone = _left_alone(daemon)
    if name == FAR:
        _is_kept(alone, eve, found)
    if alone:
        daemon.stop()
        let_waiting_pass(daemon, longest_cache=LIST_LIFE, seconds=DAY if name == FAR else HOUR)
        daemon.start()


def _is_kept(alone: list[int], eve: SimulatorProcess, found: Outcome) -> None:
    """Whether a list is left alone whose first page is cached for a day."""
    before = eve.counters()["lists"]
    time.sleep(2 * LIST_LIFE)
    now = eve.counters()["lists"]
    if not alone:
        found.wrong.append("a list is asked for although it is cached for a day")
    found.early += sum(now[str(each)] - before[str(each)] for each in alone)


def lists(scene: Scene) -> Outcome:
    """Each lie while there are news, then the truth: nothing is hidden, nothing asked for too early."""
    eve = scene.stage.eve(
        pilots=3, history=40, page_size=10, cache=LIST_LIFE, no_limits=True, latency=0.01, seed=scene.seed
    )
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    found = Outcome()
    names = list(LIES) * scene.times(1, 5)
    scene.rng.shuffle(names)
    for name in names:
        _tell(name, scene, daemon, eve, found)
    eve.clear_faults()
    eve.add_mails(1, pilots)
    began = time.monotonic()
    settle(daemon, eve, pilots)
    found.recovery.append(time.monotonic() - began)
    # A page past the last one is what "too many pages" asks for.
    count_mails(found, daemon, eve, pilots, provoked=("past_the_end",))
    told = daemon.ctl("failed")
    found.figures = {"quarantined": str(len(told["failed"])), "unreadable": str(len(told["unreadable"]))}
    return found


LISTS: dict[str, Row] = {"lists": lists}
