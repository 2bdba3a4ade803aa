"""Corporations from outside: one Director's login brings every loss and final blow of all members."""

from __future__ import annotations

from typing import Any

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import Stage, wait_for
from tests.support.daemon import DaemonProcess

CORPORATIONS = {
    "corporations": {"enabled": True},
    "producer": {"interval": "2s", "min_age": "1s"},
}


def listed(eve: SimulatorProcess, corporation: int) -> set[int]:
    """Ids of what the corporation's list shows."""
    return {each["killmail_id"] for each in eve.corporation_mails(corporation)}


def source(daemon: DaemonProcess, corporation: int) -> dict[str, Any]:
    """The corporation's row, as the database has it."""
    with daemon.rows() as rows:
        row = rows.execute(
            "SELECT s.id, s.last_sync_at, u.character_id, s.last_killmail_id FROM sources s "
            "LEFT JOIN users u ON u.id = s.via_user_id WHERE s.kind = 'corporation' AND s.subject_id = ?",
            (corporation,),
        ).fetchone()
    return dict(zip(("id", "synced", "via", "last"), row, strict=True)) if row else {}


def wait_stored(daemon: DaemonProcess, wanted: set[int]) -> None:
    """Until these mails are stored."""

    def missing() -> set[int]:
        with daemon.rows() as rows:
            return wanted - {row[0] for row in rows.execute("SELECT killmail_id FROM killmails")}

    wait_for(
        lambda: not missing(), 60, lambda: f"missing {sorted(missing())[:5]}...\n{daemon.tail()}", every=0.2
    )


@pytest.mark.timeout(240)
def test_one_director_brings_home_what_forty_members_lost_and_won(stage: Stage) -> None:
    """Two others logged in who have lost the role: each is refused once at most, and nothing is held against
    their own lists. Then the Director is another, and a member changes corporation twice."""
    eve = stage.eve(pilots=41, history=6, pilots_per_corporation=40, cache=3, page_size=100)
    eve.settings(affiliation_cache=2)
    pilots = eve.pilots()
    director, second, third, fourth = (each["character_id"] for each in pilots[:4])
    corporation, other = pilots[0]["corporation_id"], pilots[40]["corporation_id"]
    daemon = stage.daemon(eve, CORPORATIONS)
    stage.log_in(daemon, eve, second, third, director)
    wait_stored(daemon, listed(eve, corporation))
    assert source(daemon, corporation)["via"] == director
    refusals = eve.counters()["refusals"]
    assert set(refusals) <= {f"{corporation}/{second}", f"{corporation}/{third}"}
    assert set(refusals.values()) <= {1}
    assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}

    # The Director is swapped: whoever has the role now logs in, the one before loses it.
    eve.director(fourth)
    stage.log_in(daemon, eve, fourth)
    eve.director(director, yes=False)
    eve.add_mails(3, [each["character_id"] for each in pilots[20:25]])
    wait_stored(daemon, listed(eve, corporation))
    assert source(daemon, corporation)["via"] == fourth

    # A member changes corporation twice: what was listed meanwhile is the other one's.
    eve.move(third, other)
    away = eve.add_mails(2, [third])
    wait_for(
        lambda: daemon.value("SELECT corporation_id FROM users WHERE character_id = ?", third) == other, 60
    )
    wait_stored(daemon, {each["killmail_id"] for each in away})
    eve.move(third, corporation)
    wait_for(
        lambda: daemon.value("SELECT corporation_id FROM users WHERE character_id = ?", third) == corporation,
        60,
    )
    back = eve.add_mails(2, [third])
    wait_stored(daemon, {each["killmail_id"] for each in back} | listed(eve, corporation))
    refusals = eve.counters()["refusals"]
    assert set(refusals.values()) == {1}, f"at most one refusal per corporation and pilot a day: {refusals}"
    counted = eve.counters()
    assert counted["refetches"] == 0
    assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}


def test_who_fights_is_listed_as_soon_as_esi_has_news_and_others_by_the_interval(stage: Stage) -> None:
    eve = stage.eve(pilots=2, history=2, cache=3)
    fighter, quiet = [each["character_id"] for each in eve.pilots()]
    daemon = stage.daemon(eve, {"producer": {"interval": "10m", "min_age": "1s", "active_for": "1h"}})
    eve.add_mails(1, [fighter], age=30)
    stage.log_in(daemon, eve)
    daemon.wait_stored(len(eve.mails()))
    for _ in range(2):
        made = eve.add_mails(1, [fighter])
        wait_stored(daemon, {each["killmail_id"] for each in made})
    lists = eve.counters()["lists"]
    assert lists[str(fighter)] >= 3
    assert lists[str(quiet)] == 1


def test_who_logged_in_before_is_not_walked_again_when_corporations_are_switched_on(stage: Stage) -> None:
    """A daemon that read pilots' lists gets the setting: the corporation asks for a new login, nothing is
    listed or fetched twice, and what the Director brings is only what was not there."""
    eve = stage.eve(pilots=6, history=10, pilots_per_corporation=6)
    pilots = [each["character_id"] for each in eve.pilots()]
    corporation = eve.pilots()[0]["corporation_id"]
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve, *pilots[:2])
    daemon.wait_stored(len({each["killmail_id"] for pilot in pilots[:2] for each in eve.mails(pilot)}))
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM wants") == 0, 20)
    assert daemon.stop() == 0
    daemon.config.write_text(daemon.config.read_text() + "[corporations]\nenabled = true\n")
    daemon.start()
    wait_for(lambda: source(daemon, corporation), 20, daemon.tail)
    assert source(daemon, corporation)["via"] is None, "no login carries the scope yet"
    lists = eve.counters()["lists"]
    assert lists == {str(each): 1 for each in pilots[:2]}
    stage.log_in(daemon, eve, pilots[0])
    wait_stored(daemon, listed(eve, corporation))
    counted = eve.counters()
    assert counted["lists"] == {**lists, str(corporation): 1}
    assert set(counted["details"].values()) == {1}
    assert counted["refusals"] == {}


