"""A database of the release before sources, with pilots and killmails: the daemon of today opens it."""

from __future__ import annotations

import pytest

from tests.support import Stage, pilots_of, wait_for
from tests.support.mails import assert_whole
from tests.support.older_database import make_older

BEFORE_SOURCES = "refusals"
"""The last migration of that release."""

STILL = {"producer": {"interval": "2s", "min_age": "10m", "active_for": "0s"}}
"""Looks every two seconds, and asks for nothing that was read a moment ago."""


@pytest.mark.slow(40)
def test_a_database_of_before_gains_sources_and_nothing_is_walked_twice(stage: Stage) -> None:
    """Lists have three pages. What was known of them counts on: nobody is asked for before it is time, then
    only for the first page, and no killmail a second time. Then corporations are switched on."""
    eve = stage.eve(pilots=3, history=25, page_size=10, cache=15, sharing=0, pilots_per_corporation=3)
    daemon = stage.daemon(eve, STILL)
    pilots = pilots_of(eve)
    stage.log_in(daemon, eve)
    daemon.wait_stored(len(eve.mails()))
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM wants") == 0, 20)
    lists = dict(eve.counters()["requests"]["esi.character_killmails"])
    assert lists["200"] >= 3 * len(pilots)
    before = daemon.ctl("verify")["characters"]
    synced = {each["characterId"]: each["lastKillmailSyncAt"] for each in daemon.ctl("users")["users"]}
    assert daemon.stop() == 0
    make_older(daemon.database, BEFORE_SOURCES)
    assert daemon.value("SELECT COUNT(*) FROM pragma_table_info('sources') WHERE name = 'last_sync_at'") == 0

    daemon.start()
    wait_for(lambda: daemon.graphql("{status {lastProducerRun}}")["status"]["lastProducerRun"], 30)
    shown = daemon.ctl("sources")["sources"]
    assert [(each["kind"], each["state"]) for each in shown] == [("character", "ok")] * len(pilots)
    assert {int(each["subject"]["id"]): each["lastSyncAt"] for each in shown} == synced
    assert [each["completeFrom"] for each in daemon.ctl("verify")["characters"]] == [
        each["completeFrom"] for each in before
    ]
    assert eve.counters()["requests"]["esi.character_killmails"] == lists, "nobody is asked for again"

    queued = daemon.ctl("queue", "--force")["queued"]
    assert {each["mode"] for each in queued} == {"INCREMENTAL"}
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM wants") == 0, 60)
    after = eve.counters()["requests"]["esi.character_killmails"]
    assert after == {**lists, "304": len(pilots)}, "the first page, unchanged, and no other"
    assert set(eve.counters()["details"].values()) == {1}

    assert daemon.stop() == 0
    daemon.config.write_text(daemon.config.read_text() + "[corporations]\nenabled = true\n")
    daemon.start()
    stage.log_in(daemon, eve, pilots[0])
    corporation = eve.pilots()[0]["corporation_id"]
    wait_for(lambda: eve.counters()["requests"].get("esi.corporation_killmails"), 30)
    (source,) = daemon.ctl("sources", "--kind", "corporation")["sources"]
    assert int(source["subject"]["id"]) == corporation
    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM wants") == 0, 30)
    assert set(eve.counters()["details"].values()) == {1}, "what the members had is not fetched for it"
    assert_whole(daemon, eve, pilots)
