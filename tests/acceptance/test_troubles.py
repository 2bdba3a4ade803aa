"""ESI's bad days: downtime, refusals, lists that change under a walk, lists that are too long."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, wait_home


@pytest.mark.slow
def test_downtime_pauses_and_counts_no_attempt(stage: Stage) -> None:
    """Everything answers 503: the daemon asks for the status alone, says so, and goes on by itself."""
    eve = stage.eve(pilots=4, history=60, sharing=0, cache=2, status_cache=1, latency=0.05)
    daemon = stage.daemon(eve, {**QUICK, "esi": {"requests_per_second": 40}})
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    daemon.wait_stored(40)
    eve.downtime(status=503)
    wait_for(lambda: not daemon.ctl("status")["syncing"], 20, daemon.tail)
    status = daemon.ctl("status")
    assert status["downtime"]
    assert [each["code"] for each in status["problems"]] == ["downtime"]
    assert daemon.get("/healthz")[0] == 200, "health is never ESI's"
    assert daemon.get("/readyz")[0] == 200
    # Those first few answers are weather; once it is known to be down nothing counts, and hardly
    # anything is asked.
    counted = _attempts(daemon)
    assert counted <= 60
    eve.reset_counters()
    eve.add_mails(1, pilots)
    eve.wait_for("counters", lambda seen: sum(_of(seen, "esi.status").values()) >= 1, timeout=40)
    seen = eve.counters()
    assert set(seen["requests"]) == {"esi.status"}, "only the status is asked for"
    assert _attempts(daemon) == counted
    eve.downtime(on=False)
    wait_home(daemon, eve, pilots, timeout=90)
    assert_whole(daemon, eve, pilots)
    status = daemon.ctl("status")
    assert (status["syncing"], status["downtime"], status["quarantined"]) == (True, False, 0)


@pytest.mark.slow
def test_429_and_420_are_obeyed(stage: Stage) -> None:
    """With `Retry-After`, without any header, and the error limit that stops every route."""
    eve = stage.eve(pilots=3, history=10, sharing=0, cache=2, error_window=5)
    told, bare, fine = pilots_of(eve)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [told, bare, fine])
    eve.script("status", "character_killmails", character=told, status=429, retry_after=4, count=1)
    eve.script("status", "character_killmails", character=bare, status=429, bare=True, count=1)
    eve.add_mails(2, [told, bare, fine])
    wait_home(daemon, eve, [told, fine], timeout=40)
    assert daemon.ctl("status")["syncing"]
    waits = "SELECT w.not_before FROM wants w JOIN sources s ON s.id = w.source_id WHERE s.subject_id = ?"
    ahead = float(daemon.value(waits, bare)) - time.time()
    assert 20 < ahead < 90, "without a word of ESI's it is left alone for about a minute"
    assert _attempts(daemon) == 0
    (left,) = [each for each in daemon.ctl("status")["budgets"] if each["characterId"] == bare]
    assert left["remaining"] == 0

    eve.script("status", "esi.killmail", status=420, count=1)  # and then on every route, by the rules
    eve.add_mails(6, [fine])
    wait_home(daemon, eve, [told, fine], timeout=40)
    assert eve.faults()[-1]["hits"] == 1
    assert _attempts(daemon) == 0


@pytest.mark.slow
def test_a_torn_walk_keeps_what_it_saw_and_is_walked_again(stage: Stage) -> None:
    """The list changes between two of its pages: nothing is claimed to be complete, nothing is missed."""
    eve = stage.eve(pilots=1, history=80, page_size=10, cache=9, limit="char-killmail=600")
    (pilot,) = pilots_of(eve)
    eve.script("latency", "character_killmails", seconds=0.3, count=8)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    eve.wait_for("counters", lambda seen: seen["lists"].get(str(pilot), 0) >= 3)
    eve.add_mails(15, [pilot])  # more than a page: what was on page 3 is on page 5 now
    eve.settings(cache=2)
    eve.expire_lists(pilot)
    wait_for(lambda: _verified(daemon)["walksTorn"] == 1, 20, daemon.tail)
    verified = _verified(daemon)
    assert (verified["complete"], verified["completeFrom"]) == (False, None)
    assert "changed while it was read" in verified["why"]
    assert verified["listed"] >= 70, "what it saw is kept"
    daemon.ctl("queue", "--force")
    wait_home(daemon, eve, [pilot])
    wait_for(lambda: _verified(daemon)["complete"], 20, daemon.tail)
    assert_whole(daemon, eve, [pilot])
    assert _verified(daemon)["walksTorn"] == 1


def test_unordered_lists_and_late_mails(stage: Stage) -> None:
    """ESI promises no order, and a mail may surface with an id below those that are known."""
    eve = stage.eve(pilots=2, history=60, page_size=20, cache=2, order="shuffled", limit="char-killmail=600")
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    before = max(listed_ids(eve, pilots))
    late = eve.add_mails(2, pilots, late=True)
    assert all(each["killmail_id"] < before for each in late)
    daemon.ctl("queue", "--force", "--full")  # news on a page in the middle: a whole walk finds them
    wait_home(daemon, eve, pilots)
    assert_whole(daemon, eve, pilots)


@pytest.mark.slow
def test_more_pages_than_a_window_holds(stage: Stage) -> None:
    """25 pages cost 50 of 30 tokens: the walk goes on where it stopped, over a kill, too."""
    eve = stage.eve(pilots=2, history=250, page_size=10, cache=120, window=9, sharing=0)
    long, _ = pilots_of(eve)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve, long)
    eve.wait_for("counters", lambda seen: seen["lists"].get(str(long), 0) >= 10)
    wait_for(lambda: _waiting(daemon) >= 1, 20, "the budget of the list is spent")
    assert daemon.ctl("status")["syncing"]
    daemon.stop()
    daemon.start()
    wait_home(daemon, eve, [long], timeout=60)
    wait_for(lambda: _verified(daemon)["complete"], 20)
    seen = eve.counters()
    assert seen["lists"] == {str(long): 25}, "each page was asked for once"
    assert _of(seen, "esi.character_killmails") == {"200": 25}
    assert_whole(daemon, eve, [long])


def test_a_walk_cut_short_shows_in_verify(stage: Stage) -> None:
    """`producer.max_pages` ends it: said, never claimed to be complete, and news are found all the same.

    A higher one counts from SIGHUP on.
    """
    eve = stage.eve(pilots=1, history=60, page_size=10, cache=2, limit="char-killmail=600")
    (pilot,) = pilots_of(eve)
    daemon = stage.daemon(eve, {"producer": {**QUICK["producer"], "max_pages": 3}})
    stage.log_in(daemon, eve)
    daemon.wait_stored(30)
    wait_for(lambda: _verified(daemon)["walksCut"] >= 1, 10)
    told = daemon.command("ctl", "verify").stdout
    assert "max_pages" in told
    verified = _verified(daemon)
    assert (verified["complete"], verified["completeFrom"]) == (False, None)
    (new,) = eve.add_mails(1, [pilot])
    wait_for(
        lambda: daemon.value("SELECT 1 FROM killmails WHERE killmail_id = ?", new["killmail_id"]),
        20,
        daemon.tail,
    )
    assert daemon.stored() == 31
    assert _of(eve.counters(), "esi.character_killmails").get("404") is None

    daemon.config.write_text(daemon.config.read_text().replace("max_pages = 3", "max_pages = 10"))
    os.kill(daemon.pid, signal.SIGHUP)
    wait_home(daemon, eve, [pilot])
    wait_for(lambda: _verified(daemon)["complete"], 20, daemon.tail)


def _verified(daemon: DaemonProcess) -> dict:
    return daemon.ctl("verify")["characters"][0]


def _attempts(daemon: DaemonProcess) -> int:
    """Everything that is counted against jobs and mails."""
    jobs = daemon.value("SELECT COALESCE(SUM(attempts), 0) FROM wants")
    return int(jobs) + int(daemon.value("SELECT COALESCE(SUM(attempts + refusals), 0) FROM refs"))


def _waiting(daemon: DaemonProcess) -> int:
    """Jobs that were put off."""
    return int(daemon.value("SELECT COUNT(*) FROM wants WHERE holder IS NULL AND not_before > 0"))


def _of(seen: dict, route: str) -> dict[str, int]:
    return seen["requests"].get(route, {})
