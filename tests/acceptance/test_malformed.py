"""What ESI should never send, and does: the daemon lives on, and later everything is home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from killsyncd.simulator import SimulatorProcess
from killsyncd.storage.documents import unpack
from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, stored_ids, wait_home
from tests.support.stopped_daemon import let_waiting_pass

ANY_HASH = "0123456789abcdef0123456789abcdef01234567"
MEMORY = 170 << 20
"""Bytes; 50 MB of body must not show in it."""

ON_A_PAGE: dict[str, dict[str, Any]] = {
    "half of it": {"kind": "truncate"},
    "JSON that breaks off": {"kind": "malformed"},
    "ids as strings": {"kind": "ids_as_strings"},
    "a page of HTML": {"kind": "html", "status": 200},
    "50 MB": {"kind": "big"},
    "50 MB, gzipped to nothing": {"kind": "bomb"},
    "no list": {"kind": "body", "body": '{"error": "no"}'},
    "null": {"kind": "body", "body": "null"},
    "negative ids": {
        "kind": "body",
        "body": json.dumps([{"killmail_id": -7, "killmail_hash": ANY_HASH}]),
    },
    "an id beyond 64 bits": {
        "kind": "body",
        "body": json.dumps([{"killmail_id": 2**63, "killmail_hash": ANY_HASH}]),
    },
    "a hash that is none": {"kind": "body", "body": '[{"killmail_id": 7, "killmail_hash": "../../x"}]'},
    "no id": {"kind": "body", "body": json.dumps([{"killmail_hash": ANY_HASH}])},
    "X-Pages of a million": {"kind": "headers", "headers": {"X-Pages": "1000000"}},
    "X-Pages below one": {"kind": "headers", "headers": {"X-Pages": "-3"}},
    "X-Pages that is no number": {"kind": "headers", "headers": {"X-Pages": "many"}},
    "no X-Pages": {"kind": "headers", "headers": {"X-Pages": ""}},
    "an Expires that is none": {"kind": "headers", "headers": {"Expires": "tomorrow"}},
    "no dates at all": {"kind": "headers", "headers": {"Expires": "", "Last-Modified": "", "ETag": ""}},
    "a cut connection": {"kind": "reset"},
    "500": {"kind": "status", "status": 500},
}

ON_A_MAIL: dict[str, dict[str, Any]] = {
    **{
        name: ON_A_PAGE[name]
        for name in (
            "half of it",
            "JSON that breaks off",
            "ids as strings",
            "a page of HTML",
            "50 MB",
            "null",
        )
    },
    "50 MB, gzipped to nothing": {"kind": "bomb"},
    "a list": {"kind": "body", "body": "[]"},
    "hash mismatch": {"kind": "status", "status": 422},
    "a cut connection": {"kind": "reset"},
    "500": {"kind": "status", "status": 500},
    "304 to nobody's question": {"kind": "status", "status": 304},
    "text/plain": {"kind": "wrong_type"},
}


@pytest.mark.slow
def test_lists_that_are_none(stage: Stage) -> None:
    """Each pilot's list is broken in another way, once; one pilot's has every entry twice."""
    stage.provoked.add("past_the_end")
    eve = stage.eve(
        pilots=len(ON_A_PAGE) + 3,
        history=4,
        sharing=0,
        cache=2,
        limit="char-killmail=600",
        pilots_per_corporation=99,
    )
    pilots = pilots_of(eve)
    *broken, twice, liar, fine = pilots
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve, fine)
    wait_home(daemon, eve, [fine])
    for pilot, fault in zip(broken, ON_A_PAGE.values(), strict=True):
        eve.script(route="esi.character_killmails", character=pilot, count=1, **fault)
    eve.script(
        "body", "esi.character_killmails", character=twice, count=1, body=json.dumps(eve.mails(twice) * 2)
    )
    # One page too many is announced: asking for it is 404, and costs no more than that.
    eve.script(
        "headers", "esi.character_killmails", character=liar, page=1, count=1, headers={"X-Pages": "2"}
    )
    pid = daemon.pid
    stage.log_in(daemon, eve, *broken, twice, liar)
    # Around EVE's daily downtime a cut connection stops everything until the status may be asked again.
    wait_home(daemon, eve, [twice, liar, fine], timeout=90)
    (new,) = eve.add_mails(1, [fine])
    wait_for(lambda: new["killmail_id"] in stored_ids(daemon), 20, daemon.tail)

    # A list whose answer gave no time, or never came, is left alone as long as ESI's specification
    # caches it. All others are home before.
    late = {
        pilot
        for pilot, name in zip(broken, ON_A_PAGE, strict=True)
        if name in ("a page of HTML", "a cut connection", "an Expires that is none", "no dates at all")
    }
    wait_home(daemon, eve, [each for each in pilots if each not in late], timeout=60)
    assert daemon.pid == pid
    assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}
    assert all(each["missing"] == 0 for each in daemon.ctl("verify")["characters"])
    hits = [each["hits"] for each in eve.faults()]
    assert hits == [1] * len(hits), "every fault struck"
    assert _most_memory(daemon) < MEMORY
    assert stored_ids(daemon) <= listed_ids(eve, pilots)
    assert not any("Traceback" in json.dumps(each) for each in daemon.log_lines())
    assert daemon.stop() == 0
    let_waiting_pass(daemon)
    daemon.start()
    wait_home(daemon, eve, pilots, timeout=30)
    assert_whole(daemon, eve, pilots)


@pytest.mark.slow
def test_mails_that_are_none(stage: Stage) -> None:
    """Each of a pilot's mails is broken in another way, once; another pilot's are not."""
    eve = stage.eve(pilots=2, history=len(ON_A_MAIL) + 3, sharing=0, cache=2)
    one, two = pilots_of(eve)
    ids = sorted(listed_ids(eve, [one]))
    for killmail_id, fault in zip(ids, ON_A_MAIL.values(), strict=False):
        eve.script(route="esi.killmail", killmail=killmail_id, count=1, **fault)
    wrong = ids[-1]
    other = dict(eve.mail(ids[-2]))
    eve.script("body", "esi.killmail", killmail=wrong, count=1, body=json.dumps(other))
    daemon = stage.daemon(eve, QUICK)
    pid = daemon.pid
    stage.log_in(daemon, eve, one, two)
    wait_home(daemon, eve, [two], timeout=30)
    wait_home(daemon, eve, [one], timeout=60)
    assert_whole(daemon, eve, [one, two])
    assert daemon.pid == pid
    with daemon.rows() as rows:
        sql = "SELECT document, size FROM killmail_documents WHERE killmail_id = ?"
        document = json.loads(unpack(*rows.execute(sql, (wrong,)).fetchone()))
    assert document == eve.mail(wrong), "another mail's JSON is never kept under this one's id"
    hits = [each["hits"] for each in eve.faults()]
    assert hits == [1] * len(hits)
    assert daemon.ctl("failed")["failed"] == []
    assert _most_memory(daemon) < MEMORY


def test_names_that_are_none(stage: Stage) -> None:
    """Names come last and hold up nothing: unknown ids, HTML, an error."""
    eve = stage.eve(pilots=1, history=6, cache=2, error_limit=50)
    (pilot,) = pilots_of(eve)
    victim = eve.mail(eve.mails(pilot)[0]["killmail_id"])["victim"]["corporation_id"]
    eve.bad_ids(add=[victim])
    eve.script("html", "esi.names", count=1, status=200)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot], timeout=20)
    assert daemon.ctl("status")["syncing"]
    assert_no_420(eve)


def assert_no_420(eve: SimulatorProcess) -> None:
    """The error limit was not touched."""
    for statuses in eve.counters()["requests"].values():
        assert "420" not in statuses


def _most_memory(daemon: DaemonProcess) -> int:
    """The most that the process ever held, in bytes."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
