"""Wrong configuration, keys, databases, sockets and ports: named, with the remedy, exit 78, nothing lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.support import DaemonProcess, Stage, pilots_of
from tests.support.mails import assert_whole, wait_home

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def daemon(stage: Stage) -> DaemonProcess:
    """One that was never started."""
    return stage.daemon(NOWHERE, start=False)


def refused(daemon: DaemonProcess, *said: str) -> str:
    """It must not start, and say all of this: what, and what to do."""
    done = daemon.command("run", timeout=30)
    assert done.returncode == 78, f"{done.returncode}: {done.stderr}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr, done.stderr
    return done.stderr


def files(daemon: DaemonProcess) -> dict[str, str]:
    """Every file of the daemon's folder, and what is in it. Its log and locks aside."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(daemon.folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".log") and not path.name.endswith("-shm")
    }


def edit(daemon: DaemonProcess, old: str, new: str) -> None:
    """Change the configuration file."""
    text = daemon.config.read_text()
    assert old in text
    daemon.config.write_text(text.replace(old, new))


class TestConfiguration:
    """Every mistake names section, key, value and what is allowed; nothing is created before it holds."""

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("[sso]", "[sso", ["killsyncd.toml", "line 1"]),
            ("contact = ", "contcat = ", ["[esi]", "contcat", "contact"]),
            ('contact = "tests@killsyncd.invalid"', "", ["[esi]", "contact"]),
            ('contact = "tests@killsyncd.invalid"', 'contact = ""', ["[esi]", "contact"]),
            ("[esi]", '[esi]\ntimeout = "soon"', ["[esi]", "timeout", "soon"]),
            ("[esi]", "[esi]\nrequests_per_seconds = 5", ["requests_per_seconds", "requests_per_second"]),
            ("[log]", "[logs]", ["logs", "log"]),
            ("[log]", "[producer]\ninterval = -1\n[log]", ["[producer]", "interval", "-1"]),
            ("[log]", '[queue]\nconcurrency = "many"\n[log]', ["[queue]", "concurrency", "many"]),
            ("sqlite:///", "mysql:///", ["[database]", "url", "mysql"]),
            ("[log]", '[sso]\nclient_id = "twice"\n[log]', ["killsyncd.toml"]),
        ],
        ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
    )
    def test_a_mistake_is_named(self, daemon: DaemonProcess, old: str, new: str, said: list[str]) -> None:
        edit(daemon, old, new)
        before = sorted(path.name for path in daemon.folder.iterdir())
        refused(daemon, *said)
        checked = daemon.command("check")
        assert checked.returncode == 78
        assert all(words in checked.stdout + checked.stderr for words in said)
        assert sorted(path.name for path in daemon.folder.iterdir()) == before, "nothing is created"

    def test_from_the_environment_too(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE, start=False, environ={"KILLSYNCD_ESI_TIMEOUTS": "5s"})
        refused(daemon, "KILLSYNCD_ESI_TIMEOUTS", "KILLSYNCD_ESI_TIMEOUT")

    def test_a_file_that_is_not_there(self, daemon: DaemonProcess) -> None:
        daemon.config.unlink()
        refused(daemon, str(daemon.config))

    def test_a_password_in_a_file_that_others_can_read(self, stage: Stage) -> None:
        daemon = stage.daemon(
            NOWHERE, {"database": {"url": "postgresql://me:secret@127.0.0.1:9/x"}}, start=False
        )
        daemon.config.chmod(0o644)
        said = refused(daemon, "[database]", "url", "0600")
        assert "secret" not in said


class TestState:
    """Where state cannot be kept."""

    def test_a_file_stands_where_the_folder_should_be(self, stage: Stage) -> None:
        blocked = stage.folder / "state"
        blocked.write_text("in the way")
        daemon = stage.daemon(
            NOWHERE, {"database": {"url": f"sqlite:///{blocked}/killsyncd.db"}}, start=False
        )
        refused(daemon, str(blocked), "[database] url")
        assert blocked.read_text() == "in the way"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_may_not_be_written(self, stage: Stage) -> None:
        closed = stage.folder / "closed"
        closed.mkdir(mode=0o500)
        daemon = stage.daemon(NOWHERE, {"database": {"url": f"sqlite:///{closed}/k.db"}}, start=False)
        refused(daemon, str(closed), "[database] url")

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
    def test_a_folder_that_nobody_may_write(self, stage: Stage) -> None:
        """/proc takes no file of anybody's, not even of root's."""
        daemon = stage.daemon(NOWHERE, {"database": {"url": "sqlite:////proc/killsyncd/k.db"}}, start=False)
        refused(daemon, "/proc/killsyncd", "[database] url")

    def test_a_socket_where_nothing_can_be_made(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE, {"control": {"socket": "/proc/killsyncd.sock"}}, start=False)
        refused(daemon, "/proc/killsyncd.sock", "[control] socket")


