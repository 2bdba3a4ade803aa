"""The executable, in processes of its own: words, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from killsyncd import __version__
from killsyncd.auth.encryption import Vault
from killsyncd.auth.login import LoggedIn, LoginStatus
from killsyncd.auth.login_state import LoginState
from killsyncd.cli import check_start
from killsyncd.cli.command import out_json
from killsyncd.cli.ctl import VERBS
from killsyncd.cli.main import COMMANDS
from killsyncd.config import from_mapping, load
from killsyncd.core.clock import SystemClock
from killsyncd.daemon.startup import open_store_and_key
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.control_world import ControlWorld, control_world, environment, execute, logged_in
from tests.support.storage_world import document

MADE_UP = 1_795_000_000.0


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


def configured(folder: Path, **sections: dict[str, Any]) -> Path:
    """A configuration whose every file lies in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    values: dict[str, dict[str, Any]] = {
        "sso": {"client_id": "abc"},
        "esi": {"contact": "tests@killsyncd.invalid", "base_url": "http://127.0.0.1:9"},
        "database": {"url": f"sqlite:///{folder}/killsyncd.db"},
        "control": {"socket": f"{folder}/killsyncd.sock"},
        "security": {"key_file": f"{folder}/killsyncd.key"},
        "api": {"listen": "127.0.0.1:0"},
    }
    for name, section in sections.items():
        values.setdefault(name, {}).update(section)
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())
        for name, section in values.items()
    )
    path = folder / "killsyncd.toml"
    path.write_text(text)
    return path


async def founded(config: Path) -> None:
    """What `killsyncd run` makes on its first start: database, schema, key."""
    store, _ = await open_store_and_key(load(config, {}), SystemClock())
    await store.close()


def mails(*ids: int) -> bytes:
    return b"".join(json.dumps(document(each, MADE_UP)).encode() + b"\n" for each in ids)


