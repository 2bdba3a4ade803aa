"""What ESI answers on its odd days: nothing is hidden, nothing claimed, nothing spent in vain."""

from __future__ import annotations

from typing import Any

from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, stored_ids, wait_home


def verified(daemon: DaemonProcess) -> dict[str, Any]:
    """What is claimed for the only pilot."""
    (found,) = daemon.ctl("verify")["characters"]
    return dict(found)


def requests(eve: Any, route: str) -> dict[str, int]:
    return dict(eve.counters()["requests"].get(route, {}))


def codes(daemon: DaemonProcess) -> list[str]:
    return [each["code"] for each in daemon.ctl("status")["problems"]]


def test_a_pilot_without_killmails(stage: Stage) -> None:
    """404 on the first page is an empty list: complete, no failure, and not asked for six times a minute."""
    eve = stage.eve(pilots=1, history=0, cache=2, empty_404=True)
    (pilot,) = pilots_of(eve)
    daemon = stage.daemon(eve, {"producer": {"interval": "20s", "min_age": "1s"}})
    stage.log_in(daemon, eve)
    wait_for(lambda: verified(daemon)["complete"], 20, daemon.tail)
    assert (verified(daemon)["listed"], verified(daemon)["why"]) == (0, None)
    assert codes(daemon) == []
    daemon.ctl("queue", "--force")
    wait_for(lambda: daemon.ctl("status")["waiting"], 10, daemon.tail)
    assert daemon.ctl("status")["waiting"][0]["code"] == "cache"
    assert requests(eve, "esi.character_killmails") == {"404": 1}, "no sooner than the interval"
    eve.add_mails(1, [pilot])
    wait_home(daemon, eve, [pilot], timeout=60)
    assert_whole(daemon, eve, [pilot])
    assert codes(daemon) == []


def test_a_node_that_says_unchanged_for_ever(stage: Stage) -> None:
    """It hides mails, so nothing is claimed on its word, and a full walk does not listen to it."""
    eve = stage.eve(pilots=1, history=5, cache=2)
    (pilot,) = pilots_of(eve)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot])
    eve.script("unchanged", "character_killmails")
    before = verified(daemon)
    (hidden,) = eve.add_mails(1, [pilot])
    eve.wait_for("counters", lambda seen: seen["requests"]["esi.character_killmails"].get("304", 0) >= 2)
    after = verified(daemon)
    assert hidden["killmail_id"] not in stored_ids(daemon)
    assert (after["completeFrom"], after["completeTo"]) == (before["completeFrom"], before["completeTo"])
    daemon.ctl("queue", "--full", "--force")
    wait_home(daemon, eve, [pilot])
    wait_for(lambda: verified(daemon)["completeTo"] > before["completeTo"], 10, daemon.tail)
    assert_whole(daemon, eve, [pilot])


def test_a_304_that_names_a_newer_etag_hides_nothing(stage: Stage) -> None:
    """Believed, every other node would rightly call that list unchanged, of which no entry was ever sent."""
    eve = stage.eve(pilots=1, history=5, cache=2)
    (pilot,) = pilots_of(eve)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot])
    wrong = eve.script("unchanged", "character_killmails", newer=True)
    (hidden,) = eve.add_mails(1, [pilot])
    wait_for(lambda: next(each["hits"] for each in eve.faults() if each["id"] == wrong) >= 2, 30)
    assert hidden["killmail_id"] not in stored_ids(daemon)
    eve.clear_faults(wrong)
    wait_home(daemon, eve, [pilot])
    assert_whole(daemon, eve, [pilot])


def test_one_bad_entry_and_hashes_in_capitals(stage: Stage) -> None:
    """The good ones come home; the bad one is told until it is gone."""
    eve = stage.eve(pilots=1, history=20, cache=2)
    (pilot,) = pilots_of(eve)
    entry = '{"killmail_id": 9223372036854775808, "killmail_hash": "%s"}' % ("0" * 40)
    bad = eve.script("entry", "character_killmails", body=entry)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot])
    (told,) = daemon.ctl("failed")["unreadable"]
    assert told["entry"] == "9223372036854775808"
    assert "0" * 40 not in str(told)
    assert "9223372036854775808" in daemon.command("ctl", "failed").stdout
    assert (verified(daemon)["complete"], verified(daemon)["unreadable"]) == (False, 1)
    eve.clear_faults(bad)
    eve.script("capitals", "character_killmails")
    eve.add_mails(3, [pilot])
    daemon.ctl("queue", "--full", "--force")
    wait_home(daemon, eve, [pilot])
    wait_for(lambda: verified(daemon)["complete"], 20, daemon.tail)
    assert daemon.ctl("failed") == {"failed": [], "unreadable": []}
    assert_whole(daemon, eve, [pilot])


