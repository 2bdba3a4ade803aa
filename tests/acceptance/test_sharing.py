"""What two lists show is fetched once, and what has not changed costs one 304.

A mail is on the lists of two pilots when one of them died by the other's hand.
"""

from __future__ import annotations

from tests.support import QUICK, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, wait_home


def test_a_thousand_shared_mails_cost_a_thousand_requests(stage: Stage) -> None:
    """Both log in at once, so that both lists want the same mails while none is stored yet."""
    eve = stage.eve(pilots=2, history=0, no_limits=True)
    both = pilots_of(eve)
    eve.add_mails(1000, both, shared=True, loss=True, age=7200)
    daemon = stage.daemon(eve, {"esi": {"requests_per_second": 500}})
    daemon.ctl("pause")
    stage.log_in(daemon, eve)
    daemon.ctl("resume")
    wait_home(daemon, eve, both)
    assert_whole(daemon, eve, both)
    seen = eve.counters()
    assert seen["detail_requests"] == seen["details_ok"] == 1000
    assert set(seen["details"].values()) == {1}
    users = daemon.ctl("users")["users"]
    newest = max(mail["killmail_id"] for mail in eve.mails(both[0]))
    assert [each["lastKillmailId"] for each in users] == [newest, newest]
    told = daemon.ctl("explain", str(newest))
    assert {each["characterId"] for each in told["seen"]} == set(both)


def test_who_only_helped_does_not_list_it_and_yet_is_on_it(stage: Stage) -> None:
    """ESI shows a mail to the victim and to the final blow. The others are on what these two bring home."""
    eve = stage.eve(pilots=3, history=0, no_limits=True)
    winner, helper, other = pilots_of(eve)
    eve.add_mails(5, [winner, helper], shared=True)
    unseen = eve.add_mails(3, [other], assist=True)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [winner, helper, other])
    wait_for(lambda: all(each["lastKillmailSyncAt"] for each in daemon.ctl("users")["users"]), 20)
    verified = {each["characterId"]: each["listed"] for each in daemon.ctl("verify")["characters"]}
    assert verified == {winner: 5, helper: 0, other: 0}
    assert daemon.stored() == 5
    assert daemon.value(f"SELECT COUNT(*) FROM attackers WHERE character_id = {helper}") == 5
    assert eve.mails(other, took_part=True) == unseen, "which only a third party can tell us of"


def test_a_pilot_who_comes_later_costs_the_list_alone(stage: Stage) -> None:
    eve = stage.eve(pilots=2, history=0, no_limits=True)
    first, second = pilots_of(eve)
    eve.add_mails(200, [first, second], shared=True, loss=True)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve, first)
    daemon.wait_stored(200)
    stage.log_in(daemon, eve, second)
    wait_for(lambda: all(each["lastKillmailId"] for each in daemon.ctl("users")["users"]), 20)
    seen = eve.counters()
    assert seen["detail_requests"] == 200
    assert seen["lists"] == {str(first): 1, str(second): 1}
    verified = daemon.ctl("verify")["characters"]
    assert [(each["listed"], each["complete"]) for each in verified] == [(200, True), (200, True)]


def test_a_second_sync_without_news_costs_a_304_per_page_needed(stage: Stage) -> None:
    """Incremental: one page is needed to know that nothing is new. Full: every page, asked for whole."""
    eve = stage.eve(pilots=2, history=30, page_size=10, sharing=0, cache=3)
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    wait_for(lambda: all(each["complete"] for each in daemon.ctl("verify")["characters"]), 20)
    eve.reset_counters()
    for pilot in pilots:
        eve.wait_for("counters", lambda seen, pilot=pilot: seen["lists"].get(str(pilot), 0) >= 1)
    daemon.ctl("pause", "--producer")
    wait_for(lambda: daemon.ctl("status")["queue"]["byPriority"] == {}, 20)
    seen = eve.counters()
    assert seen["requests"]["esi.character_killmails"] == {"304": sum(seen["lists"].values())}
    jobs = [each for each in daemon.log_lines() if each.get("event") == "synced list" and each["new"] == 0]
    assert len(jobs) >= sum(seen["lists"].values())
    assert {each["pages"] for each in jobs} == {1}
    assert seen["detail_requests"] == 0

    eve.reset_counters()
    daemon.ctl("queue", "--force", "--full")
    wait_for(lambda: daemon.ctl("status")["queue"]["byPriority"] == {}, 20)
    seen = eve.counters()
    assert seen["requests"]["esi.character_killmails"] == {"200": 6}, "a full walk asks for pages whole"
    assert seen["detail_requests"] == 0
