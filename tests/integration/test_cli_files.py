"""Import, export, backup, restore and keys on the command line: through the daemon, and without one."""

from __future__ import annotations

import asyncio
import gzip
import json
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.auth.encryption import Vault
from killsyncd.config import load
from killsyncd.core.clock import SystemClock
from killsyncd.daemon.startup import open_store_and_key
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.command_line import configured, founded, mails
from tests.support.control_world import ControlWorld, control_world, environment, execute


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


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
