"""Backups and restores of a real SQLite database, whole and damaged."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import stat
import tarfile
from collections import namedtuple
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from killsyncd.core.errors import BadInput, KeyRefused, Refused, SchemaRefused, Unavailable
from killsyncd.core.model import SyncMode
from killsyncd.storage.migrations import migrations
from killsyncd.storage.repositories.revocations import logout
from killsyncd.storage.sqlite import backup as backups
from killsyncd.storage.sqlite.restore import Restored, restore
from tests.support.clocks import START
from tests.support.control_world import control_world
from tests.support.storage_world import Pilot, StorageWorld

SCHEMA = max(each.number for each in migrations())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StorageWorld]:
    (tmp_path / "home").mkdir()
    async with control_world(tmp_path / "home") as served:
        pilot = await served.world.pilot(1, "Ada")
        await served.world.listed(pilot, 11, 12)
        await served.world.store_mails(11)
        yield served.world


async def written(world: StorageWorld, path: Path) -> backups.Manifest:
    async with backups.make(world.store, "1.2.3", START) as made:  # type: ignore[arg-type]
        path.write_bytes(b"".join([chunk async for chunk in made.chunks()]))
        assert path.stat().st_size == made.size
        return made.manifest


def restored(path: Path, target: Path, **given: object) -> Restored:
    values: dict[str, object] = {"newest_schema": 99, "accept": lambda canary: None, "now": START, **given}
    return restore(path, target, **values)  # type: ignore[arg-type]


def value(path: Path, sql: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(sql).fetchone()
    return row[0] if row else None


async def test_a_backup_is_a_tar_that_anybody_can_open(world: StorageWorld, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    manifest = await written(world, path)
    assert backups.verify(path) == manifest
    assert manifest.counts == {"users": 1, "killmails": 1, "sightings": 2, "refs": 1}
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["manifest.json", "killsyncd.db"]
        assert all(member.mode == 0o600 for member in tar)
        tar.extractall(tmp_path / "out", filter="data")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert told["schema"] == SCHEMA
    assert "key" in told["key"]
    assert value(tmp_path / "out" / "killsyncd.db", "SELECT killmail_id FROM killmails") == 11


async def test_the_copy_is_closed_to_others_and_goes(world: StorageWorld, tmp_path: Path) -> None:
    async with backups.make(world.store, "1.2.3", START) as made:  # type: ignore[arg-type]
        assert stat.S_IMODE(made.copy.stat().st_mode) == 0o600
    assert list((tmp_path / "home").glob(".*")) == []


async def test_a_full_disk_is_told_before_anything_is_written(
    world: StorageWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(Unavailable, match="are free"):
        async with backups.make(world.store, "1.2.3", START):  # type: ignore[arg-type]
            pass


async def test_restoring_gives_the_feed_a_new_epoch_and_keeps_the_old_file(
    world: StorageWorld, tmp_path: Path
) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new" / "killsyncd.db"
    await written(world, path)
    target.parent.mkdir()
    assert restored(path, target).kept is None
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert value(target, "SELECT killmail_id FROM killmails") == 11
    epoch = await world.value("SELECT value FROM meta WHERE key = 'feed_epoch'")
    first = value(target, "SELECT value FROM meta WHERE key = 'feed_epoch'")
    assert first != epoch
    assert value(target, "SELECT COUNT(*) FROM daemons") == 0
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("DELETE FROM killmails")
        connection.commit()
    done = restored(path, target)
    assert done.kept is not None
    assert value(done.kept, "SELECT COUNT(*) FROM killmails") == 0
    assert value(target, "SELECT COUNT(*) FROM killmails") == 1
    assert value(target, "SELECT value FROM meta WHERE key = 'feed_epoch'") not in (epoch, first)
    assert sorted(each.name for each in target.parent.iterdir()) == [target.name, done.kept.name]


async def test_what_esi_remembers_of_us_is_carried_over(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    restored(path, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("INSERT INTO spends (grp, subject, tokens, returns_at) VALUES ('g', 's', 7, 9e9)")
        connection.execute("INSERT INTO budgets (grp, subject, blocked_until) VALUES ('g', 's', 9e9)")
        connection.execute("UPDATE pages SET expires_at = 9e9, answered_at = 8e9, etag = 'later'")
        connection.commit()
    restored(path, target)
    assert value(target, "SELECT tokens FROM spends") == 7
    assert value(target, "SELECT blocked_until FROM budgets") == 9e9
    assert value(target, "SELECT expires_at FROM pages") == 9e9
    assert value(target, "SELECT etag FROM pages") is None


async def test_after_a_restore_prices_wait_until_an_answer_is_no_longer_cached(
    world: StorageWorld, tmp_path: Path
) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    restored(path, target)
    assert value(target, "SELECT next_at FROM background_tasks WHERE name = 'prices'") == START + 3600


async def test_after_a_restore_every_list_is_read_whole_and_anew(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    pilot = await world.pilot(2)
    await world.listed(pilot, 21)
    await world.ledger.open_walk(pilot.source_id, SyncMode.INCREMENTAL)
    await written(world, path)
    restored(path, target)
    assert value(target, "SELECT COUNT(*) FROM pages WHERE etag IS NOT NULL") == 0
    assert value(target, "SELECT COUNT(*) FROM sources WHERE full_walk_at IS NOT NULL") == 0
    assert value(target, "SELECT COUNT(*) FROM sources WHERE unbroken_at IS NOT NULL") == 2
    assert value(target, "SELECT COUNT(*) FROM walks WHERE state = 'running'") == 0


async def test_what_was_asked_when_is_carried_over_for_pilots_whom_the_backup_lacks(
    world: StorageWorld, tmp_path: Path
) -> None:
    """A page that was answered, and one that was asked for and never answered, by ESI's clock."""
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    restored(path, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute(
            "INSERT INTO sources (id, kind, subject_id, created_at) VALUES (99, 'character', 7, 1)"
        )
        pages = [(99, 1, 9e9, 8e9, 8e9), (99, 2, 0, 9e9, 8e9)]
        connection.executemany(
            "INSERT INTO pages (source_id, page, expires_at, asked_at, answered_at) VALUES (?, ?, ?, ?, ?)",
            pages,
        )
        connection.commit()
    restored(path, target)
    gate = "SELECT value FROM gates WHERE name = 'list-asked:character:7:{}'"
    assert value(target, gate.format(1)) == 9e9
    assert value(target, gate.format(2)) == 9e9 + 300


async def test_who_logged_out_since_the_backup_stays_logged_out(world: StorageWorld, tmp_path: Path) -> None:
    stayed = await world.pilot(2, "Bea")
    target, path = tmp_path / "home" / "killsyncd.db", tmp_path / "b.tar"
    (ada,) = await world.rows("SELECT id FROM users WHERE character_id = 1")
    await world.want(Pilot(ada["id"], 1, 1))
    await written(world, path)
    assert await logout(world.store, ada["id"], erase=False) is not None
    await world.rows("INSERT INTO revocations (character_id, refresh_token) VALUES (7, :t)", t=b"earlier")
    for _ in range(2):  # also where it was restored before
        copy = tmp_path / "copy.db"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(target)) as there:
            there.execute("VACUUM INTO ?", (str(copy),))
        done = restored(path, copy)
        assert done.logged_out == 1
        assert value(copy, "SELECT state || ': ' || state_reason FROM users WHERE character_id = 1") == (
            "left: logged out"
        )
        assert value(copy, "SELECT GROUP_CONCAT(user_id) FROM grants") == stayed.user_id
        assert value(copy, "SELECT COUNT(*) FROM wants") == 0
        assert value(copy, "SELECT COUNT(*) FROM revocations") == 2, "Ada's, and the one from before"


