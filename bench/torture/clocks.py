"""This machine's clock is set by an hour and by a day, both ways, under a daemon (libfaketime)."""

from __future__ import annotations

import time
from pathlib import Path

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, all_home, count_logged_out, count_mails, settle
from tests.support import QUICK, pilots_of
from tests.support.daemon import PATIENCE

JUMPS = (3600, -3600, 86_400, -86_400)
"""Seconds by which the clock is set, one after the other, against where it stands."""

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def clocks(scene: Scene) -> Outcome:
    """New mails, polls and refreshes go on through every jump, and through a restart after it."""
    eve = scene.stage.eve(pilots=3, history=30, cache=LIST_LIFE, token_life=20, latency=0.01, seed=scene.seed)
    pilots = pilots_of(eve)
    dial = scene.folder / "clock"
    dial.write_text("+0")
    daemon = scene.stage.daemon(
        eve,
        {**QUICK, "refresher": {"margin": "5s"}},
        environ={
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(dial),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        },
    )
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots)
    found, off = Outcome(), 0
    for number in range(scene.times(6, 40)):
        off = scene.rng.choice([0, *JUMPS]) if number >= len(JUMPS) else off + JUMPS[number]
        dial.with_suffix(".new").write_text(f"{off:+d}")
        dial.with_suffix(".new").replace(dial)
        found.tried += 1
        eve.add_mails(1, pilots)
        if number % 3 == 2:
            daemon.stop()  # not killed: a list whose answer is cut off is rightly left alone for minutes
            daemon.start()
        found.recovery.append(all_home(daemon, eve, pilots, 60.0))
        time.sleep(scene.rng.uniform(1.0, 6.0))
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    count_logged_out(found, daemon)
    refreshes = sum(eve.counters()["refreshes"].values())
    found.figures = {"refreshes": str(refreshes)}
    if max(found.recovery) >= 60.0 * PATIENCE:
        found.wrong.append("mails of a minute ago were not there")
    return found


CLOCKS: dict[str, Row] = {"clocks": clocks} if LIBRARIES else {}
