"""The four scenarios of killreport, from outside: login, background, login again, by hand."""

from __future__ import annotations

from tests.support import QUICK, Stage, pilots_of, wait_for
from tests.support.login_browser import log_in
from tests.support.mails import assert_stored_as_sent, assert_whole, wait_home


def test_a_first_login_reads_everything_at_priority_8(stage: Stage) -> None:
    """Scenario 1: user saved, queued at 8, every page read, all stored, last_killmail_id the highest."""
    eve = stage.eve(pilots=1, history=120, page_size=25, sharing=0)
    daemon = stage.daemon(eve)
    (pilot,) = pilots_of(eve)
    daemon.ctl("pause")  # so that the waiting job can be looked at
    page = log_in(daemon.url, eve.base_url, pilot)
    assert "[FIRST SYNC]" in page
    status = daemon.ctl("status")
    assert status["queue"]["byPriority"] == {"8": 1}
    assert (status["queue"]["messages"], status["consumers"]) == (1, 0)
    (user,) = daemon.ctl("users")["users"]
    assert (user["characterId"], user["lastKillmailSyncAt"], user["lastKillmailId"]) == (pilot, None, None)

    daemon.ctl("resume")
    wait_home(daemon, eve, [pilot])
    assert_whole(daemon, eve, [pilot])
    mails = eve.mails(pilot)
    with daemon.rows() as rows:
        for mail in mails[::10]:
            assert_stored_as_sent(rows, eve.mail(mail["killmail_id"]), mail["killmail_hash"])
    (user,) = daemon.ctl("users")["users"]
    assert user["lastKillmailId"] == max(mail["killmail_id"] for mail in mails)
    assert user["lastKillmailSyncAt"] is not None
    assert user["pending"] == 0
    (verified,) = daemon.ctl("verify")["characters"]
    assert verified["complete"]
    assert verified["listed"] == 120
    seen = eve.counters()
    assert seen["requests"]["esi.character_killmails"] == {"200": 5}
    assert seen["detail_requests"] == seen["details_ok"] == 120
    (synced,) = [each for each in daemon.log_lines() if each.get("event") == "synced list"]
    numbers = (synced["mode"], synced["new"], synced["skipped"], synced["errors"], synced["total"])
    assert numbers == ("FIRST_SYNC", 120, 0, 0, 120)


def test_background_sync_is_incremental(stage: Stage) -> None:
    """Scenario 2: what is new is found within a run of the producer; of five pages, two are read."""
    eve = stage.eve(pilots=1, history=100, page_size=20, sharing=0, cache=4, limit="char-killmail=600")
    daemon = stage.daemon(eve, QUICK)
    (pilot,) = pilots_of(eve)
    stage.log_in(daemon, eve, pilot)
    daemon.wait_stored(100)
    wait_for(lambda: daemon.ctl("verify")["characters"][0]["complete"], 10, "the first walk ends")

    before = eve.counters()["requests"]["esi.character_killmails"]["200"]
    assert before >= 5
    new = {each["killmail_id"] for each in eve.add_mails(3, [pilot])}
    news = lambda: [  # noqa: E731
        each for each in daemon.log_lines() if each.get("event") == "synced list" and each["new"] == 3
    ]
    assert [each["mode"] for each in wait_for(news, 20, "the news are listed")] == ["INCREMENTAL"]
    daemon.wait_stored(103)
    seen = eve.counters()["requests"]["esi.character_killmails"]
    assert seen["200"] == before + 2, "the news stood on page 1, and page 2 was known whole"
    with daemon.rows() as rows:
        fresh = {row[0] for row in rows.execute("SELECT killmail_id FROM killmails WHERE fresh")}
    assert fresh == new
    synced = [each for each in daemon.log_lines() if each.get("event") == "synced list" and each["new"] == 3]
    assert [each["mode"] for each in synced] == ["INCREMENTAL"]
    # The producer says whom it found, with their last sync, and how many it queued.
    queued = [each for each in daemon.log_lines() if each.get("event") == "queued"]
    assert {each["character_id"] for each in queued} == {pilot}
    assert all(each["last"].endswith("m ago") for each in queued)
    assert any(each.get("event") == "background sync" and each["found"] == 1 for each in daemon.log_lines())
    status = daemon.ctl("status")
    assert status["lastProducerRun"] is not None
    assert status["nextProducerRun"] > status["lastProducerRun"]


