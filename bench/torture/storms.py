"""Storms: every detail fails alike for a while. ESI is ill then, and no mail is at fault."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, all_home, count_mails
from tests.support import QUICK, pilots_of

FAULTS: dict[str, dict[str, Any]] = {
    "404": {"kind": "status", "status": 404},
    "403": {"kind": "status", "status": 403},
    "422": {"kind": "status", "status": 422},
    "503": {"kind": "status", "status": 503},
    "html": {"kind": "html", "status": 200},
    "garbage": {"kind": "malformed"},
    "reset": {"kind": "reset"},
    "truncated": {"kind": "truncate"},
    "gzip-bomb": {"kind": "bomb"},
    "wrong-id": {"kind": "body", "body": ""},
}
MORE_THAN_NEEDED = 20


def storm(name: str, scene: Scene) -> Outcome:
    """200 mails are wanted, and no detail is answered rightly until the storm is over."""
    eve = scene.stage.eve(pilots=2, history=100, sharing=0, cache=LIST_LIFE, latency=0.01, seed=scene.seed)
    pilots = pilots_of(eve)
    fault = dict(FAULTS[name])
    if name == "wrong-id":
        # The whole, right body of a mail that nobody asked for.
        fault["body"] = json.dumps({**eve.mail(eve.mails(pilots[0])[0]["killmail_id"]), "killmail_id": 1})
    kind = fault.pop("kind")
    number = eve.script(kind, "esi.killmail", **fault)
    daemon = scene.stage.daemon(eve, QUICK)
    scene.stage.log_in(daemon, eve)
    time.sleep(scene.times(15, 60))
    hits = next(int(each["hits"]) for each in eve.faults() if each["id"] == number)
    during = daemon.ctl("status")
    eve.clear_faults(number)
    found = Outcome(tried=hits)
    found.recovery.append(all_home(daemon, eve, pilots, 120.0))
    count_mails(found, daemon, eve, pilots)
    asked, needed = int(eve.counters()["detail_requests"]), len(eve.mails())
    found.figures = {
        "requests": f"{asked} for {needed}",
        "tokens": str(eve.counters()["tokens_spent"].get("killmail", 0)),
        "quarantined": str(during["quarantined"]),
    }
    if asked - needed > MORE_THAN_NEEDED:
        found.wrong.append(f"{asked - needed} requests more than needed")
    if during["quarantined"]:
        found.wrong.append("mails were quarantined by a storm of everybody")
    if not during["problems"]:
        found.wrong.append("status told nothing")
    return found


STORMS: dict[str, Row] = {f"storm-{name}": partial(storm, name) for name in FAULTS}