class TestKey:
    """The key and the database belong together."""

    def test_a_key_that_others_can_read(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE)
        assert daemon.stop() == 0
        key = daemon.folder / "killsyncd.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        key.chmod(0o644)
        before = files(daemon)
        refused(daemon, str(key), "0600")
        checked = daemon.command("check")
        assert (checked.returncode, "0600" in checked.stdout) == (78, True)
        assert files(daemon) == before
        key.chmod(0o600)
        daemon.start()

    def test_missing_while_the_database_holds_tokens(self, stage: Stage) -> None:
        eve, daemon = _with_a_pilot(stage)
        key = daemon.folder / "killsyncd.key"
        away = stage.folder / "away.key"
        key.rename(away)
        before = files(daemon)
        refused(daemon, str(key), "missing", "put the key back")
        assert not key.exists(), "no new key is made"
        assert files(daemon) == before
        away.rename(key)
        daemon.start()
        assert [each["state"] for each in daemon.ctl("users")["users"]] == ["ok"]
        eve.add_mails(1, pilots_of(eve))
        daemon.ctl("queue", "--force")
        wait_home(daemon, eve, pilots_of(eve))

    def test_another_databases_key(self, stage: Stage) -> None:
        eve, daemon = _with_a_pilot(stage)
        other = stage.daemon(NOWHERE, name="other")
        assert other.stop() == 0
        key = daemon.folder / "killsyncd.key"
        ours = key.read_bytes()
        shutil.copy(other.folder / "killsyncd.key", key)
        before = files(daemon)
        refused(daemon, str(key), "put the right key file back", "nothing was changed")
        assert files(daemon) == before
        key.write_bytes(ours)
        daemon.start()
        assert_whole(daemon, eve, pilots_of(eve))

    def test_a_key_file_with_something_else_in_it(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE)
        assert daemon.stop() == 0
        key = daemon.folder / "killsyncd.key"
        key.write_text("password123\n")
        said = refused(daemon, str(key))
        assert "password123" not in said


class TestDatabase:
    """A database that is not ours, or not of today."""

    def test_from_a_newer_version(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE)
        assert daemon.stop() == 0
        with sqlite3.connect(daemon.database) as rows:
            rows.execute("INSERT INTO schema_migrations VALUES (999, 'later', 'x', 0)")
        rows.close()
        before = files(daemon)
        refused(daemon, "schema 999", "nothing was changed", "newer killsyncd")
        assert daemon.command("check").returncode == 78
        assert files(daemon) == before, "not one byte is changed"

    def test_somebody_elses(self, daemon: DaemonProcess) -> None:
        with sqlite3.connect(daemon.database) as rows:
            rows.execute("CREATE TABLE recipes (name TEXT)")
            rows.execute("INSERT INTO recipes VALUES ('soup')")
        rows.close()
        before = files(daemon)
        refused(daemon, "recipes", "[database] url")
        assert files(daemon) == before

    def test_no_database_at_all(self, daemon: DaemonProcess) -> None:
        daemon.database.write_bytes(b"This is a letter to my aunt.\n" * 100)
        before = files(daemon)
        refused(daemon, str(daemon.database))
        assert files(daemon) == before

    def test_two_daemons_on_one_file(self, stage: Stage) -> None:
        first = stage.daemon(NOWHERE)
        second = stage.daemon(
            NOWHERE,
            {
                "database": {"url": f"sqlite:///{first.database}"},
                "security": {"key_file": str(first.folder / "killsyncd.key")},
            },
            name="second",
            start=False,
        )
        refused(second, str(first.database), "another killsyncd")
        assert first.get("/readyz")[0] == 200
        first.kill()  # which leaves its lock's file, and no lock
        second.start()


class TestStreet:
    """Socket and port."""

    def test_a_socket_that_a_live_daemon_listens_at(self, stage: Stage) -> None:
        first = stage.daemon(NOWHERE)
        path = first.folder / "killsyncd.sock"
        second = stage.daemon(NOWHERE, {"control": {"socket": str(path)}}, name="second", start=False)
        refused(second, str(path), "another killsyncd listens", "talk to it: killsyncd ctl")
        assert first.ctl("status")["version"], "the first one's socket still works"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660

    def test_a_socket_that_a_killed_daemon_left(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE)
        daemon.kill()
        assert (daemon.folder / "killsyncd.sock").exists()
        daemon.start()
        assert daemon.ctl("status")["version"]

    def test_a_file_where_the_socket_should_be(self, daemon: DaemonProcess) -> None:
        path = daemon.folder / "killsyncd.sock"
        path.write_text("a letter")
        refused(daemon, str(path), "[control] socket")
        assert path.read_text() == "a letter"

    def test_a_port_that_is_taken(self, stage: Stage) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            daemon = stage.daemon(NOWHERE, port=port, start=False)
            refused(daemon, str(port), "[api] listen")
        daemon.start()

    def test_other_than_loopback_without_a_token(self, stage: Stage) -> None:
        daemon = stage.daemon(NOWHERE, {"api": {"listen": "0.0.0.0:0"}}, start=False)
        refused(daemon, "[api]", "token_file")


def test_nothing_is_lost_by_all_of_it(stage: Stage) -> None:
    """One database through several refusals in a row: in the end everything is there, and it syncs on."""
    eve, daemon = _with_a_pilot(stage)
    good = daemon.config.read_text()
    for old, new in (("[sso]", "[sso"), ("contact = ", "contcat = ")):
        edit(daemon, old, new)
        refused(daemon)
        daemon.config.write_text(good)
    (daemon.folder / "killsyncd.key").chmod(0o640)
    refused(daemon)
    (daemon.folder / "killsyncd.key").chmod(0o600)
    daemon.start()
    assert_whole(daemon, eve, pilots_of(eve))
    eve.add_mails(2, pilots_of(eve))
    daemon.ctl("queue", "--force")
    wait_home(daemon, eve, pilots_of(eve))


def _with_a_pilot(stage: Stage):
    """A daemon with one pilot, all of whose mails are stored; stopped."""
    eve = stage.eve(pilots=1, history=6, cache=1)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots_of(eve))
    assert daemon.stop() == 0
    return eve, daemon
