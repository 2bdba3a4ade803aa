"""The six problems of killreport, from outside: what its operators ran into and now see."""

from __future__ import annotations

import re
import signal

from tests.support import QUICK, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, wait_home
from tests.support.stopped_daemon import let_waiting_pass


def test_queue_empty_and_worker_not_running(stage: Stage) -> None:
    """Problem 1: status says that nothing works, why, and what to do; exit code 1; resume works."""
    eve = stage.eve(pilots=1, history=5, cache=1)
    daemon = stage.daemon(eve, {"producer": {"active_for": "0s"}})  # nobody asks in between
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots_of(eve))
    fine = daemon.command("ctl", "status")
    assert (fine.returncode, fine.stdout.splitlines()[0]) == (0, "syncing")
    (queue,) = daemon.graphql("{ workerStatus { queueName messageCount consumerCount } }")["workerStatus"]
    assert queue == {"queueName": "esi_user_killmails_queue", "messageCount": 0, "consumerCount": 1}

    daemon.ctl("pause")
    told = daemon.command("ctl", "status")
    assert told.returncode == 1
    assert told.stdout.splitlines()[0] == "NOT syncing"
    reason = next(line for line in told.stdout.splitlines() if "paused" in line)
    assert f"killsyncd ctl --config {daemon.config} resume" in reason, "one line: the reason and the remedy"
    assert "0 consumers" in told.stdout
    (queue,) = daemon.graphql("{ workerStatus { queueName messageCount consumerCount } }")["workerStatus"]
    assert (queue["messageCount"], queue["consumerCount"]) == (0, 0)

    assert daemon.command("ctl", "resume").returncode == 0
    assert daemon.command("ctl", "status").returncode == 0


def test_no_daemon_at_all(stage: Stage) -> None:
    """Problem 1 without a worker: exit code 69, and what was tried."""
    eve = stage.eve(pilots=0)
    daemon = stage.daemon(eve, start=False)
    told = daemon.command("ctl", "status")
    assert told.returncode == 69
    assert str(daemon.folder / "killsyncd.sock") in told.stderr
    assert told.stdout == ""


def test_queue_full_and_not_processing(stage: Stage) -> None:
    """Problem 2: what waits while paused survives a restart, in which it stays paused, and then drains."""
    eve = stage.eve(pilots=6, history=8, cache=1)
    daemon = stage.daemon(eve)
    daemon.ctl("pause")
    stage.log_in(daemon, eve)
    before = daemon.ctl("status")
    assert (before["queue"]["messages"], before["consumers"]) == (6, 0)
    assert eve.counters()["lists"] == {}

    assert daemon.stop(signal.SIGTERM) == 0
    daemon.start()
    after = daemon.ctl("status")
    assert (after["queue"]["messages"], after["syncing"]) == (6, False)
    assert [each["code"] for each in after["problems"]] == ["paused"]
    daemon.kill()
    daemon.start()
    assert daemon.ctl("status")["queue"]["byPriority"] == {"8": 6}
    assert eve.counters()["lists"] == {}

    daemon.ctl("resume")
    wait_home(daemon, eve, pilots_of(eve))
    assert_whole(daemon, eve, pilots_of(eve))
    assert daemon.ctl("status")["queue"]["messages"] == 0


def test_nobody_is_logged_in(stage: Stage) -> None:
    """Problem 3: said with the remedy, and it is no failure to have nobody to queue."""
    eve = stage.eve(pilots=1, history=3)
    daemon = stage.daemon(eve)
    for words in (("queue",), ("queue", "--force", "--full")):
        told = daemon.command("ctl", *words)
        assert told.returncode == 0
        assert "Nobody to queue" in told.stdout
        assert "killsyncd login" in told.stderr
    status = daemon.command("ctl", "status")
    assert status.returncode == 1
    assert "nobody has logged in yet" in status.stdout
    assert "killsyncd login" in status.stdout
    assert daemon.ctl("queue") == {
        "queued": [],
        "remedy": f"nobody has logged in yet: killsyncd login --config {daemon.config}",
    }
    stage.log_in(daemon, eve)
    wait_for(lambda: daemon.command("ctl", "status").returncode == 0, 5)


