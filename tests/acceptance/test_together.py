"""Three daemons on one PostgreSQL with the embedded queue, over a network that breaks all the time.

Servers that fall themselves are in test_several_daemons.py; here they live on, and what was under way,
a COMMIT among it, is cut off in the middle.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import listed_ids
from tests.support.shared_postgres import SharedPostgres, shared_house

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

IN_FLIGHT = 10


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SharedPostgres]:
    with shared_house(tmp_path) as found:
        yield found


def three(stage: Stage, house: SharedPostgres, eve: SimulatorProcess) -> list[DaemonProcess]:
    """Three daemons with one key; the first makes it."""
    settings = house.settings(
        esi={"requests_per_second": 100, "max_connections": IN_FLIGHT},
        producer={"interval": "2s", "min_age": "1s"},
    )
    daemons = [stage.daemon(eve, settings, name=f"daemon{n}", start=n == 0, environ={}) for n in range(3)]
    for each in daemons[1:]:
        each.start()
    return daemons


def stored(house: SharedPostgres) -> set[int]:
    return {int(row[0]) for row in house.rows("SELECT killmail_id FROM killmails")}


def assert_whole(house: SharedPostgres, eve: SimulatorProcess, pilots: list[int]) -> None:
    assert stored(house) == listed_ids(eve, pilots)
    positions = [row[0] for row in house.rows("SELECT feed_position FROM killmails ORDER BY 1")]
    assert positions == list(range(1, len(positions) + 1)), "the feed has a gap or a double"
    assert house.value("SELECT position FROM feed") == len(positions)
    for table in ("killmail_documents", "victims"):
        assert house.value(f"SELECT COUNT(*) FROM {table}") == len(positions)
    assert house.value("SELECT COUNT(*) FROM refs") == 0
    counted = (
        "SELECT COUNT(*) FROM killmails k WHERE k.attacker_count <> "
        "(SELECT COUNT(*) FROM attackers a WHERE a.killmail_id = k.killmail_id)"
    )
    assert house.value(counted) == 0


def wait_whole(
    house: SharedPostgres, eve: SimulatorProcess, pilots: list[int], daemons: list[DaemonProcess]
) -> None:
    def whole() -> bool:
        return listed_ids(eve, pilots) == stored(house)

    def why() -> str:
        missing = len(listed_ids(eve, pilots) - stored(house))
        return f"{missing} mails are missing\n" + "\n\n".join(each.tail(15) for each in daemons)

    wait_for(whole, 120, why, every=0.5)


@pytest.mark.timeout(400)
def test_connections_break_all_the_time(house: SharedPostgres, stage: Stage) -> None:
    """The database is cut off 30 times, daemons are killed at random, 3,000 mails arrive."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it when this fails
    rng = random.Random(seed)
    eve = stage.eve(pilots=10, history=300, sharing=0.0, page_size=250, cache=3, no_limits=True, latency=0.02)
    pilots = pilots_of(eve)
    daemons = three(stage, house, eve)
    stage.log_in(daemons[0], eve)
    kills = 0
    for _ in range(30):
        if rng.random() < 0.5:
            house.cut()
        else:
            house.down()
            time.sleep(rng.uniform(0.1, 2.0))
            house.up()
        time.sleep(rng.uniform(0.0, 1.5))
        tend(daemons)
        if rng.random() < 0.4:
            victim = rng.choice(daemons)
            victim.kill()
            kills += 1
            time.sleep(rng.uniform(0.0, 0.5))
            victim.start(wait=False)
    settle(stage, house, eve, pilots, daemons)
    assert_whole(house, eve, pilots)
    seen = eve.counters()
    mails = len(listed_ids(eve, pilots))
    assert mails == 3000
    # A kill loses what is in flight, and what has arrived and is not committed yet.
    assert seen["detail_requests"] <= mails + kills * 4 * IN_FLIGHT, f"seed {seed}, {kills} kills"


def tend(daemons: list[DaemonProcess]) -> None:
    """What a service manager does: one that found no database at its start is started again."""
    for each in daemons:
        if each.process is None or each.process.poll() not in (None, 0):
            assert each.process is None or each.process.returncode == 1, each.tail()
            each.start(wait=False)


def settle(
    stage: Stage,
    house: SharedPostgres,
    eve: SimulatorProcess,
    pilots: list[int],
    daemons: list[DaemonProcess],
) -> None:
    """Everything home. Lists asked for without an answer wait for ESI's cache: let that time pass."""
    for _ in range(4):
        tend(daemons)
        for each in daemons:
            each.wait_ready(60)
        try:
            wait_for(lambda: listed_ids(eve, pilots) == stored(house), 60, every=0.5)
        except TimeoutError:
            for each in daemons:
                each.stop()
            eve.set_time(advance=310.0)
            for each in daemons:
                each.start()
            daemons[0].ctl("queue", "--force")
        else:
            return
    wait_whole(house, eve, pilots, daemons)