def value(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(sql).fetchone()
    return row[0] if row else None


# --- the command line ---------------------------------------------------------------------------


async def test_version_and_help(tmp_path: Path) -> None:
    ended = await execute("--version")
    assert (ended.code, ended.out) == (0, f"killsyncd {__version__}\n")
    ended = await execute("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert f"\n    {name}" in ended.out


@pytest.mark.parametrize(
    "name", [each for each in COMMANDS if each not in ("demo", "simulate", "migrate-store")]
)
async def test_every_command_has_help_with_examples(name: str) -> None:
    ended = await execute(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "--config FILE" in ended.out
    assert "examples:" in ended.out


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_has_help_with_examples(verb: str) -> None:
    ended = await execute("ctl", verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "--json" in ended.out
    assert "--socket PATH" in ended.out
    assert "examples:" in ended.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("dance",),
        ("ctl",),
        ("ctl", "dance"),
        ("ctl", "status", "--jsn"),
        ("backup",),
        ("login", "--timeout", "soon"),
        ("ctl", "explain", "x", "--socket", "/nowhere"),
        ("ctl", "retry", "1", "x", "--socket", "/nowhere"),
        ("export", "--since", "yesterday"),
        ("export", "--since", ""),
        ("export", "--format", "csv", "--json"),
        ("simulate", "--port", "70000"),
        ("simulate", "--window", "nan"),
        ("simulate", "--latency", "-1"),
        ("demo", "--port", "0"),
        ("demo", "--port", "70000"),
        ("demo", "--pilots", "-1"),
        ("demo", "--speed", "0"),
        ("demo", "--speed", "inf"),
    ],
)
async def test_words_that_do_not_fit_end_with_2(words: tuple[str, ...]) -> None:
    ended = await execute(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


async def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = await execute("demo", "--port", port)
        assert (ended.code, ended.out) == (1, "")
        assert port in ended.err
        assert "--port N" in ended.err
    (tmp_path / "file").touch()
    ended = await execute("demo", "--port", port, "--state", str(tmp_path / "file"))
    assert (ended.code, ended.out) == (1, "")
    assert "--state" in ended.err
    assert "Traceback" not in ended.err


async def test_a_demo_says_what_its_daemon_refuses(tmp_path: Path) -> None:
    (tmp_path / "killsyncd.db").write_bytes(b"no database" * 1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ended = await execute("demo", "--port", port, "--state", str(tmp_path))
    assert ended.code == 78
    assert "killsyncd.db" in ended.err
    assert "Traceback" not in ended.err


async def test_no_daemon_ends_with_69(tmp_path: Path) -> None:
    ended = await execute("ctl", "status", "--socket", str(tmp_path / "none"), "--json")
    assert (ended.code, ended.out) == (69, "")
    assert "not there" in ended.err
    ended = await execute("ctl", "status", folder=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert ended.code == 69
    assert f"{tmp_path}/killsyncd/killsyncd.sock ($XDG_RUNTIME_DIR)" in ended.err
    ended = await execute("login", "--socket", str(tmp_path / "none"))
    assert ended.code == 69


async def test_config_stands_before_or_after_the_command(served: ControlWorld) -> None:
    path = served.folder / "my.toml"
    path.write_text(f'[control]\nsocket = "{served.socket}"\n')
    for words in (("--config", str(path), "ctl", "users"), ("ctl", "users", "--config", str(path))):
        assert (await execute(*words)).code == 0
    assert (await execute("ctl", "--config", str(path), "--json", "users")).json == {"users": []}
    ended = await execute("ctl", "users", "--config", str(served.folder / "missing.toml"))
    assert ended.code == 78
    assert "no such file" in ended.err
    path.write_text("[control")
    ended = await execute("ctl", "users", "--config", str(path))
    assert ended.code == 78
    assert "is not TOML" in ended.err


async def test_a_configuration_that_does_not_hold_ends_with_78(tmp_path: Path) -> None:
    path = tmp_path / "killsyncd.toml"
    path.write_text("[sso]\nclient = 1\n")
    for command in (("run",), ("export",), ("rotate-key",), ("restore", "x.tar")):
        ended = await execute(*command, "--config", str(path))
        assert ended.code == 78, command
        assert "client_id" in ended.err
        assert "Traceback" not in ended.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["killsyncd.toml"]


# --- ctl ----------------------------------------------------------------------------------------


async def test_ctl_status(served: ControlWorld) -> None:
    ended = await served.ctl("status")
    assert ended.code == 1
    first, second, *rest = ended.out.splitlines()
    assert first == "NOT syncing"
    assert second == "  ! nobody has logged in yet -> killsyncd login"
    assert [line.split()[0] for line in rest] == [
        "queue",
        "pending",
        "budgets",
        "producer",
        "users",
        "daemon",
    ]
    await served.world.pilot(1, "Ada")
    ended = await served.ctl("status")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "syncing")
    assert (await served.ctl("status", "--json")).json["syncing"] is True


async def test_ctl_queue_speaks_like_the_reference(served: ControlWorld) -> None:
    ended = await served.ctl("queue")
    assert (ended.code, ended.out) == (0, "Nobody to queue.\n")
    assert "killsyncd login" in ended.err
    first = await served.world.pilot(1, "Ada")
    second = await served.world.pilot(2, "Bo")
    await served.world.pilot(3, "Cy\x1b[31m")
    await served.world.listed(first, 11)
    await served.world.listed(second, 12)
    await served.world.rows(
        "UPDATE users SET last_killmail_sync_at = '2026-01-01 00:00:00' WHERE character_id = 2"
    )
    ended = await served.ctl("queue")
    assert ended.code == 0
    assert "  Skipped: Ada (ID: 1) [SKIPPED: synced less than a minute ago]" in ended.out
    assert "  Queued: Bo (ID: 2) [INCREMENTAL]" in ended.out
    assert "  Queued: Cy?[31m (ID: 3) [FIRST SYNC]" in ended.out
    assert ended.out.endswith("Queued 2 of 3 users.\n")
    ended = await served.ctl("queue", "--force", "--full", "--user", "ada", "2")
    assert ended.out.count("[FULL SYNC]") == 2
    assert (await served.ctl("queue", "--force", "--quiet")).out == ""
    ended = await served.ctl("queue", "--user", "Adda")
    assert (ended.code, ended.out) == (1, "")
    assert "did you mean 'Ada'?" in ended.err


async def test_ctl_users_pause_and_resume(served: ControlWorld) -> None:
    assert "Nobody" in (await served.ctl("users")).out
    await served.world.pilot(90000001, "Ada")
    assert (await served.ctl("pause", "--user", "Ada")).out == "Ada is paused now.\n"
    ended = await served.ctl("users")
    assert ended.out.splitlines()[0].startswith("CHARACTER")
    assert "paused" in ended.out.splitlines()[1]
    assert ended.out.splitlines()[2].strip() == "killsyncd ctl resume --user 90000001"
    assert (await served.ctl("resume", "--user", "90000001")).out == "Ada is running now.\n"
    assert (await served.ctl("pause", "--producer")).out == "The producer is paused now.\n"
    assert (await served.ctl("status")).code == 1
    assert "The producer is running now." in (await served.ctl("resume")).out


async def test_ctl_group(served: ControlWorld) -> None:
    first, second = "Ada", "Bob"
    await served.world.pilot(1, first)
    await served.world.pilot(2, second)
    assert "no groups" in (await served.ctl("group")).out
    ended = await served.ctl("group", "One player", first, second)
    assert (ended.code, ended.out) == (0, f"One player: {', '.join(sorted((first, second)))}\n")
    ended = await served.ctl("group", "Another", second, "--json")
    assert ended.json == {
        "groups": [{"name": "Another", "pilots": [second]}, {"name": "One player", "pilots": [first]}]
    }
    assert (await served.ctl("group", "Another", "--end")).out == f"One player: {first}\n"
    assert (await served.ctl("group", "Nobody")).code == 2
    assert (await served.ctl("group", "X", "Nobody Of This Name")).code == 1
    assert (await served.ctl("group", "x" * 61, first)).code == 2


async def test_ctl_verify_statistics(served: ControlWorld) -> None:
    """Equal to a recount, until somebody tampers with the tables."""
    world = served.world
    await world.pilot(90000001, "Ada")
    lines = []
    for each in range(1, 6):
        mail = document(each, await world.now())
        if each % 2:
            mail["attackers"][0]["character_id"] = 90000001
        lines.append(json.dumps(mail))
    file = served.folder / "mails.jsonl"
    file.write_text("\n".join(lines))
    assert (await execute("import", str(file), "--socket", str(served.socket))).code == 0
    ended = await served.ctl("verify", "--statistics")
    assert ended.code == 0
    assert ended.out.startswith("Ada (90000001): ")
    assert ended.out.endswith("as the killmails say\n")
    await world.rows("DELETE FROM attackers WHERE killmail_id = 1 AND position = 0")
    ended = await served.ctl("verify", "--statistics", "--user", "Ada", "--json")
    assert ended.code == 1
    (told,) = ended.json["pilots"]
    assert (told["agrees"], told["countedKills"] - told["kills"]) == (False, 1)
    assert "kills" in told["why"]


async def test_ctl_failed_retry_verify_explain_logout(served: ControlWorld) -> None:
    assert (await served.ctl("failed")).out == "No mail is quarantined.\n"
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11, 12)
    await served.world.store_mails(11)
    await served.world.rows(
        "UPDATE refs SET state = 'quarantined', reason = 'ESI answered 422', refusals = 4"
    )
    ended = await served.ctl("failed")
    assert ended.out.startswith("12  ESI answered 422; 4 attempts, listed ")
    assert "(through Ada)" in ended.out
    ended = await served.ctl("verify")
    assert ended.out.startswith("Ada (1): complete by ESI from ")
    assert "2 listed, 0 pending, 1 quarantined" in ended.out
    ended = await served.ctl("explain", "11")
    assert ended.code == 0
    assert "11: stored: fetched from ESI" in ended.out
    assert "through Ada" in ended.out
    ended = await served.ctl("explain", "13")
    assert ended.code == 1
    assert "not known" in ended.out
    ended = await served.ctl("retry", "12", "13")
    assert (ended.code, ended.out) == (1, "1 mail will be tried again.\n")
    assert "13 is neither quarantined nor pending" in ended.err
    assert (await served.ctl("retry")).code == 0
    ended = await served.ctl("logout", "ada", "--erase")
    assert ended.code == 0
    assert "Ada is logged out: the SSO has taken the grant back." in ended.out
    assert "Erased 1 killmail and 1 pending one" in ended.out


async def test_no_output_holds_a_hash_or_a_token(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11, 12)
    await served.world.store_mails(11)
    hashes = [str(row[0]) for row in await served.world.rows("SELECT killmail_hash FROM sightings")]
    said = ""
    for words in (("status",), ("users",), ("failed",), ("verify",), ("explain", "11"), ("explain", "12")):
        for ended in (await served.ctl(*words), await served.ctl(*words, "--json")):
            said += ended.out + ended.err
    assert len(said) > 1000
    assert not any(each in said for each in (*hashes, "s3cret", "refresh"))


async def test_ctl_watch_until_ctrl_c(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11)
    await served.world.rows(
        "INSERT INTO names (id, name) VALUES (587, 'Rifter'), (30000142, 'Jita'), (90000001, 'Bo')"
    )
    await served.world.store_mails(11)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "killsyncd", "ctl", "watch", "--after", "start", "--socket", str(served.socket)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert "  11  Rifter of Bo in Jita, by 90000002 and 2 more" in line
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err


async def test_ctl_watch_ends_with_the_daemon(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11)
    await served.world.rows(
        "INSERT INTO names (id, name) VALUES (587, 'Rifter'), (30000142, 'Jita'), (90000001, 'Bo')"
    )
    await served.world.store_mails(11)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "killsyncd", "ctl", "watch", "--after", "start", "--json", "--socket", str(served.socket)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    mail = json.loads(await process.stdout.readline())
    await served.server.close()
    _, err = await process.communicate()
    assert process.returncode == 69
    assert f"--after {mail['feedCursor']}" in err.decode()


# --- login --------------------------------------------------------------------------------------


async def test_login_waits_for_the_pilot(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    login = asyncio.ensure_future(execute("login", "--socket", str(served.socket)))
    while not served.desk.states:
        await asyncio.sleep(0.01)

    async def finished() -> LoggedIn:
        return logged_in(pilot.user_id, 1, "Ada")

    ended = await served.operations._logged_in(finished())
    assert ended.queued
    served.desk.states["login0"] = LoginStatus(LoginState.DONE, pilot.user_id, "Ada is logged in")
    done = await login
    assert done.code == 0
    assert done.out.splitlines() == [
        "https://sso.invalid/authorize?state=s3cret",
        "Ada is logged in; queued [FIRST SYNC]",
    ]
    assert "waiting for the pilot" in done.err


async def test_login_says_why_it_failed(served: ControlWorld) -> None:
    login = asyncio.ensure_future(execute("login", "--json", "--socket", str(served.socket)))
    while not served.desk.states:
        await asyncio.sleep(0.01)
    served.desk.states["login0"] = LoginStatus(LoginState.FAILED, None, "the pilot did not agree")
    done = await login
    assert done.code == 1
    assert done.json["status"] == "failed"
    assert "the pilot did not agree" in done.err
    assert "begin again" in done.err
    done = await execute("login", "--timeout", "0.01s", "--socket", str(served.socket))
    assert done.code == 1
    assert "nobody logged in" in done.err


async def test_login_by_pasting(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    served.desk.pasted["http://x/?code=1"] = logged_in(pilot.user_id, 1, "Ada")
    socket = str(served.socket)
    done = await execute("login", "--paste", "--socket", socket, stdin=b"  http://x/?code=1 \n")
    assert done.code == 0
    assert "queued [FIRST SYNC]" in done.out
    done = await execute("login", "--paste", "--socket", socket, stdin=b"nonsense\n")
    assert done.code == 1
    assert "not the address" in done.err
    done = await execute("login", "--paste", "--socket", socket, stdin=b"")
    assert (done.code, "no address was pasted" in done.err) == (1, True)


# --- files, through the daemon ------------------------------------------------------------------


async def test_import_and_export_go_through_the_daemon(served: ControlWorld, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(mails(1, 2) + b"broken\n" + mails(3))
    socket = ("--socket", str(served.socket))
    ended = await execute("import", str(source), *socket)
    assert (ended.code, ended.out) == (1, "3 killmails stored, 0 known before, 1 bad line.\n")
    assert f"{source}:3: not a killmail" in ended.err
    zipped = tmp_path / "in.jsonl.gz"
    zipped.write_bytes(gzip.compress(mails(3, 4)))
    ended = await execute("import", str(zipped), "-", "--json", *socket, stdin=mails(5))
    assert ended.code == 0
    assert (ended.json["stored"], ended.json["known"]) == (2, 1)
    assert [each["file"] for each in ended.json["files"]] == [str(zipped), "-"]
    ended = await execute("export", "--output", str(target), *socket)
    assert (ended.code, ended.out) == (0, "")
    assert "Exported 5 killmails" in ended.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [json.loads(each)["killmail_id"] for each in target.read_text().splitlines()] == [1, 2, 3, 4, 5]
    ended = await execute("export", *socket)
    assert ended.out == target.read_text()
    ended = await execute("export", "--format", "csv", "--output", str(target), "--json", *socket)
    assert ended.json == {"file": str(target), "format": "csv", "killmails": 5}
    ended = await execute("export", "--since", "tomorrow", "--output", str(tmp_path / "never"), *socket)
    assert ended.code == 2
    assert not (tmp_path / "never").exists()
    ended = await execute("import", str(source), str(tmp_path / "missing"), *socket)
    assert (ended.code, "nothing was imported" in ended.err) == (1, True)
    assert not list(tmp_path.glob(".*.part"))


async def test_a_file_cut_off_does_not_hide_the_one_after_it(served: ControlWorld, tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut.jsonl.gz", tmp_path / "whole.jsonl"
    cut.write_bytes(gzip.compress(mails(*range(1, 301)), 0)[:-20])
    whole.write_bytes(mails(1000))
    ended = await execute("import", str(cut), str(whole), "--json", "--socket", str(served.socket))
    assert ended.code == 1
    assert ended.json["files"][1]["stored"] == 1
    assert ended.json["files"][0]["stored"] >= 299
    assert f"{cut} cannot be read to its end" in ended.err
    away = ("--config", str(configured(tmp_path / "home")))
    ended = await execute("import", str(cut), str(whole), "--json", *away)
    assert (ended.code, ended.json["files"][1]["stored"]) == (1, 1)
    assert ended.json["files"][0]["stored"] >= 299


async def test_a_reader_who_goes_is_no_reason_for_noise(served: ControlWorld) -> None:
    await asyncio.to_thread(served.client.upload, "/v1/import", [mails(*range(1, 400))])
    command = f"{sys.executable} -m killsyncd export --socket {served.socket} | head -c 10"
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment()
    )
    out, err = await process.communicate()
    assert (len(out), err) == (10, b"")


async def test_a_backup_goes_through_the_daemon(served: ControlWorld, tmp_path: Path) -> None:
    await asyncio.to_thread(served.client.upload, "/v1/import", [mails(1)])
    target = tmp_path / "b.tar"
    ended = await execute("backup", "--output", str(target), "--socket", str(served.socket))
    assert ended.code == 0
    assert "Backup of 1 killmail of 0 users" in ended.out
    assert "key" in ended.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    ended = await execute("backup", "--output", "/dev/null", "--socket", str(served.socket))
    assert ended.code == 2


# --- files, without a daemon --------------------------------------------------------------------


async def test_without_a_daemon_they_open_the_store_themselves(tmp_path: Path) -> None:
    config = ("--config", str(configured(tmp_path / "home")))
    ended = await execute("export", *config)
    assert (ended.code, "there is no database" in ended.err) == (1, True)
    assert sorted(each.name for each in (tmp_path / "home").iterdir()) == ["killsyncd.toml"]
    ended = await execute("import", "-", *config, stdin=mails(1, 2))
    assert (ended.code, ended.out) == (0, "2 killmails stored, 0 known before, 0 bad lines.\n")
    ended = await execute("export", *config)
    assert (ended.code, len(ended.out.splitlines())) == (0, 2)
    backup = tmp_path / "b.tar"
    ended = await execute("backup", "--output", str(backup), "--json", *config)
    assert ended.json["counts"]["killmails"] == 2
    await execute("import", "-", *config, stdin=mails(3))
    ended = await execute("restore", str(backup), *config)
    assert ended.code == 0
    assert ended.out.startswith("Restored 2 killmails of 0 users, as of ")
    assert "is kept:" in ended.err
    assert len((await execute("export", *config)).out.splitlines()) == 2
    ended = await execute("restore", str(tmp_path / "home" / "killsyncd.toml"), *config)
    assert (ended.code, "is no backup" in ended.err) == (1, True)


async def test_what_needs_the_database_alone_refuses_beside_a_daemon(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await founded(path)
    config = ("--config", str(path))
    backup = tmp_path / "b.tar"
    assert (await execute("backup", "--output", str(backup), *config)).code == 0
    store = await SqliteStore.open(tmp_path / "killsyncd.db", SystemClock())
    try:
        for words in (("restore", str(backup)), ("rotate-key",), ("export",)):
            ended = await execute(*words, *config)
            assert ended.code == 78, words
            assert "another killsyncd" in ended.err
    finally:
        await store.close()


async def test_restore_takes_a_backup_that_others_opened(tmp_path: Path) -> None:
    """killsyncd-maintain's way: a file of root's, which the service's user cannot open by its name."""
    config = ("--config", str(configured(tmp_path / "home")))
    assert (await execute("import", "-", *config, stdin=mails(1, 2))).code == 0
    backup = tmp_path / "b.tar"
    assert (await execute("backup", "--output", str(backup), *config)).code == 0
    await execute("import", "-", *config, stdin=mails(3))
    with backup.open("rb") as opened:
        backup.unlink()
        ended = await execute("restore", "-", *config, stdin=opened)
    assert (ended.code, ended.out.startswith("Restored 2 killmails of 0 users")) == (0, True), ended.err
    assert len((await execute("export", *config)).out.splitlines()) == 2
    ended = await execute("restore", "-", *config, stdin=b"a pipe")
    assert (ended.code, " - < FILE" in ended.err) == (2, True)
    with (tmp_path / "home" / "killsyncd.toml").open("rb") as opened:
        ended = await execute("restore", "-", *config, stdin=opened)
    assert (ended.code, "the backup on stdin is no backup" in ended.err) == (1, True)


async def test_restore_refuses_where_a_daemon_listens(served: ControlWorld, tmp_path: Path) -> None:
    backup = tmp_path / "b.tar"
    await execute("backup", "--output", str(backup), "--socket", str(served.socket))
    path = configured(tmp_path / "other", control={"socket": str(served.socket)})
    ended = await execute("restore", str(backup), "--config", str(path))
    assert (ended.code, "a daemon runs" in ended.err) == (78, True)


async def test_rotate_key(tmp_path: Path) -> None:
    path = configured(tmp_path)
    config = ("--config", str(path))
    ended = await execute("rotate-key", *config)
    assert (ended.code, "there is no database" in ended.err) == (1, True)
    await founded(path)
    before = Vault.open(tmp_path / "killsyncd.key").key_id
    ended = await execute("rotate-key", "--json", *config)
    assert ended.code == 0
    after = Vault.open(tmp_path / "killsyncd.key").key_id
    assert ended.json == {"oldKeyId": before, "newKeyId": after}
    assert before != after
    assert stat.S_IMODE((tmp_path / "killsyncd.key").stat().st_mode) == 0o600
    await founded(path)  # the daemon would start


async def test_a_key_that_is_a_credential(tmp_path: Path) -> None:
    """Founded, started again, checked and rotated with a key that only root may write, shown as 0440."""
    config = configured(tmp_path / "home")
    folder = tmp_path / "credentials"
    folder.mkdir()
    key = folder / "security.key_file"
    first = Vault.create(key).key_id
    key.chmod(0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    for _ in range(2):  # the first start makes the tables, and must not take the key for another's
        store, _vault = await open_store_and_key(load(config, environ), SystemClock())
        await store.close()
    assert not (tmp_path / "home" / "killsyncd.key").exists()
    named = ("--config", str(config))
    ended = await execute("check", "--json", *named, **environ)
    assert next(each["status"] for each in ended.json["checks"] if each["name"] == "key") == "ok"
    ended = await execute("rotate-key", *named, **environ)
    assert (ended.code, "sudo killsyncd-maintain rotate-key" in ended.err) == (78, True)
    begun = await execute("rotate-key", "--stage", "begin", *named, **environ)
    assert begun.code == 0, begun.err
    key.chmod(0o600)
    key.write_text(begun.out)
    key.chmod(0o440)
    ended = await execute("rotate-key", "--stage", "finish", *named, **environ)
    assert ended.code == 0, ended.err
    key.chmod(0o600)
    key.write_text(ended.out)
    assert (Vault.open(key).key_id == first, "old" in ended.out.splitlines()[-1]) == (False, False)
    key.chmod(0o440)
    store, vault = await open_store_and_key(load(config, environ), SystemClock())
    await store.close()
    assert vault.key_id != first


# --- check --------------------------------------------------------------------------------------


async def checked(path: Path, **more: str) -> tuple[int, dict[str, dict[str, str]]]:
    ended = await execute("check", "--json", "--config", str(path), **more)  # type: ignore[arg-type]
    assert "Traceback" not in ended.err
    return ended.code, {each["name"]: each for each in ended.json["checks"]}


async def test_check_tells_of_several_mistakes_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "killsyncd.toml"
    path.write_text('[sso]\nclient_id = ""\n[esi]\ncontact = ""\n')
    ended = await execute("check", "--config", str(path))
    (line,) = ended.out.splitlines()
    assert "2 mistakes in the configuration: " in line
    assert '"": is required: the client ID of your EVE application; ' in line
    assert "?" not in line


async def test_check_creates_nothing(tmp_path: Path) -> None:
    path = configured(tmp_path / "home")
    code, found = await checked(path)
    assert code == 0
    assert list(found) == [
        *("configuration", "database", "queue", "key", "modes", "places", "daemon", "listen", "callback"),
        *("addresses", "clock", "space"),
    ]
    assert found["clock"]["status"] == "warn"  # there is no ESI at port 9
    assert sorted(each.name for each in path.parent.iterdir()) == ["killsyncd.toml"]
    ended = await execute("check", "--config", str(path))
    assert (ended.code, len(ended.out.splitlines())) == (0, 12)


async def test_check_reads_the_operators_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    path = configured(tmp_path / "home", prices={"overrides_file": str(file)})
    code, found = await checked(path)
    assert (code, found["prices"]["status"]) == (78, "fail")
    assert "cannot be read" in found["prices"]["message"]
    file.write_text("587,1000\n588\n")
    code, found = await checked(path)
    assert (code, found["prices"]["status"]) == (0, "warn")
    assert "line 2: has to be type_id,price" in found["prices"]["message"]
    file.write_text("587,1000\n")
    assert "prices of 1 type" in (await checked(path))[1]["prices"]["message"]


async def test_check_looks_at_what_is_there(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await founded(path)
    names = sorted(each.name for each in tmp_path.iterdir())
    code, found = await checked(path)
    assert code == 0
    assert "schema" in found["database"]["message"]
    assert "opens the database" in found["key"]["message"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    (tmp_path / "killsyncd.key").chmod(0o644)
    code, found = await checked(path)
    assert (code, found["key"]["status"]) == (78, "fail")
    assert "chmod 600" in found["key"]["remedy"]
    (tmp_path / "killsyncd.key").unlink()
    code, found = await checked(path)
    assert (code, "is missing" in found["key"]["message"]) == (78, True)
    Vault.create(tmp_path / "killsyncd.key")
    code, found = await checked(path)
    assert (code, "not the key of this database" in found["key"]["message"]) == (78, True)


async def test_check_finds_stored_killmails_that_are_no_json(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await execute("import", "-", "--config", str(path), stdin=mails(1, 2, 3))
    code, found = await checked(path)
    assert "documents" not in found
    with closing(sqlite3.connect(tmp_path / "killsyncd.db")) as rows, rows:
        rows.execute("UPDATE killmail_documents SET document = x'ff', size = NULL WHERE killmail_id = 2")
    code, found = await checked(path)
    assert (code, found["documents"]["status"]) == (0, "warn")
    assert "1 stored killmail with text that is no JSON (2)" in found["documents"]["message"]


async def test_check_tells_a_database_that_is_not_ours(tmp_path: Path) -> None:
    path = configured(tmp_path)
    database = tmp_path / "killsyncd.db"
    database.write_bytes(b"rubbish" * 1000)
    code, found = await checked(path)
    assert (code, found["database"]["message"]) == (78, f"{database} is not a SQLite database")
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    code, found = await checked(path)
    assert (code, "are not killsyncd's (cats)" in found["database"]["message"]) == (78, True)
    database.unlink()
    await founded(path)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (99, 'x', 'y', 0)")
        connection.commit()
    code, found = await checked(path)
    assert (code, "schema 99" in found["database"]["message"]) == (78, True)


async def test_check_tells_a_broker_that_is_away(tmp_path: Path) -> None:
    path = configured(tmp_path, queue={"url": "amqp://guest@127.0.0.1:9/"})
    code, found = await checked(path)
    assert (code, found["queue"]["status"]) == (78, "fail")
    assert "127.0.0.1:9" in found["queue"]["message"]


async def test_check_tells_every_mistake_of_a_configuration(tmp_path: Path) -> None:
    path = configured(tmp_path, producer={"intervall": "1m"}, queue={"concurrency": 0})
    code, found = await checked(path)
    assert code == 78
    assert list(found) == ["configuration"]
    assert "intervall" in found["configuration"]["message"]
    assert "concurrency" in found["configuration"]["message"]


async def test_check_works_beside_a_daemon(served: ControlWorld, tmp_path: Path) -> None:
    path = configured(tmp_path)
    Vault.create(tmp_path / "killsyncd.key")
    await served.world.pilot(1, "Ada")
    code, found = await checked(path)
    assert code == 0, found
    assert found["daemon"]["message"].startswith("runs")
    assert "1 user" in found["database"]["message"]
    assert (await served.get("/v1/status"))["version"] == "1.2.3"


# --- check keeps its promise --------------------------------------------------------------------------


async def test_check_says_what_run_would_refuse(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await founded(path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configured(
            tmp_path,
            api={"listen": f"127.0.0.1:{port}"},
            sso={"callback_url": f"http://127.0.0.1:{port}/auth/callback"},
        )
        code, found = await checked(path)
        assert (code, found["listen"]["status"]) == (78, "fail")
        assert "is taken by another program" in found["listen"]["message"]
        ended = await execute("run", "--config", str(path))
        assert ended.code == 78
        assert found["listen"]["message"] in ended.err


@pytest.mark.parametrize(
    ("listen", "callback", "status"),
    [
        ("127.0.0.1:7420", "http://127.0.0.1:7420/auth/callback", "ok"),
        ("127.0.0.1:7420", "https://kills.example.org/auth/callback", "ok"),
        ("127.0.0.1:7420", "http://127.0.0.1:9/auth/callback", "fail"),
        ("127.0.0.1:7420", "http://kills.example.org/auth/callback", "fail"),
        ("127.0.0.1:7420", "http://93.184.216.34/auth/callback", "fail"),
        ("127.0.0.1:7420", "http://192.168.1.5:7420/auth/callback", "warn"),
        ("127.0.0.1:7420", "http://nas.lan:7420/auth/callback", "warn"),
    ],
)
def test_check_looks_where_pilots_come_back(listen: str, callback: str, status: str) -> None:
    config = from_mapping(
        {
            "sso": {"client_id": "abc", "callback_url": callback},
            "esi": {"contact": "tests@killsyncd.invalid"},
            "api": {"listen": listen},
        },
        {"HOME": "/nonexistent"},
    )
    found = check_start.callback(config)
    assert found.status == status, found


async def test_check_misses_a_table_that_is_gone(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await founded(path)
    with closing(sqlite3.connect(tmp_path / "killsyncd.db")) as connection:
        connection.execute("DROP TABLE feed")
    code, found = await checked(path)
    assert (code, found["database"]["status"]) == (78, "fail")
    assert "lacks the table feed" in found["database"]["message"]


async def test_check_sees_another_daemon_on_the_same_database(tmp_path: Path) -> None:
    path = configured(tmp_path)
    await founded(path)
    store = await SqliteStore.open(tmp_path / "killsyncd.db", SystemClock())
    try:
        code, found = await checked(path)
    finally:
        await store.close()
    assert (code, found["daemon"]["status"]) == (78, "fail")
    assert "another killsyncd uses" in found["daemon"]["message"]


@pytest.mark.parametrize("section", ["sso", "esi"])
async def test_what_the_documents_fill_in_as_an_example_is_no_configuration(
    tmp_path: Path, section: str
) -> None:
    example = {
        "sso": {"client_id": "0123456789abcdef0123456789abcdef"},
        "esi": {"contact": "you@example.com"},
    }
    real = {"sso": "https://login.eveonline.com", "esi": "https://esi.evetech.net"}
    path = configured(tmp_path, **{section: {**example[section], "base_url": real[section]}})
    code, found = await checked(path)
    assert (code, list(found)) == (78, ["configuration"])
    assert "is the example's" in found["configuration"]["message"]
    assert (await execute("run", "--config", str(path))).code == 78


async def test_what_cannot_be_made_is_told_before(tmp_path: Path) -> None:
    path = configured(tmp_path)
    (tmp_path / "killsyncd.sock").mkdir()
    code, found = await checked(path)
    assert (code, found["places"]["status"]) == (78, "fail")
    assert "is no socket" in found["places"]["message"]


# --- nothing that steers a terminal ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("import", "/nowhere/\x1b[31m"),
        ("ctl", "status", "--socket", "/nowhere/\x1b]0;x\x07"),
        ("check\x1b[31m",),
        ("ctl", "retry", "\x1b[31m", "--socket", "/nowhere"),
        ("restore", "/nowhere/\x9b31m"),
    ],
)
async def test_errors_print_no_control_characters(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = configured(tmp_path)
    ended = await execute(*words, **{"KILLSYNCD_CONFIG": str(path)})
    assert ended.code != 0
    assert not [each for each in ended.err + ended.out if not each.isprintable() and each != "\n"]


async def test_json_lets_no_control_character_through(capsys: pytest.CaptureFixture[str]) -> None:
    out_json({"name": "a\x9b31m\x1b\u2028"})
    told = capsys.readouterr().out
    assert told.rstrip("\n").isprintable()
    assert json.loads(told) == {"name": "a\x9b31m\x1b\u2028"}