def test_expired_tokens_refresh_by_themselves(stage: Stage) -> None:
    """Problem 4, the harmless half: ESI refuses a token; it is renewed, and asked again once."""
    eve = stage.eve(pilots=1, history=5, cache=2)
    daemon = stage.daemon(eve, QUICK)
    (pilot,) = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [pilot])
    eve.script("status", "esi.character_killmails", status=401, count=1)
    eve.add_mails(2, [pilot])
    wait_home(daemon, eve, [pilot])
    seen = eve.counters()
    assert seen["requests"]["esi.character_killmails"]["401"] == 1
    assert seen["refreshes"] == {str(pilot): 1}
    (user,) = daemon.ctl("users")["users"]
    assert user["state"] == "ok"
    assert daemon.ctl("status")["problems"] == []


def test_a_missing_scope_is_said_with_the_remedy(stage: Stage) -> None:
    """Problem 4, the other half: 403 is asked once, is said, stops nobody else, and heals by a login."""
    eve = stage.eve(pilots=2, history=4, cache=2, sharing=0)
    daemon = stage.daemon(eve, QUICK)
    lost, fine = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, [lost, fine])
    scope = "esi-killmails.read_killmails.v1"
    eve.scopes(lost, drop=[scope])
    wait_for(lambda: state_of(daemon, lost) == "scope_missing", 15)
    told = daemon.command("ctl", "users").stdout
    assert "scope" in told
    assert "killsyncd login" in told
    status = daemon.ctl("status")
    assert status["syncing"], "the other pilot is synced all the same"
    (problem,) = status["problems"]
    assert (problem["code"], problem["characterId"]) == ("scope_missing", lost)
    assert problem["reason"]
    assert problem["remedy"]
    skipped = daemon.command("ctl", "queue", "--force", "--user", str(lost))
    assert skipped.returncode == 0
    assert "[SKIPPED:" in skipped.stdout
    eve.add_mails(1, [fine])
    wait_home(daemon, eve, [fine])
    assert eve.counters()["requests"]["esi.character_killmails"]["403"] == 1, "each 403 would cost 5 tokens"

    eve.scopes(lost, restore=[scope])
    eve.add_mails(2, [lost])
    stage.log_in(daemon, eve, lost)
    wait_home(daemon, eve, [lost, fine])
    assert daemon.ctl("status")["problems"] == []


def test_a_403_for_a_token_with_the_scope_disables_nobody(stage: Stage) -> None:
    """ESI could not ask its own SSO for a moment: that made all pilots `scope_missing`."""
    eve = stage.eve(pilots=3, history=3, cache=2, sharing=0)
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    body = '{"error":"unexpected end of JSON input","sso_status":401}'
    for each in pilots:
        eve.script("status", "esi.character_killmails", character=each, status=403, body=body, count=1)
    eve.wait_for("counters", lambda seen: seen["requests"]["esi.character_killmails"].get("403", 0) == 3)
    eve.add_mails(2, pilots)
    assert {state_of(daemon, each) for each in pilots} == {"ok"}
    daemon.stop(signal.SIGTERM)
    let_waiting_pass(daemon)
    daemon.start()
    wait_home(daemon, eve, pilots)
    assert {state_of(daemon, each) for each in pilots} == {"ok"}
    assert daemon.ctl("status")["problems"] == []
    assert eve.counters()["requests"]["esi.character_killmails"]["403"] == 3


def test_a_login_without_the_scope_is_told_at_once(stage: Stage) -> None:
    """The pilot unticks the scope on EVE's page: nothing is asked of ESI, and the page says what is wrong."""
    eve = stage.eve(pilots=1, history=4)
    daemon = stage.daemon(eve)
    (pilot,) = pilots_of(eve)
    eve.scopes(pilot, drop=["esi-killmails.read_killmails.v1"])
    stage.log_in(daemon, eve, pilot)
    assert state_of(daemon, pilot) == "scope_missing"
    assert eve.counters()["lists"] == {}


def test_it_is_not_slow(stage: Stage) -> None:
    """Problem 5: with an answer taking 0.2 s, many mails and several users are under way at once.

    What the old worker did one after the other; how fast that is, the bench says.
    """
    eve = stage.eve(pilots=6, history=40, latency=0.2, sharing=0)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots_of(eve))
    assert eve.counters()["concurrency_peak"] >= 10
    assert_whole(daemon, eve, pilots_of(eve))


