"""An SSO that fails in every way but for good: nobody is logged out by it."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, all_home, count_logged_out, count_mails, settle
from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, pilots_of
from tests.support.stopped_daemon import let_waiting_pass

TOKEN_LIFE = 6
"""Seconds: what takes hours there takes as many lives of a token here."""

GRACE = 600
"""Seconds for which a refresh token that was replaced is still good: without that, nobody could keep a login
whose successor was in an answer that got lost."""

Trouble = Callable[[Scene, SimulatorProcess], None]


def _away(scene: Scene, eve: SimulatorProcess) -> None:
    """Down for several lives of an access token."""
    eve.downtime(sso=True, status=scene.rng.choice((502, 503, 504)))
    time.sleep(scene.times(2, 10) * TOKEN_LIFE)


def _lost_answers(scene: Scene, eve: SimulatorProcess) -> None:
    """The refresh token is replaced, and its successor is in an answer that never comes."""
    kind = scene.rng.choice(("reset", "truncate", "hang"))
    eve.script(kind, "sso.token", processed=True, probability=0.5, seconds=3.0)


def _passing_refusal(scene: Scene, eve: SimulatorProcess) -> None:
    """`invalid_grant`, once to each pilot."""
    for pilot in pilots_of(eve):
        eve.script("oauth", "sso.token", body="invalid_grant", character=pilot, count=1)


def _passing_client(scene: Scene, eve: SimulatorProcess) -> None:
    """`invalid_client` to everybody: the application is not known for a moment."""
    eve.script("oauth", "sso.token", body="invalid_client")


def _garbage(scene: Scene, eve: SimulatorProcess) -> None:
    """An answer that is none."""
    eve.script(scene.rng.choice(("html", "malformed")), "sso.token", probability=0.6)


def _slow_keys(scene: Scene, eve: SimulatorProcess) -> None:
    """The key set comes late or not at all, after the key has changed."""
    eve.rotate_keys(keep_old=scene.rng.random() < 0.5)
    eve.script("latency", "sso.jwks", seconds=4.0)
    if scene.rng.random() < 0.5:
        eve.script("status", "sso.jwks", status=500)


def _new_keys(scene: Scene, eve: SimulatorProcess) -> None:
    """Keys change twice within a token's life."""
    eve.rotate_keys(keep_old=False)
    time.sleep(2.0)
    eve.rotate_keys(keep_old=False)


TROUBLES: dict[str, Trouble] = {
    "away": _away,
    "answers lost": _lost_answers,
    "invalid_grant once": _passing_refusal,
    "invalid_client": _passing_client,
    "garbage": _garbage,
    "slow keys": _slow_keys,
    "new keys": _new_keys,
}


def sso(scene: Scene) -> Outcome:
    """Each trouble while tokens have to be renewed, with a restart now and then in the middle of it."""
    eve = scene.stage.eve(
        pilots=4,
        history=3,
        cache=LIST_LIFE,
        token_life=TOKEN_LIFE,
        rotation_grace=GRACE,
        latency=0.02,
        seed=scene.seed,
    )
    pilots = pilots_of(eve)
    daemon = scene.stage.daemon(
        eve, {**QUICK, "refresher": {"margin": "2s"}, "esi": {"timeout": "5s", "requests_per_second": 200}}
    )
    scene.stage.log_in(daemon, eve)
    all_home(daemon, eve, pilots)
    found = Outcome()
    names = list(TROUBLES) * scene.times(1, 6)
    scene.rng.shuffle(names)
    for name in names:
        TROUBLES[name](scene, eve)
        time.sleep(scene.times(8, 30))
        if scene.rng.random() < 0.3:
            daemon.kill()
            daemon.start()
        found.tried += 1
        eve.clear_faults()
        eve.downtime(False)
        eve.add_mails(1, pilots)
        found.recovery.append(_back(daemon, eve, pilots))
        before = len(found.wrong)
        count_logged_out(found, daemon)
        found.wrong[before:] = [f"after {name}: {each}" for each in found.wrong[before:]]
    settle(daemon, eve, pilots)
    count_mails(found, daemon, eve, pilots)
    found.figures["logins lost"] = str(len(found.wrong))
    return found


def _back(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> float:
    """Seconds until everybody's lists are read again. Who was refused once is asked about after a minute,
    which passes at once."""
    began = time.monotonic()
    all_home(daemon, eve, pilots, 10.0)
    refused = "SELECT COUNT(*) FROM grants WHERE refused_since IS NOT NULL OR failures > 0"
    for _ in range(3):
        if not daemon.value(refused):
            break
        daemon.stop()
        let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        daemon.start()
        all_home(daemon, eve, pilots, 10.0)
    return time.monotonic() - began


SSO: dict[str, Row] = {"sso": sso}