async def test_where_nobody_can_tell_what_was_asked_the_cache_is_waited_out(
    world: StorageWorld, tmp_path: Path
) -> None:
    """On another machine, and over a database that is not of the backup's history."""
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    gate = "SELECT MAX(value) FROM gates WHERE name = 'lists-asked'"
    restored(path, target)
    assert value(target, gate) == START + 300
    restored(path, target, now=START + 1000)
    assert value(target, gate) == START + 1300, "what was restored is another life"
    epoch = await world.value("SELECT value FROM meta WHERE key = 'feed_epoch'")
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'feed_epoch'", (epoch,))
        connection.execute("DELETE FROM gates")
        connection.commit()
    restored(path, target)
    assert value(target, gate) is None, "the database in place knows what was asked since the backup"


async def test_what_esi_remembers_is_carried_over_into_a_backup_of_an_older_schema(
    world: StorageWorld, tmp_path: Path
) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    restored(path, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ALTER TABLE spends ADD COLUMN of_a_later_schema INTEGER")
        connection.execute("INSERT INTO spends (grp, subject, tokens, returns_at) VALUES ('g', 's', 7, 9e9)")
        connection.commit()
    restored(path, target)
    assert value(target, "SELECT tokens FROM spends") == 7


async def test_an_unreadable_database_in_the_place_is_kept_and_replaced(
    world: StorageWorld, tmp_path: Path
) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    target.write_bytes(b"rubbish" * 1000)
    done = restored(path, target)
    assert done.kept is not None
    assert done.kept.read_bytes().startswith(b"rubbish")
    assert value(target, "SELECT killmail_id FROM killmails") == 11


async def test_a_damaged_backup_touches_nothing(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    whole = path.read_bytes()
    target.write_bytes(b"what is there")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    cut = (whole[: len(whole) // 2], whole[:700], whole[:-1])
    for broken in (*cut, bytes(flipped), b"", b"no tar at all" * 100):
        path.write_bytes(broken)
        with pytest.raises(BadInput):
            restored(path, target)
        with pytest.raises(BadInput):
            backups.verify(path)
        assert target.read_bytes() == b"what is there"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tar", "home", "new.db"]


async def test_a_manifest_of_another_database_is_told(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    path.write_bytes(path.read_bytes().replace(b'"killmails": ', b'"killmails":1', 1))
    with pytest.raises(BadInput, match="manifest"):
        restored(path, target)
    assert not target.exists()


async def test_two_restores_within_a_second_keep_both(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    await written(world, path)
    for there in (b"first", b"second"):
        target.write_bytes(there)
        kept = restored(path, target).kept
        assert kept is not None
        assert kept.read_bytes().startswith(there)
    assert len(list(tmp_path.glob("new.db.before-restore-*"))) == 2


async def test_a_newer_schema_or_another_key_is_refused(world: StorageWorld, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar", tmp_path / "new.db"
    canary = base64.b64encode(b"canary").decode()
    await world.rows("INSERT INTO meta (key, value) VALUES ('key_canary', :canary)", canary=canary)
    await written(world, path)
    with pytest.raises(SchemaRefused, match=f"schema {SCHEMA}"):
        restored(path, target, newest_schema=0)
    seen: list[str | None] = []

    def refuse(given: str | None) -> None:
        seen.append(given)
        raise KeyRefused("another key")

    with pytest.raises(KeyRefused):
        restored(path, target, accept=refuse)
    assert seen == [canary]
    assert not target.exists()


async def test_a_place_that_cannot_be_written_is_told(world: StorageWorld, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    await written(world, path)
    with pytest.raises(Refused, match="cannot be written"):
        restored(path, tmp_path / "nowhere" / "new.db")