def test_a_run_without_news_costs_one_304(stage: Stage) -> None:
    """A page that has not changed costs one request, and no detail."""
    eve = stage.eve(pilots=1, history=60, page_size=20, sharing=0, cache=2)
    daemon = stage.daemon(eve, QUICK)
    (pilot,) = pilots_of(eve)
    stage.log_in(daemon, eve, pilot)
    daemon.wait_stored(60)
    wait_for(lambda: daemon.ctl("verify")["characters"][0]["complete"], 10, "the first walk ends")
    eve.reset_counters()
    eve.wait_for("counters", lambda seen: seen["lists"].get(str(pilot), 0) >= 2)
    seen = eve.counters()
    assert set(seen["requests"]["esi.character_killmails"]) == {"304"}
    assert seen["detail_requests"] == 0


def test_login_again_within_15_minutes_is_skipped(stage: Stage) -> None:
    """Scenario 3: the pilot is told so, the log says why, and ESI is not asked."""
    eve = stage.eve(pilots=1, history=10, cache=1)
    daemon = stage.daemon(eve)
    (pilot,) = pilots_of(eve)
    stage.log_in(daemon, eve, pilot)
    daemon.wait_stored(10)
    wait_for(lambda: daemon.ctl("users")["users"][0]["lastKillmailSyncAt"], 10)
    asked = eve.counters()["lists"][str(pilot)]

    page = log_in(daemon.url, eve.base_url, pilot)
    assert "Skipped: synced less than a minute ago" in page
    (skipped,) = [each for each in daemon.log_lines() if each.get("event") == "skipped character queue"]
    assert skipped["reason"] == "synced less than a minute ago"
    assert skipped["character_id"] == pilot
    assert daemon.ctl("status")["queue"]["messages"] == 0
    plain = daemon.command("ctl", "queue")
    assert plain.returncode == 0
    assert "[SKIPPED: synced less than a minute ago]" in plain.stdout
    assert "--force" in plain.stderr
    assert eve.counters()["lists"][str(pilot)] == asked


def test_a_manual_full_sync_reads_every_page_again(stage: Stage) -> None:
    """Scenario 4: `queue --force --full` behaves like the first sync, and fetches nothing twice."""
    eve = stage.eve(pilots=2, history=45, page_size=15, sharing=0, cache=2)
    daemon = stage.daemon(eve)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve, *pilots)
    daemon.wait_stored(90)
    wait_for(lambda: all(each["complete"] for each in daemon.ctl("verify")["characters"]), 10)
    eve.reset_counters()

    said = daemon.command("ctl", "queue", "--force", "--full")
    assert said.returncode == 0
    for each in eve.pilots():
        assert f"Queued: {each['name']} (ID: {each['character_id']}) [FULL SYNC]" in said.stdout
    assert "Queued 2 of 2 users." in said.stdout
    seen = eve.wait_for("counters", lambda seen: sum(seen["lists"].values()) >= 6)
    assert seen["requests"]["esi.character_killmails"] == {"200": 6}, "every page of both, and whole"
    assert seen["detail_requests"] == 0
    modes = lambda: [  # noqa: E731
        each["mode"] for each in daemon.log_lines() if each.get("event") == "synced list"
    ]
    wait_for(lambda: modes().count("FULL_SYNC") == 2, 10, "both full walks end")
    assert_whole(daemon, eve, pilots)


def test_queue_names_what_each_user_gets(stage: Stage) -> None:
    """Incremental, first sync, full sync and skipped stand side by side, in the words of the old console."""
    eve = stage.eve(pilots=3, history=5, cache=1, sharing=0)
    daemon = stage.daemon(eve)
    first, second, third = pilots_of(eve)
    stage.log_in(daemon, eve, first, second)
    daemon.wait_stored(10)
    wait_for(lambda: all(each["lastKillmailSyncAt"] for each in daemon.ctl("users")["users"]), 10)
    daemon.ctl("pause")
    stage.log_in(daemon, eve, third)
    daemon.ctl("pause", "--user", str(second))
    lines = daemon.command("ctl", "queue", "--force").stdout.splitlines()
    by_pilot = {pilot: next(line for line in lines if f"(ID: {pilot})" in line) for pilot in (first, third)}
    assert "[INCREMENTAL]" in by_pilot[first]
    assert "[FIRST SYNC]" in by_pilot[third]
    (paused,) = [line for line in lines if f"(ID: {second})" in line]
    assert f"[SKIPPED: paused: killsyncd ctl --config {daemon.config} resume --user {second}]" in paused
    assert daemon.ctl("status")["queue"]["byPriority"] == {"8": 1, "5": 1}
    quiet = daemon.command("ctl", "queue", "--force", "--quiet", "--user", str(first))
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    unknown = daemon.command("ctl", "queue", "--user", "Nobody At All")
    assert unknown.returncode == 1
    assert "there is no user 'Nobody At All'" in unknown.stderr
    daemon.ctl("resume")
    daemon.ctl("resume", "--user", str(second))
    wait_home(daemon, eve, [first, second, third])
