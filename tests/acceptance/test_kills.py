"""SIGKILL at any moment of a sync: nothing is lost, nothing comes twice, hardly anything is asked twice."""

from __future__ import annotations

import random
import time

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, Stage, pilots_of, wait_for
from tests.support.mails import assert_whole, half_done, listed_ids, stored_ids
from tests.support.stopped_daemon import let_waiting_pass

DAEMONS, KILLS = 4, 13
"""Of each of the daemons, so that they can run at once: fifty and two more."""

IN_FLIGHT = 20
LIST_LIFE = 3.0


@pytest.mark.slow(35)
@pytest.mark.timeout(480)
@pytest.mark.parametrize("part", range(DAEMONS))
def test_fifty_kills_at_random_moments(stage: Stage, part: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it when this fails
    rng = random.Random(seed)
    eve = stage.eve(
        pilots=5, history=100, page_size=25, cache=LIST_LIFE, no_limits=True, latency=0.015, seed=seed
    )
    pilots = pilots_of(eve)
    daemon = stage.daemon(
        eve,
        {
            "esi": {"requests_per_second": 60, "max_connections": IN_FLIGHT},
            "producer": {"interval": "2s", "min_age": "1s"},
        },
        name=f"daemon-{seed}",
    )
    stage.log_in(daemon, eve)
    for kill in range(KILLS):
        # Soon after the start, where much happens, or anywhere in what it does then.
        time.sleep(rng.uniform(0.0, 0.15 if rng.random() < 0.5 else 1.0))
        daemon.kill()
        check_what_a_kill_leaves(daemon, f"seed {seed}, kill {kill}")
        if kill % 5 == 4:
            eve.add_mails(2, pilots)
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        elif kill == KILLS - 1:
            time.sleep(LIST_LIFE + 1.0)  # of what was asked last, too
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        # Some kills hit the start itself: not every one waits until it is ready.
        daemon.start(wait=rng.random() < 0.8)
    daemon.wait_ready()
    settle(daemon, eve, pilots)
    assert_whole(daemon, eve, pilots)
    mails = len(listed_ids(eve, pilots))
    seen = eve.counters()
    assert seen["detail_requests"] <= mails + KILLS * IN_FLIGHT, f"seed {seed}"
    assert all(each["state"] == "ok" for each in daemon.ctl("users")["users"])


def settle(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> None:
    """Everything home."""
    for _ in range(5):
        try:
            wait_for(lambda: listed_ids(eve, pilots) == stored_ids(daemon), 8, every=0.2)
        except TimeoutError:
            daemon.stop()
            let_waiting_pass(daemon, longest_cache=LIST_LIFE)
            daemon.start()
        else:
            return
    missing = listed_ids(eve, pilots) - stored_ids(daemon)
    raise AssertionError(f"{len(missing)} mails are missing:\n{daemon.tail()}")


def check_what_a_kill_leaves(daemon: DaemonProcess, where: str) -> None:
    """Every mail that is there is there whole, every mail that was listed is stored or wanted."""
    if not daemon.database.exists():
        return
    with daemon.rows() as rows:
        assert half_done(rows) == [], where


@pytest.mark.slow(65)
@pytest.mark.timeout(600)
def test_fifteen_kills_leave_no_more_booked_than_esi_counts(stage: Stage) -> None:
    """What a dead daemon had reserved goes by ESI's count as soon as its requests have certainly ended."""
    eve = stage.eve(pilots=1, history=400, sharing=0, latency=0.02, cache=2)
    settings = {**QUICK, "esi": {"timeout": "2s", "requests_per_second": 40}}
    daemon = stage.daemon(eve, settings)
    stage.log_in(daemon, eve)
    for _ in range(15):
        before = daemon.stored()
        wait_for(lambda: daemon.stored() > before or daemon.stored() == 400, 30, daemon.tail)  # noqa: B023
        daemon.kill()
        daemon.start(timeout=60)
    daemon.wait_stored(400, timeout=120)

    def settled() -> bool:
        eve.add_mails(
            1
        )  # the answer to a request after the last of those that died has ended has ESI's count
        return _booked(daemon) <= int(eve.counters()["tokens_spent"]["killmail"]) + 60

    wait_for(settled, 90, lambda: f"{_booked(daemon)} booked, {eve.counters()['tokens_spent']}", every=3.0)
    assert _booked(daemon) >= int(eve.counters()["tokens_spent"]["killmail"]), "never below what ESI counts"


def _booked(daemon: DaemonProcess) -> int:
    return int(daemon.value("SELECT COALESCE(SUM(tokens), 0) FROM spends WHERE grp = 'killmail'"))