def test_a_list_that_does_not_say_how_long_it_is(stage: Stage) -> None:
    """Without X-Pages everything that came is kept, and nothing is claimed."""
    eve = stage.eve(pilots=1, history=15, page_size=10, cache=2)
    (pilot,) = pilots_of(eve)
    lacking = eve.script("headers", "character_killmails", headers={"X-Pages": ""})
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    daemon.wait_stored(10)
    wait_for(lambda: "X-Pages" in (verified(daemon)["why"] or ""), 20, daemon.tail)
    assert (verified(daemon)["complete"], verified(daemon)["completeFrom"]) == (False, None)
    eve.clear_faults(lacking)
    wait_home(daemon, eve, [pilot])
    wait_for(lambda: verified(daemon)["complete"], 20, daemon.tail)


def test_a_storm_is_told_and_costs_little(stage: Stage) -> None:
    """Every killmail is answered 422: after fifteen it is ESI that is ill, and no mail is quarantined."""
    eve = stage.eve(pilots=1, history=200, cache=2)
    (pilot,) = pilots_of(eve)
    storm = eve.script("status", "esi.killmail", status=422)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_for(lambda: "details_failing" in codes(daemon), 30, daemon.tail)
    (problem,) = [each for each in daemon.ctl("status")["problems"] if each["code"] == "details_failing"]
    assert "422" in problem["reason"]
    assert "UTC" in problem["reason"]
    hits = next(each["hits"] for each in eve.faults() if each["id"] == storm)
    assert 15 <= hits <= 20, "fifteen, and a probe or two"
    assert daemon.ctl("status")["quarantined"] == 0
    eve.clear_faults(storm)
    wait_home(daemon, eve, [pilot], timeout=60)
    wait_for(lambda: codes(daemon) == [], 20, daemon.tail)
    assert_whole(daemon, eve, [pilot])
    assert int(daemon.value("SELECT COUNT(*) FROM refs")) == 0


def test_an_erased_pilot_who_comes_back_is_not_asked_for_before_expires(stage: Stage) -> None:
    """ESI's cache does not forget with us. (The stage counts breaches in the end.)"""
    eve = stage.eve(pilots=1, history=3, cache=12)
    (pilot,) = pilots_of(eve)
    daemon = stage.daemon(eve)
    for _ in range(2):
        stage.log_in(daemon, eve)
        wait_home(daemon, eve, [pilot], timeout=40)
        daemon.ctl("logout", str(pilot), "--erase")
        assert stored_ids(daemon) == set()
    stage.log_in(daemon, eve)
    wait_for(lambda: daemon.ctl("status")["waiting"], 10, daemon.tail)
    assert daemon.ctl("status")["waiting"][0]["code"] == "earlier_life"
    daemon.ctl("logout", str(pilot))
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot], timeout=40)
    assert stored_ids(daemon) == listed_ids(eve, [pilot])


def test_a_list_that_was_not_answered_says_why_it_waits(stage: Stage) -> None:
    eve = stage.eve(pilots=1, history=3, cache=2)
    eve.script("reset", "character_killmails", count=1)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_for(
        lambda: "unanswered" in [each["code"] for each in daemon.ctl("status")["waiting"]], 20, daemon.tail
    )
    (told,) = [each for each in daemon.ctl("status")["waiting"] if each["code"] == "unanswered"]
    assert "did not answer" in told["reason"]
    assert "UTC" in told["reason"]


def test_names_that_esi_refuses_for_a_moment(stage: Stage) -> None:
    """They are asked for again by themselves, and at once when somebody says so."""
    eve = stage.eve(pilots=1, history=2, cache=2)
    (pilot,) = pilots_of(eve)
    fault = eve.script("status", "esi.names", status=404)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot])
    nameless = "SELECT COUNT(*) FROM names WHERE name IS NULL"
    refused = "SELECT COUNT(*) FROM names WHERE attempts > 0"
    wait_for(lambda: int(daemon.value(refused)) > 0, 30, daemon.tail)
    soon = "SELECT MAX(not_before) - MIN(not_before) FROM names WHERE attempts = 1"
    assert float(daemon.value(soon)) < 600
    eve.clear_faults(fault)
    told = daemon.command("ctl", "retry", "--names")
    assert told.returncode == 0
    assert "asked for again" in told.stdout
    wait_for(lambda: int(daemon.value(nameless)) == 0, 90, daemon.tail)
