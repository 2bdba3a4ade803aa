"""What the daemon tells the service manager (sd_notify), over a socket of the test's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from killsyncd.daemon.systemd import Notifier
from tests.support import DaemonProcess, wait_for
from tests.support.stage import QUICK, Stage, pilots_of


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}

    def wait(self, holds: Callable[[str], object], timeout: float = 30.0) -> str:
        """Read on until a message holds."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            message = self._socket.recv(4096).decode()
            if holds(message):
                return message

    def feeds(self) -> bool:
        """Whether the watchdog is fed within some of its periods. What came before is left aside."""
        self._socket.settimeout(0.0)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass
        try:
            self.wait(lambda said: said == "WATCHDOG=1", timeout=3.0)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path / "notify.sock")) as manager:
        yield manager


def test_ready_reloading_stopping(stage: Stage, manager: Manager) -> None:
    eve = stage.eve(pilots=1, history=3)
    daemon = stage.daemon(eve, environ=manager.environ)
    manager.wait(lambda said: said == "READY=1")
    manager.wait(lambda said: said.startswith("STATUS=") and "killmails stored" in said)
    os.kill(daemon.pid, signal.SIGHUP)
    said = manager.wait(lambda said: said.startswith("RELOADING=1"))
    (usec,) = re.findall(r"(?m)^MONOTONIC_USEC=(\d+)$", said)
    assert abs(int(usec) / 1e6 - time.monotonic()) < 60.0
    manager.wait(lambda said: said == "READY=1")
    assert daemon.stop() == 0
    manager.wait(lambda said: said.startswith("STOPPING=1"))


def test_a_start_that_takes_long_says_so_and_is_given_time(manager: Manager) -> None:
    Notifier(manager.environ["NOTIFY_SOCKET"]).starting("bringing the schema up to date: 11 of 17")
    usec, status = manager.wait(lambda said: True).splitlines()
    assert int(usec.removeprefix("EXTEND_TIMEOUT_USEC=")) >= 6e7
    assert status == "STATUS=bringing the schema up to date: 11 of 17"


def test_a_manager_that_does_not_read_holds_nothing_up(stage: Stage, manager: Manager) -> None:
    """Its queue holds some ten messages; the event loop must not wait for room in it."""
    eve = stage.eve(pilots=1, history=3, cache=2)
    environ = {**manager.environ, "WATCHDOG_USEC": "100000"}
    daemon = stage.daemon(eve, QUICK, environ=environ)
    for _ in range(20):  # each takes longer than the watchdog's pace
        assert daemon.command("ctl", "users", timeout=20.0).returncode == 0
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for(lambda: _logged(daemon, "configuration reloaded"), 20, daemon.tail)
    manager.wait(lambda said: said.startswith("RELOADING=1"))  # kept until there was room
    manager.wait(lambda said: said == "READY=1")


@pytest.mark.slow(45)
def test_the_watchdog_is_fed_by_progress(stage: Stage, manager: Manager) -> None:
    """ESI may hang for as long as it likes; a database that somebody keeps locked is no progress."""
    eve = stage.eve(pilots=1, history=10, cache=2)
    daemon = stage.daemon(eve, QUICK, environ=manager.environ)
    stage.log_in(daemon, eve)
    daemon.wait_stored(10)
    eve.script("hang", "esi.*", seconds=60)
    eve.add_mails(1, pilots_of(eve))
    assert manager.feeds()
    with closing(sqlite3.connect(daemon.database, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        wait_for(lambda: _logged(daemon, "no progress; the watchdog is not fed"), 60, daemon.tail)
        assert not manager.feeds()
        wait_for(lambda: _problem(daemon) == "database_failing", 30, daemon.tail)
        assert daemon.get("/readyz")[0] == 503
    wait_for(manager.feeds, 60, daemon.tail)
    wait_for(lambda: _problem(daemon) != "database_failing", 30, daemon.tail)


@pytest.mark.slow
def test_a_database_that_is_removed_can_be_saved(stage: Stage) -> None:
    """Told at once, with what to do; done, nothing is lost."""
    eve = stage.eve(pilots=1, history=10, cache=2)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    daemon.wait_stored(10)
    for name in ("killsyncd.db", "killsyncd.db-wal", "killsyncd.db-shm"):
        (daemon.folder / name).unlink()
    wait_for(lambda: _problem(daemon) == "database_failing", 30, daemon.tail)
    assert daemon.get("/readyz")[0] == 503
    backup = str(daemon.folder / "saved.tar")
    assert daemon.command("backup", "--output", backup).returncode == 0
    assert daemon.stop() == 0
    assert daemon.command("restore", backup).returncode == 0
    assert daemon.stored() == 10


def _problem(daemon: DaemonProcess) -> str:
    problems = daemon.ctl("status")["problems"]
    return str(problems[0]["code"]) if problems else ""


def _logged(daemon: DaemonProcess, event: str) -> bool:
    return any(line.get("event") == event for line in daemon.log_lines())