def test_several_users_are_worked_on_at_once(stage: Stage) -> None:
    """Problem 5, other half: a list that takes its time holds up nobody else."""
    eve = stage.eve(pilots=4, history=3, sharing=0)
    slow, *others = pilots_of(eve)
    eve.script("latency", "esi.character_killmails", character=slow, seconds=5, count=1)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve, others[0])  # the first list ever goes alone, to learn ESI's limits
    wait_home(daemon, eve, others[:1])
    stage.log_in(daemon, eve, slow, *others[1:])
    wait_home(daemon, eve, others)
    assert daemon.ctl("status")["queue"]["working"] == 1, "the slow list is still being read"
    wait_home(daemon, eve, [slow])


def test_the_same_mail_from_several_sources_is_stored_once(stage: Stage) -> None:
    """Problem 6: lists of two pilots, a file, and a list that has entries twice; no error anywhere."""
    eve = stage.eve(pilots=3, history=0, cache=2)
    daemon = stage.daemon(eve, QUICK)
    pilots = pilots_of(eve)
    both = eve.add_mails(12, pilots, shared=True, loss=True)  # in the lists of the first two
    alone = eve.add_mails(4, [pilots[0]])
    line = daemon.folder / "mails.jsonl"
    line.write_text("".join(_with_hash(eve, each) + "\n" for each in both[:6]))
    imported = daemon.command("import", str(line), "--json")
    assert imported.returncode == 0, imported.stderr
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    assert daemon.stored() == 16
    again = daemon.command("import", str(line))
    assert again.returncode == 0
    wait_for(lambda: all(each["lastKillmailSyncAt"] for each in daemon.ctl("users")["users"]), 15)
    assert_whole(daemon, eve, pilots)
    assert eve.counters()["detail_requests"] == 10, "what the file had brought is not fetched"
    told = daemon.ctl("explain", str(both[0]["killmail_id"]))
    assert {each["source"] for each in told["seen"]} == {"character", "import"}
    assert {each["characterId"] for each in told["seen"]} == {*pilots[:2], None}
    assert daemon.ctl("explain", str(alone[0]["killmail_id"]))["origin"] == "esi"
    assert [each for each in daemon.log_lines() if each.get("level") in ("warning", "error")] == []
    skipped = [each["skipped"] for each in daemon.log_lines() if each.get("event") == "synced list"]
    assert all(isinstance(each, int) for each in skipped)


def test_no_line_of_the_log_holds_a_hash_or_a_token(stage: Stage) -> None:
    """Whoever holds a killmail's hash can read it, and whoever holds a token even more."""
    eve = stage.eve(pilots=2, history=10, cache=2)
    daemon = stage.daemon(eve, {**QUICK, "log": {"level": "debug"}})
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots_of(eve))
    log = daemon.log.read_text()
    assert not any(each["killmail_hash"] in log for each in eve.mails())
    assert re.search(r"eyJ[\w-]{20,}", log) is None
    assert "code=" not in log
    assert "Bearer" not in log


def state_of(daemon, pilot: int) -> str:
    """A user's state, as `ctl users` shows it."""
    return next(each["state"] for each in daemon.ctl("users")["users"] if each["characterId"] == pilot)


def _with_hash(eve, mail) -> str:
    import json

    return json.dumps({**eve.mail(mail["killmail_id"]), "killmail_hash": mail["killmail_hash"]})


def test_check_asks_esi_for_nothing(stage: Stage) -> None:
    """As often as one likes: every route of ESI is cached for a while, and asking earlier is a breach."""
    eve = stage.eve(pilots=1, history=1)
    daemon = stage.daemon(eve)
    for _ in range(2):
        checked = daemon.command("check")
        assert "within a minute of EVE's" in checked.stdout, checked.stderr
    seen = eve.counters()["requests"]
    own = {route: sum(answers.values()) for route, answers in seen.items() if route.startswith("esi.")}
    assert set(own) <= {"esi.status", "esi.prices"}, "the daemon's own"
    assert max(own.values(), default=0) <= 1, "and once each"
    assert eve.breaches() == []
