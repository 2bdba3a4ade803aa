"""PostgreSQL and RabbitMQ under three daemons: cut off, silent, restarted, killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bench.torture.rig import LIST_LIFE, Outcome, Row, Scene, count_breaches
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, pilots_of, wait_for
from tests.support.mails import listed_ids
from tests.support.own_servers import PrivatePostgres, PrivateRabbit, missing
from tests.support.postgres_look import value
from tests.support.proxy import Proxy
from tests.support.shared_postgres import BackgroundLoop

DAEMONS = 3
STALL = (2.0, 20.0)
"""Seconds for which a server hears and says nothing, at least and at most."""

LONGEST_HEAL = 120.0


@dataclass
class Servers:
    """Both of them, each behind a network that fails on command."""

    loop: BackgroundLoop
    postgres: PrivatePostgres
    rabbit: PrivateRabbit
    database: Proxy
    broker: Proxy

    def settings(self, folder: Path) -> dict[str, dict[str, object]]:
        """What the daemons share."""
        password = folder / "guest"
        password.write_text("guest")
        password.chmod(0o600)
        return {
            "database": {"url": _through(self.postgres.url, self.database)},
            "queue": {"url": _through(self.rabbit.url, self.broker), "password_file": str(password)},
            "security": {"key_file": str(folder / "shared.key")},
            "producer": {"interval": "2s", "min_age": "1s"},
        }


def _through(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}"))


@contextmanager
def both() -> Iterator[Servers]:
    """Servers of the row's own, in folders that go with them."""
    with BackgroundLoop() as loop, PrivatePostgres() as postgres, PrivateRabbit() as rabbit:
        proxies = [Proxy("127.0.0.1", each.port) for each in (postgres, rabbit)]
        for each in proxies:
            loop.run(each.up())
        try:
            yield Servers(loop, postgres, rabbit, *proxies)
        finally:
            for each in proxies:
                each.thaw()
                loop.run(each.close())


def servers(scene: Scene) -> Outcome:
    """Each fault of each server in a shuffled order; after each, a new mail must come home."""
    with both() as of:
        eve = scene.stage.eve(pilots=5, history=60, sharing=0, cache=LIST_LIFE, no_limits=True, latency=0.01)
        pilots = pilots_of(eve)
        settings = of.settings(scene.folder)
        daemons = [
            scene.stage.daemon(eve, settings, name=f"daemon{number}", start=False)
            for number in range(DAEMONS)
        ]
        for each in daemons:  # the first makes the key
            each.start(timeout=120.0)
        scene.stage.log_in(daemons[0], eve)
        found = Outcome()
        faults = [each for each in _faults(of, scene) for _ in range(scene.times(1, 12))]
        scene.rng.shuffle(faults)
        for name, fault in faults:
            eve.add_mails(4, pilots)  # so that much is under way
            time.sleep(scene.rng.uniform(0.0, 1.0))
            fault()
            found.tried += 1
            _tend(daemons)
            healed = _heal(of, eve, pilots)
            found.recovery.append(healed)
            if healed >= LONGEST_HEAL:
                found.wrong.append(f"not healed {LONGEST_HEAL:.0f} s after {name}")
        _count(found, of, eve, pilots)
        return found


def _faults(of: Servers, scene: Scene) -> list[tuple[str, Callable[[], None]]]:
    def cut(proxy: Proxy) -> None:
        of.loop.run(proxy.cut())

    def stall(proxy: Proxy) -> None:
        proxy.freeze()
        time.sleep(scene.rng.uniform(STALL[0], STALL[1] if scene.long else 3 * STALL[0]))
        proxy.thaw()

    return [
        ("PostgreSQL cut", lambda: cut(of.database)),
        ("PostgreSQL silent", lambda: stall(of.database)),
        ("PostgreSQL restarted", lambda: of.postgres.restart(signal.SIGINT)),
        ("PostgreSQL killed", lambda: of.postgres.restart(signal.SIGKILL)),
        ("RabbitMQ cut", lambda: cut(of.broker)),
        ("RabbitMQ silent", lambda: stall(of.broker)),
        ("RabbitMQ killed", lambda: of.rabbit.restart(signal.SIGKILL)),
    ]


def _tend(daemons: list[DaemonProcess]) -> None:
    """What a service manager does: one that has ended is started again."""
    for each in daemons:
        if each.process is None or each.process.poll() is not None:
            each.start(wait=False)


def _heal(of: Servers, eve: SimulatorProcess, pilots: list[int]) -> float:
    """Seconds from the fault's end until a mail that is made now, and all before it, are home."""
    eve.add_mails(1, pilots[:1])
    began = time.monotonic()

    def home() -> bool:
        stored = value(of.postgres.url, "SELECT count(*) FROM killmails")
        return bool(stored >= len(listed_ids(eve, pilots)))

    try:
        wait_for(home, LONGEST_HEAL, every=0.2)
    except TimeoutError:
        pass  # told by the row
    return time.monotonic() - began


def _count(found: Outcome, of: Servers, eve: SimulatorProcess, pilots: list[int]) -> None:
    stored = set(value(of.postgres.url, "SELECT array_agg(killmail_id) FROM killmails"))
    found.lost += len(listed_ids(eve, pilots) - stored)
    found.doubled += len(stored) - int(
        value(of.postgres.url, "SELECT count(DISTINCT feed_position) FROM killmails")
    )
    for part in ("victims", "killmail_documents"):
        there = int(value(of.postgres.url, f"SELECT count(*) FROM {part}"))
        if there != len(stored):
            found.wrong.append(f"{there} rows of {part} for {len(stored)} mails")
    asked = eve.counters()["detail_requests"]
    found.figures = {"mails": str(len(stored)), "details asked": str(asked)}
    count_breaches(found, eve)


SERVERS: dict[str, Row] = {} if missing() else {"servers": servers}
