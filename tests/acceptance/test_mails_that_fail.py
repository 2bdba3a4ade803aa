"""Details that do not come: 500 for long, 422 for good, and what stands around them."""

from __future__ import annotations

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, stored_ids, wait_home


@pytest.mark.slow(30)
def test_one_that_fails_long_and_one_that_is_refused(stage: Stage) -> None:
    """The first is stored later, the second quarantined with its reason; neither stops, hides or passes
    anything, over a kill either, and `ctl retry` brings it home when what refused it is gone."""
    eve = stage.eve(pilots=2, history=20, sharing=0, cache=2)
    one, two = pilots_of(eve)
    ids = sorted(listed_ids(eve, [one]))
    failing, refused = ids[8], ids[12]
    eve.script("status", "esi.killmail", killmail=failing, status=500, count=3)
    lasting = eve.script("status", "esi.killmail", killmail=refused, status=422)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_for(lambda: daemon.stored() >= 38, 30, daemon.tail)
    assert stored_ids(daemon) == listed_ids(eve, [one, two]) - {failing, refused}
    assert last_id(daemon, one) == ids[7], "everything above the first gap does not count"
    assert last_id(daemon, two) == max(listed_ids(eve, [two]))
    told = daemon.ctl("explain", str(failing))
    assert told["state"] == "pending"
    assert told["attempts"] >= 1

    eve.add_mails(2, [one, two])
    wait_for(lambda: daemon.stored() >= 42, 30, "others are fetched all the same")
    wait_for(lambda: failing in stored_ids(daemon), 40, daemon.tail)
    wait_for(lambda: last_id(daemon, one) == ids[11], 5, "the gap at the refused mail is the first one now")

    wait_for(lambda: daemon.ctl("failed")["failed"], 40, daemon.tail)
    (told,) = daemon.ctl("failed")["failed"]
    assert told["killmailId"] == refused
    assert "422" in told["reason"]
    assert told["attempts"] == 4
    text = daemon.command("ctl", "failed")
    assert str(refused) in text.stdout
    assert text.stderr.rstrip().endswith(" retry"), text.stderr
    status = daemon.ctl("status")
    assert (status["syncing"], status["quarantined"]) == (True, 1)
    (problem,) = status["problems"]
    assert problem["code"] == "quarantined"
    assert " retry" in problem["remedy"]
    (verified,) = [each for each in daemon.ctl("verify")["characters"] if each["characterId"] == one]
    assert (verified["complete"], verified["quarantined"], verified["missing"]) == (False, 1, 0)
    said = daemon.command("ctl", "explain", str(refused))
    assert said.returncode == 0
    assert f"retry {refused}" in said.stdout
    assert last_id(daemon, one) == ids[11]
    assert hits(eve, lasting) == 4, "then it is left alone"

    daemon.kill()
    daemon.start()
    assert [each["killmailId"] for each in daemon.ctl("failed")["failed"]] == [refused]
    (late,) = eve.add_mails(1, [one], late=True)
    wait_for(lambda: late["killmail_id"] in stored_ids(daemon), 20, daemon.tail)
    assert last_id(daemon, one) == ids[11]
    assert hits(eve, lasting) == 4, "after a restart, too"

    (synced, *_) = [
        each for each in reversed(daemon.log_lines()) if each.get("event") == "synced list" and each["new"]
    ]
    assert synced["errors"] == 1, "the reference's numbers: new, skipped, errors, total"

    unknown = daemon.command("ctl", "retry", "123456789")
    assert "123456789" in unknown.stdout + unknown.stderr
    eve.clear_faults(lasting)
    assert daemon.ctl("retry", str(refused))["retried"] == [refused]
    wait_home(daemon, eve, [one, two])
    assert_whole(daemon, eve, [one, two])
    wait_for(lambda: last_id(daemon, one) == max(listed_ids(eve, [one])), 5)
    assert daemon.ctl("status")["problems"] == []
    assert daemon.ctl("explain", str(refused))["state"] == "stored"


def hits(eve: SimulatorProcess, fault: int) -> int:
    """How often a scripted fault struck."""
    return next(int(each["hits"]) for each in eve.faults() if each["id"] == fault)


def last_id(daemon: DaemonProcess, pilot: int) -> int | None:
    """`last_killmail_id` of a pilot, as the operator sees it."""
    found = daemon.value("SELECT last_killmail_id FROM users WHERE character_id = ?", pilot)
    return None if found is None else int(found)
