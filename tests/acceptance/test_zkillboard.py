"""The rest of the fight, through zKillboard: what no list of ESI shows is stored, once, and politely."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import QUICK, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, listed_ids, wait_home

ON = {"zkillboard": {"enabled": True}}
PATIENT = 60.0


def verified(daemon: Any) -> dict[int, Any]:
    """What `verify` says of zKillboard, by pilot."""
    return {each["characterId"]: each["zkillboard"] for each in daemon.ctl("verify")["characters"]}


def test_every_mail_with_one_of_ours_on_it_is_stored_once(stage: Stage) -> None:
    """Lists of ESI, lists of zKillboard and its stream tell of the same fights; a mail is asked for once."""
    eve = stage.eve(pilots=3, history=40, sharing=0.5, assists=0.5, cache=5)
    daemon = stage.daemon(eve, {**QUICK, **ON})
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    ours = listed_ids(eve, pilots, took_part=True)
    wait_for(lambda: daemon.stored() == len(ours), PATIENT, daemon.tail)
    wait_for(lambda: all(each["knownTo"] for each in verified(daemon).values()), PATIENT, daemon.tail)

    eve.zkillboard(strangers=3)
    eve.add_mails(2, pilots[:1], assist=True)
    eve.add_mails(1, pilots, shared=True)
    wait_for(lambda: daemon.stored() == len(ours) + 3, PATIENT, daemon.tail)
    wait_home(daemon, eve, pilots)
    assert_whole(daemon, eve, pilots, took_part=True)
    seen = eve.counters()
    assert set(seen["details"].values()) == {1}
    assert seen["tokens_spent"]["killmail"] <= 1.05 * 2 * daemon.stored()
    everywhere = listed_ids(eve, pilots)
    for pilot, told in verified(daemon).items():
        took_part = listed_ids(eve, [pilot], took_part=True)
        assert told["listed"] == len(took_part)
        assert told["neverListed"] == len(took_part - everywhere)
        assert (told["pending"], told["quarantined"], told["badEntries"]) == (0, 0, 0)
    only = next(iter(ours - everywhere))
    assert {each["source"] for each in daemon.ctl("explain", str(only))["seen"]} == {"zkillboard"}
    assert daemon.ctl("status")["problems"] == []
    assert "known through zKillboard from" in daemon.command("ctl", "verify").stdout


def test_switched_off_not_one_request_leaves_for_it(stage: Stage) -> None:
    eve = stage.eve(pilots=2, history=5, assists=1, cache=2)
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    eve.add_mails(1, pilots, shared=True)
    wait_home(daemon, eve, pilots)
    assert eve.zkillboard()["requests"] == 0
    assert set(verified(daemon).values()) == {None}
    assert daemon.value("SELECT COUNT(*) FROM sources WHERE kind = 'zkillboard'") == 0


def test_a_corporation_s_fights_come_by_its_id_too(stage: Stage) -> None:
    """One Director is logged in. Another member's assists are in no list of ESI's: zKillboard's list of the
    corporation has them, and its stream tells of the next ones."""
    eve = stage.eve(pilots=4, history=6, pilots_per_corporation=4, assists=0.5, sharing=0, cache=2)
    pilots = eve.pilots()
    director, *others = [int(each["character_id"]) for each in pilots]
    corporation = int(pilots[0]["corporation_id"])
    daemon = stage.daemon(eve, {**QUICK, **ON, "corporations": {"enabled": True}})
    stage.log_in(daemon, eve, director)
    ours = listed_ids(eve, [director, *others], took_part=True)
    by_esi = {each["killmail_id"] for each in eve.corporation_mails(corporation)}
    assert ours - by_esi
    wait_for(lambda: daemon.stored() == len(ours), PATIENT, daemon.tail)

    def verified_corporation() -> dict[str, Any]:
        (found,) = daemon.ctl("verify")["corporations"]
        return dict(found["zkillboard"] or {"knownTo": None})

    wait_for(lambda: verified_corporation()["knownTo"], PATIENT, daemon.tail)
    told = verified_corporation()
    assert told["listed"] == len(ours)
    assert told["neverListed"] == len(ours - by_esi)

    eve.zkillboard(strangers=2)
    made = eve.add_mails(1, others[:1], assist=True)
    wait_for(lambda: daemon.stored() == len(ours) + 1, PATIENT, daemon.tail)
    seen = daemon.ctl("explain", str(made[0]["killmail_id"]))["seen"]
    assert [(each["source"], each["subjectId"]) for each in seen] == [("zkillboard", corporation)]
    counted = eve.counters()
    assert set(counted["details"].values()) == {1}
    (source,) = [
        each
        for each in daemon.ctl("sources", "--kind", "zkillboard")["sources"]
        if int(each["subject"]["id"]) == corporation
    ]
    assert (source["state"], source["completeTo"] is not None) == ("ok", True)
    text = daemon.get("/metrics")[1]
    assert 'killsyncd_zkillboard_requests_total{kind="lists",status="200"}' in text
    assert 'killsyncd_zkillboard_requests_total{kind="stream",status="200"}' in text
    assert 'killsyncd_corporation_sync_lag_seconds{quantile="1"}' in text


@pytest.mark.slow(60)
def test_a_wrong_hash_is_quarantined_and_said_and_an_outage_holds_nothing_up(stage: Stage) -> None:
    """The wrong hash is of a mail that no list of ESI's shows: nobody knows a better one."""
    eve = stage.eve(pilots=1, history=5, cache=2)
    (pilot,) = pilots_of(eve)
    wrong, right = [each["killmail_id"] for each in eve.add_mails(2, [pilot], assist=True, age=3600.0)]
    eve.zkillboard(wrong=[wrong])
    daemon = stage.daemon(eve, {**QUICK, **ON})
    stage.log_in(daemon, eve)
    wait_for(lambda: daemon.ctl("failed")["failed"], PATIENT, daemon.tail, every=0.5)
    (failed,) = daemon.ctl("failed")["failed"]
    assert failed["killmailId"] == wrong
    assert "422" in failed["reason"]
    assert daemon.stored() == len(eve.mails()) - 1
    assert daemon.ctl("explain", str(right))["state"] == "stored"
    assert [each["code"] for each in daemon.ctl("status")["problems"]] == ["quarantined"]
    assert verified(daemon)[pilot]["quarantined"] == 1

    eve.script("status", "zkb.*", status=503)
    made = eve.add_mails(2, [pilot])
    wait_for(lambda: daemon.stored() == len(eve.mails()) - 1, PATIENT, daemon.tail)
    assert len(made) == 2
    assert daemon.ctl("status")["syncing"]