def shown(daemon: DaemonProcess, corporation: int) -> dict[str, Any]:
    """The corporation as `ctl sources` shows it."""
    found = daemon.ctl("sources", "--kind", "corporation")["sources"]
    (one,) = [each for each in found if int(each["subject"]["id"]) == corporation]
    return dict(one)


def test_a_lost_role_costs_one_refusal_and_is_the_corporation_s_state_alone(stage: Stage) -> None:
    """Also of a Director who has the list alone, and read it a moment ago."""
    eve = stage.eve(pilots=3, history=4, cache=2, no_limits=True)
    director, member, _ = [each["character_id"] for each in eve.pilots()]
    corporation = eve.pilots()[0]["corporation_id"]
    daemon = stage.daemon(eve, CORPORATIONS)
    stage.log_in(daemon, eve, director)
    wait_stored(daemon, listed(eve, corporation))
    eve.director(director, yes=False)
    wait_for(lambda: shown(daemon, corporation)["state"] == "role_missing", 30, daemon.tail)
    assert shown(daemon, corporation)["remedy"]
    stage.log_in(daemon, eve, member)
    for _ in range(2):
        made = eve.add_mails(1, [director])
        wait_stored(daemon, {each["killmail_id"] for each in made})
    refusals = eve.counters()["refusals"]
    assert refusals == {f"{corporation}/{each}": 1 for each in (director, member)}, "not again and again"
    assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}
    eve.director(director)
    stage.log_in(daemon, eve, director)
    made = eve.add_mails(1, [eve.pilots()[2]["character_id"]])
    wait_stored(daemon, {each["killmail_id"] for each in made})
    assert shown(daemon, corporation)["state"] == "ok"


@pytest.mark.slow(80)
@pytest.mark.timeout(240)
def test_a_passing_refusal_without_a_reason_is_asked_again_a_minute_later(stage: Stage) -> None:
    """Of a pilot's own list and of a corporation's: neither is anybody's verdict."""
    eve = stage.eve(pilots=1, history=4, cache=2, no_limits=True)
    (pilot,) = eve.pilots()
    character, corporation = pilot["character_id"], pilot["corporation_id"]
    daemon = stage.daemon(eve, CORPORATIONS)
    stage.log_in(daemon, eve)
    wait_stored(daemon, listed(eve, corporation))
    wait_for(lambda: source(daemon, corporation)["synced"], 30)
    for route in ("character", "corporation"):
        eve.script("status", f"esi.{route}_killmails", status=403, count=1)
    wait_for(lambda: shown(daemon, corporation)["state"] == "unavailable", 30, daemon.tail)
    found = shown(daemon, corporation)
    assert "which may be wrong" in found["stateReason"]
    assert "asked again at" in found["remedy"]
    assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}
    made = eve.add_mails(1, [character])
    wait_for(lambda: shown(daemon, corporation)["state"] == "ok", 90, daemon.tail, every=1.0)
    wait_stored(daemon, {each["killmail_id"] for each in made})
    assert set(eve.counters()["refusals"].values()) <= {1}


def test_a_closed_corporation_is_called_closed_and_what_it_brought_stays(stage: Stage) -> None:
    eve = stage.eve(pilots=3, history=5, cache=2, no_limits=True)
    eve.settings(affiliation_cache=2)
    director = eve.pilots()[0]["character_id"]
    corporation = eve.pilots()[0]["corporation_id"]
    daemon = stage.daemon(eve, CORPORATIONS)
    stage.log_in(daemon, eve, director)
    everything = listed(eve, corporation)
    wait_stored(daemon, everything)
    npc = eve.close_corporation(corporation)
    wait_for(lambda: "closed" in str(shown(daemon, corporation)["stateReason"]), 60, daemon.tail)
    assert shown(daemon, corporation)["state"] == "no_token"
    assert shown(daemon, npc)["stateReason"].startswith("an NPC corporation has no list")
    assert daemon.ctl("status")["problems"] == [], "there is nothing to do about it"
    assert daemon.stored() == len(everything)
    seen = eve.counters()
    made = eve.add_mails(1, [director])
    wait_stored(daemon, {each["killmail_id"] for each in made})
    assert eve.counters()["lists"][str(corporation)] == seen["lists"][str(corporation)], "not asked for"
    assert str(npc) not in eve.counters()["lists"]
    assert set(seen["refusals"].values()) <= {1}


def test_a_director_who_logs_out_leaves_the_source_and_who_is_erased_only_takes_the_own_list(
    stage: Stage,
) -> None:
    eve = stage.eve(pilots=4, history=5, cache=2, sharing=0, no_limits=True)
    director, member, *_ = [each["character_id"] for each in eve.pilots()]
    corporation = eve.pilots()[0]["corporation_id"]
    daemon = stage.daemon(eve, CORPORATIONS)
    stage.log_in(daemon, eve, director, member)
    everything = listed(eve, corporation)
    wait_stored(daemon, everything)
    daemon.ctl("logout", str(member), "--erase")
    assert daemon.stored() == len(everything), "the corporation's list shows them, too"
    daemon.ctl("logout", str(director), "--erase")
    assert source(daemon, corporation)["via"] is None
    assert daemon.stored() == len(everything)
    assert daemon.value("SELECT COUNT(*) FROM users") == 0
