"""Static data, prices and values from outside: in the background, whole after any kill, silent where off."""

from __future__ import annotations

import random
import time

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, Stage, pilots_of, wait_for
from tests.support.valued import all_valued, change, check_whole, open_work, values

KILLS = 12


def requests(eve: SimulatorProcess, route: str) -> int:
    found = eve.counters()["requests"]
    return sum(sum(each.values()) for name, each in found.items() if name.startswith(route))


def test_a_mail_is_valued_within_a_moment_and_explained(stage: Stage) -> None:
    eve = stage.eve(pilots=1, history=20, cache=2, no_limits=True)
    daemon = stage.daemon(eve, {**QUICK})
    stage.log_in(daemon, eve)
    daemon.wait_stored(20)
    wait_for(lambda: all_valued(daemon), 20, "not every mail has a value")
    (pilot,) = pilots_of(eve)
    made = eve.add_mails(1, [pilot])[0]["killmail_id"]
    wait_for(lambda: daemon.value("SELECT 1 FROM killmails WHERE killmail_id = ?", made), 60, "not stored")
    wait_for(
        lambda: daemon.value("SELECT 1 FROM killmail_values WHERE killmail_id = ?", made), 10, "not valued"
    )
    told = daemon.ctl("explain", str(made))["value"]
    assert told["method"] in ("ESI_AVERAGE", "LATER")
    assert told["total"] == pytest.approx(told["destroyed"] + told["dropped"])
    assert "ISK by ESI's average prices" in daemon.command("ctl", "explain", str(made)).stdout
    mail = daemon.graphql(
        "query ($id: ID!) { killmail(id: $id) { value { total ship unpriced { id } method }"
        " items { value items { value } } } }",
        id=str(made),
    )["killmail"]
    stacks = [each for item in mail["items"] for each in (item, *item["items"])]
    items = sum(each["value"] or 0.0 for each in stacks)
    assert mail["value"]["total"] == pytest.approx(mail["value"]["ship"] + items) == told["total"]
    assert requests(eve, "files.market_history") == 0, "a third party is asked for nothing unless it is on"
    assert daemon.value("SELECT MAX(build) FROM static_builds") is not None
    metrics = daemon.get("/metrics")[1]
    assert 'killsyncd_background_age_seconds{task="static_data"}' in metrics
    assert "killsyncd_valued_position" in metrics
    assert 'killsyncd_last_day_isk{side="kills"}' in metrics


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_at_random_moments_leave_nothing_half(stage: Stage) -> None:
    """Of a new build, of a day of prices, of the valuing: each is there whole, or is done again."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    eve = stage.eve(pilots=2, history=10, cache=3, seed=seed, no_limits=True)
    overrides = stage.folder / "prices.csv"
    overrides.write_text("587,1\n")
    daemon = stage.daemon(eve, {"prices": {"history": True, "overrides_file": str(overrides)}})
    stage.log_in(daemon, eve)
    for kill in range(KILLS):
        time.sleep(rng.uniform(0.0, 1.2))
        daemon.kill()
        check_whole(daemon)
        overrides.write_text(f"587,{kill + 2}\n34,{kill}\n")
        eve.publish_static_data(types=[(990_000 + kill, 25, f"Prototype {kill}")])
        change(daemon, "UPDATE background_tasks SET next_at = 0")
        if kill % 3 == 2:
            eve.add_mails(2, pilots_of(eve))
        daemon.start(wait=rng.random() < 0.8)
    daemon.wait_ready()
    daemon.kill()
    change(daemon, "UPDATE background_tasks SET next_at = 0")  # as if an hour had passed
    daemon.start()
    last = 990_000 + KILLS - 1
    wait_for(
        lambda: daemon.value("SELECT 1 FROM types WHERE type_id = ?", last), 60, "the last build is away"
    )
    wait_for(lambda: all_valued(daemon), 60, lambda: f"not every mail has a value:\n{daemon.tail()}")
    wait_for(lambda: not open_work(daemon), 60, lambda: f"work is left: {open_work(daemon)}")
    check_whole(daemon)
    assert daemon.value("SELECT COUNT(*) FROM killmail_values WHERE method = 'MARKET_HISTORY'") > 0
    # Every value is what valuing it from nothing gives.
    before = values(daemon)
    assert daemon.stop() == 0
    change(
        daemon,
        "DELETE FROM killmail_values",
        "UPDATE background_tasks SET position = 0 WHERE name = 'values'",
    )
    daemon.start()
    wait_for(lambda: all_valued(daemon), 60, "not every mail has a value")
    assert values(daemon) == before


def test_with_the_other_sides_away_nobody_notices_but_status_says_it(stage: Stage) -> None:
    eve = stage.eve(pilots=1, history=20, cache=2, no_limits=True)
    eve.script("status", "files.*", status=503)
    eve.script("status", "esi.prices", status=500)
    daemon = stage.daemon(eve, {**QUICK})
    stage.log_in(daemon, eve)
    daemon.wait_stored(20)
    for attempt in range(3):
        wait_for(
            lambda attempt=attempt: daemon.value(
                "SELECT COUNT(*) = 2 FROM background_tasks WHERE failures > ? AND holder IS NULL"
                " AND name IN ('static_data', 'prices')",
                attempt,
            ),
            30,
            lambda: f"no failures:\n{daemon.tail()}",
        )
        if attempt < 2:
            assert daemon.stop() == 0
            change(daemon, "UPDATE background_tasks SET next_at = 0")  # as time passes
            daemon.start()
    status = daemon.ctl("status")
    assert status["syncing"] is True
    told = {each["code"]: each for each in status["problems"]}
    assert "answered 503" in told["static_data_old"]["reason"]
    assert "never came" in told["prices_old"]["reason"]
    assert told["prices_old"]["remedy"]
    eve.add_mails(1, pilots_of(eve))
    daemon.wait_stored(21)
    assert daemon.value("SELECT COUNT(*) FROM killmail_values") == 0, "nothing is known, so nothing is said"
    eve.clear_faults()
    assert daemon.stop() == 0
    change(daemon, "UPDATE background_tasks SET next_at = 0")
    daemon.start()
    wait_for(lambda: all_valued(daemon), 30, lambda: f"not valued:\n{daemon.tail()}")
    codes = {each["code"] for each in daemon.ctl("status")["problems"]}
    assert not codes & {"static_data_old", "prices_old"}
