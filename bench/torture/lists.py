"""Lists that lie: pages that come and go, ETags and Expires that are wrong, entries that cannot be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, count_mails, settle
from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, pilots_of, wait_for
from tests.support.mails import listed_ids, stored_ids

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


def _expires(seconds: float, count: int | None = None) -> Lie:
    """Expires so far from now."""

    def lie(scene: Scene, eve: SimulatorProcess) -> None:
        headers = {"Expires": formatdate(time.time() + seconds, usegmt=True)}
        eve.script("headers", "character_killmails", headers=headers, count=count)

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
    # Once: what ESI says again and again is its word, and the list is left alone for that long.
    "Expires far": _expires(86_400.0, count=1),
    "entries": _entries,
}


def lists(scene: Scene) -> Outcome:
    """Each lie while there are news, then the truth: nothing is hidden, nothing asked for too early."""
    eve = scene.stage.eve(
        pilots=3, history=40, page_size=10, cache=LIST_LIFE, no_limits=True, latency=0.01, seed=scene.seed
    )
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    found = Outcome()
    names = list(LIES) * scene.times(1, 5)
    scene.rng.shuffle(names)
    for name in names:
        eve.clear_faults()
        LIES[name](scene, eve)
        eve.add_mails(2, pilots)
        time.sleep(scene.times(3, 8))
        found.tried += 1
    eve.clear_faults()
    eve.add_mails(1, pilots)
    began = time.monotonic()
    with suppress(TimeoutError):
        wait_for(lambda: listed_ids(eve, pilots) <= stored_ids(daemon), 20, every=0.2)
    settle(daemon, eve, pilots)
    found.recovery.append(time.monotonic() - began)
    # A page past the last one is what "too many pages" asks for.
    count_mails(found, daemon, eve, pilots, provoked=("past_the_end",))
    told = daemon.ctl("failed")
    found.figures = {"quarantined": str(len(told["failed"])), "unreadable": str(len(told["unreadable"]))}
    return found


LISTS: dict[str, Row] = {"lists": lists}
