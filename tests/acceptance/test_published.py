"""Scripts that read `--json` go on working: every key of the release before is there, with its type."""

from __future__ import annotations

import json

import pytest

from tests.support import Stage, pilots_of, wait_for
from tests.support.published import ANSWERS, shape


@pytest.mark.slow(40)
def test_what_json_had_it_has(stage: Stage) -> None:
    eve = stage.eve(pilots=3, history=6, seed=7)
    daemon = stage.daemon(eve, {"producer": {"enabled": False}})
    stage.log_in(daemon, eve)
    daemon.wait_stored(len(eve.mails()))
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM wants") == 0, 20)
    pilot, mail = str(pilots_of(eve)[0]), str(eve.mails()[0]["killmail_id"])
    words = {
        "ctl status": ["status"],
        "ctl users": ["users"],
        "ctl queue": ["queue", "--force"],
        "ctl verify": ["verify"],
        "ctl explain": ["explain", mail],
        "ctl failed": ["failed"],
        "ctl pause": ["pause"],
        "ctl status, paused": ["status"],
        "ctl resume": ["resume"],
        "ctl retry": ["retry", mail],
        "ctl login-url": ["login-url"],
        "ctl logout": ["logout", pilot],
    }
    assert set(words) | {"check"} == set(ANSWERS)
    changed = {}
    for name, told in ANSWERS.items():
        command = ["check"] if name == "check" else ["ctl", *words[name]]
        done = daemon.command(*command, "--json")
        now = shape(json.loads(done.stdout))
        for path, kinds in told.items():
            # What may be null need not be so today, and the other way round: which of both a moment decides.
            before = set(kinds.split(" or ")) - {"null"}
            if path not in now or (before and now[path] - {"null"} and not before & now[path]):
                changed[f"{name} {path}"] = (kinds, sorted(now.get(path, ())))
        places = [path for path in now if path in told]
        assert places == list(told) or changed, f"{name}: the order of keys"
    assert changed == {}
