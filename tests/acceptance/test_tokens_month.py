"""One login, and syncing ever after: access tokens come and go, refresh tokens are replaced each time.

A month of it with an injected clock is in unit/test_tokens.py, ten minutes of tokens of forty seconds in
integration/test_token_care.py; here the same ratio passes in a real process.
"""

from __future__ import annotations

import signal

import pytest

from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, wait_home
from tests.support.stopped_daemon import an_hour_later

LIVES = 15
"""Ten minutes of tokens that live forty seconds."""


@pytest.mark.slow(30)
def test_users_go_on_syncing_through_many_tokens(stage: Stage) -> None:
    """Tokens of three seconds, replaced refresh tokens, restarts between: nobody logs in again."""
    eve = stage.eve(
        pilots=3, history=4, sharing=0, cache=2, token_life=3, rotation="always", limit="char-killmail=3000"
    )
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    logins = eve.counters()["requests"]["sso.authorize"]
    wait_home(daemon, eve, pilots)
    for lives in range(3, LIVES + 1, 3):
        eve.add_mails(1, pilots)
        wait_home(daemon, eve, pilots, timeout=30)
        eve.wait_for("counters", lambda seen, lives=lives: _fewest(seen, pilots) >= lives, timeout=40)
        assert {each["state"] for each in daemon.ctl("users")["users"]} == {"ok"}
        if lives == 6:
            daemon.stop(signal.SIGTERM)
            daemon.start()
        if lives == 9:
            daemon.stop(signal.SIGTERM)
            wait_for(lambda: _tokens_are_over(daemon), 10, "the tokens end while nobody renews them")
            daemon.start()
    eve.add_mails(1, pilots)
    wait_home(daemon, eve, pilots, timeout=30)
    assert_whole(daemon, eve, pilots)
    seen = eve.counters()
    assert seen["requests"]["sso.authorize"] == logins
    assert seen["requests"]["esi.character_killmails"].get("403", 0) == 0
    assert daemon.ctl("status")["problems"] == []


def test_a_revoked_grant_says_so_and_a_login_heals_it(stage: Stage) -> None:
    """`invalid_grant` twice is an end: one line with the remedy, the other pilot goes on."""
    eve = stage.eve(
        pilots=2, history=3, sharing=0, cache=2, token_life=5, rotation="always", limit="char-killmail=3000"
    )
    daemon = stage.daemon(eve, QUICK)
    gone, fine = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [gone, fine])
    eve.revoke(gone)
    wait_for(lambda: _codes(daemon) == [("login_doubtful", gone)], 20)
    assert _state(daemon, gone) == "ok", "one answer is no verdict"
    an_hour_later(daemon)
    wait_for(lambda: _state(daemon, gone) == "needs_login", 20)
    status = daemon.ctl("status")
    assert status["syncing"]
    (problem,) = status["problems"]
    assert (problem["code"], problem["characterId"]) == ("needs_login", gone)
    assert "asked again by itself at" in problem["reason"]
    assert "killsyncd login" in problem["remedy"]
    asked = eve.counters()["refreshes"][str(gone)]
    eve.add_mails(2, [gone, fine])
    wait_home(daemon, eve, [fine])
    assert eve.counters()["refreshes"][str(gone)] == asked, "the next question is a quarter of an hour away"
    stage.log_in(daemon, eve, gone)
    wait_home(daemon, eve, [gone, fine])
    assert daemon.ctl("status")["problems"] == []


def test_a_refusal_that_passes_costs_nobody_the_login(stage: Stage) -> None:
    """The SSO refuses everybody's tokens for a while, which are alive: all sync again, and none logged in."""
    eve = stage.eve(
        pilots=2, history=3, sharing=0, cache=2, token_life=5, rotation="always", limit="char-killmail=3000"
    )
    daemon = stage.daemon(eve, QUICK)
    pilots = sorted(pilots_of(eve))
    stage.log_in(daemon, eve)
    logins = eve.counters()["requests"]["sso.authorize"]
    wait_home(daemon, eve, pilots)
    eve.script("oauth", "sso.token", body="invalid_grant", status=400)
    wait_for(lambda: _codes(daemon) == [("login_doubtful", each) for each in pilots], 20)
    an_hour_later(daemon)
    wait_for(lambda: {_state(daemon, each) for each in pilots} == {"needs_login"}, 20)
    eve.clear_faults()
    an_hour_later(daemon)
    wait_for(lambda: {_state(daemon, each) for each in pilots} == {"ok"}, 20)
    eve.add_mails(2, pilots)
    wait_home(daemon, eve, pilots)
    assert daemon.ctl("status")["problems"] == []
    assert eve.counters()["requests"]["sso.authorize"] == logins


def test_who_was_logged_out_is_left_and_quiet(stage: Stage) -> None:
    """It nagged for ever: `needs_login`, and an alert. The mails stay, and a login brings the pilot back."""
    eve = stage.eve(pilots=2, history=3, sharing=0, cache=2)
    daemon = stage.daemon(eve, QUICK)
    gone, fine = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [gone, fine])
    assert daemon.ctl("logout", str(gone))["revoked"]
    assert _state(daemon, gone) == "left"
    told = daemon.command("ctl", "users").stdout
    assert "logged out: nothing to do" in told
    status = daemon.ctl("status")
    assert (status["syncing"], status["problems"]) == (True, [])
    assert status["usersByState"] == {"left": 1, "ok": 1}
    assert 'killsyncd_users{state="left"} 1.0' in daemon.get("/metrics")[1]
    users = daemon.graphql("{ users { characterId state } }")["users"]
    assert {each["characterId"]: each["state"] for each in users} == {str(gone): "LEFT", str(fine): "OK"}
    queued = daemon.command("ctl", "queue", "--force").stdout
    assert str(gone) not in queued
    eve.add_mails(1, [gone, fine])
    wait_home(daemon, eve, [fine])
    stage.log_in(daemon, eve, gone)
    wait_home(daemon, eve, [gone, fine])
    assert _state(daemon, gone) == "ok"


def _codes(daemon: DaemonProcess) -> list[tuple[str, int]]:
    problems = daemon.ctl("status")["problems"]
    return sorted((each["code"], each["characterId"]) for each in problems)


def _fewest(seen: dict[str, dict[str, int]], pilots: list[int]) -> int:
    return min(seen["refreshes"].get(str(pilot), 0) for pilot in pilots)


def _tokens_are_over(daemon: DaemonProcess) -> bool:
    return int(daemon.value("SELECT COUNT(*) FROM users WHERE expires_at > CURRENT_TIMESTAMP")) == 0


def _state(daemon: DaemonProcess, pilot: int) -> str:
    return next(each["state"] for each in daemon.ctl("users")["users"] if each["characterId"] == pilot)
