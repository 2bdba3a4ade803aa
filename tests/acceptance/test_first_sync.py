"""A long first sync under ESI's limits, and what it must not do to anybody else."""

from __future__ import annotations

import signal

import pytest

from tests.support import DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, stored_ids, wait_home

PACE = 50.0
WINDOW, LIMIT = 26.0, 1800
"""ESI's are 900 s and 3,600 tokens: here 900 mails take 18 s at full pace, and then the window is empty."""

LONG = 1500
"""Mails of the first sync: half as many again as the window holds, and more."""


@pytest.mark.slow(45)
@pytest.mark.timeout(480)
def test_a_first_sync_at_full_pace_and_nobody_else_waits(stage: Stage) -> None:
    """As much as the window holds at once, the rest as it returns tokens. (Its pace: `make bench`.)

    Twenty others get three new mails each, twice: while the first sync runs, and while the bucket is dry
    for it. In the dry part the daemon is restarted, too.
    """
    eve = stage.eve(pilots=21, history=0, window=WINDOW, cache=5, limit=[f"killmail={LIMIT}"])
    big, *others = pilots_of(eve)
    eve.add_mails(LONG, [big], age=86_400)
    daemon = stage.daemon(
        eve,
        {"esi": {"requests_per_second": PACE}, "producer": {"interval": "6s", "min_age": "5s"}},
    )
    stage.log_in(daemon, eve, *others)
    wait_for(lambda: all(each["lastKillmailSyncAt"] for each in daemon.ctl("users")["users"]), 30)
    stage.log_in(daemon, eve, big)
    eve.wait_for("counters", lambda seen: seen["details_ok"] >= 1)
    daemon.wait_stored(125)
    early = [each["killmail_id"] for each in eve.add_mails(3, others)]
    eve.wait_for("counters", lambda seen: seen["details_ok"] >= LIMIT * 0.4, timeout=60)
    wait_for(lambda: set(early) <= stored_ids(daemon), 20, "the others' first news come home")

    # Now the window runs dry for the big one: 15 % of it are kept for the others.
    wait_for(lambda: _is_dry(daemon), 30, daemon.tail, every=0.5)
    before = _stored_of(daemon, big)
    assert before < LIMIT * 0.55
    late = [each["killmail_id"] for each in eve.add_mails(3, others)]
    wait_for(lambda: set(late) <= stored_ids(daemon), 20, "the others' news come home although it is dry")
    assert _is_dry(daemon), "they were to be stored while it is dry"
    assert daemon.pending() >= 100

    # Behind the big one they would wait until the window returns its tokens. (How quick: `make bench`.)
    slow = _slower_than(daemon, [*early, *late], seconds=WINDOW / 3)
    assert slow == {}, "news that waited from being listed to being stored"
    status = daemon.ctl("status")
    assert status["syncing"], "a spent budget stops nothing"
    assert 0 < status["pendingEta"] <= 2 * WINDOW
    assert status["pendingDetails"] >= 100
    told = daemon.command("ctl", "status").stdout
    assert "ESI's budget needs" in told
    (user,) = [each for each in daemon.ctl("users")["users"] if each["characterId"] == big]
    assert user["pending"] >= 100

    assert daemon.stop(signal.SIGTERM) == 0
    daemon.start()
    wait_home(daemon, eve, [big, *others], timeout=150)
    assert_whole(daemon, eve, [big, *others])
    seen = eve.counters()
    assert seen["detail_requests"] == seen["details_ok"] == LONG + 2 * 3 * len(others)
    # Counted where they arrive: a busy machine bunches what left evenly. The pacer has tests of its own.
    assert seen["requests_per_second_peak"] <= 4 * PACE
    (user,) = [each for each in daemon.ctl("users")["users"] if each["characterId"] == big]
    assert user["lastKillmailId"] == max(listed_ids(eve, [big]))


@pytest.mark.slow(45)
@pytest.mark.timeout(480)
def test_no_limit_is_broken_across_restarts(stage: Stage) -> None:
    """A budget that is forgotten at a restart would be a breach: SIGTERM and SIGKILL, again and again, in a
    bucket that is always nearly dry; and lists whose Expires must hold over every restart."""
    eve = stage.eve(
        pilots=4, history=100, sharing=0, window=12, cache=4, limit=["killmail=240"], latency=0.02
    )
    daemon = stage.daemon(eve, {"producer": {"interval": "3s", "min_age": "2s"}})
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    for turn, number in enumerate((signal.SIGTERM, signal.SIGKILL) * 3):
        daemon.wait_stored(20 * turn + 15)
        daemon.stop(number)
        daemon.start()
    wait_home(daemon, eve, pilots, timeout=150)
    assert_whole(daemon, eve, pilots)
    assert eve.counters()["requests"]["esi.killmail"].get("429", 0) == 0


def _is_dry(daemon: DaemonProcess) -> bool:
    """Whether less than the others' part is left of the address's budget for mails."""
    budgets = daemon.ctl("status")["budgets"]
    (left,) = [each["remaining"] for each in budgets if each["group"] == "killmail"]
    return left <= 0.15 * LIMIT


def _stored_of(daemon: DaemonProcess, pilot: int) -> int:
    sql = "SELECT COUNT(*) FROM killmails k JOIN sightings g ON g.killmail_id = k.killmail_id "
    return int(daemon.value(sql + "JOIN sources s ON s.id = g.source_id WHERE s.subject_id = ?", pilot))


def _slower_than(daemon: DaemonProcess, ids: list[int], seconds: float) -> dict[int, float]:
    """By the database's own times: how long each took from its listing until it was fetched, and stored."""
    took = {}
    with daemon.rows() as rows:
        for killmail_id in ids:
            listed, fetched, created = rows.execute(
                "SELECT listed_at, fetched_at, CAST(strftime('%s', created_at) AS REAL) FROM killmails "
                "WHERE killmail_id = ?",
                (killmail_id,),
            ).fetchone()
            # created_at has whole seconds, cut off.
            took[killmail_id] = max(fetched - listed, created - listed)
    return {killmail_id: round(each, 2) for killmail_id, each in took.items() if each > seconds}
