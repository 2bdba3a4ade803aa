"""Backups that somebody made to harm: nothing of them is run, and nothing is written beyond their size."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections import namedtuple
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from killsyncd.config import from_mapping
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import BadInput, KillsyncdError, Refused, SchemaRefused
from killsyncd.daemon.startup import open_store_and_key
from killsyncd.storage.migrations import migrations
from killsyncd.storage.sqlite import archive as archives
from killsyncd.storage.sqlite.backup import make, tidy
from killsyncd.storage.sqlite.restore import Restored, restore
from killsyncd.storage.sqlite.store import SqliteStore
from tests.contract.test_migrations import migrate_to
from tests.support.clocks import START
from tests.support.control_world import control_world
from tests.support.storage_world import StorageWorld

THERE = b"what is there"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StorageWorld]:
    (tmp_path / "home").mkdir()
    async with control_world(tmp_path / "home") as served:
        await served.world.listed(await served.world.pilot(1, "Ada"), 11, 12)
        await served.world.store_mails(11)
        yield served.world


@pytest.fixture
async def honest(world: StorageWorld, tmp_path: Path) -> Path:
    """A backup as killsyncd makes it."""
    path = tmp_path / "honest.tar"
    async with make(world.store, "1.2.3", START) as made:  # type: ignore[arg-type]
        path.write_bytes(b"".join([chunk async for chunk in made.chunks()]))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The database that is there."""
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "killsyncd.db").write_bytes(THERE)
    return folder / "killsyncd.db"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    with tarfile.open(path) as tar:
        manifest, database = (tar.extractfile(name) for name in ("manifest.json", "killsyncd.db"))
        assert manifest is not None
        assert database is not None
        return json.loads(manifest.read()), database.read()


def packed(path: Path, manifest: bytes, database: bytes) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in (("manifest.json", manifest), ("killsyncd.db", database)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def forged(
    honest: Path,
    change: Callable[[sqlite3.Connection], object],
    manifest: Callable[[dict[str, Any]], object] = lambda told: None,
) -> Path:
    """A backup whose database somebody changed, with a manifest that holds."""
    told, database = parts(honest)
    path = honest.with_name("forged.db")
    path.write_bytes(database)
    with closing(sqlite3.connect(path)) as connection:
        change(connection)
        connection.commit()
    data = path.read_bytes()
    told |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest(told)
    return packed(honest.with_name("forged.tar"), json.dumps(told).encode(), data)


def restored(path: Path, target: Path) -> Restored:
    newest = max(each.number for each in migrations())
    return restore(path, target, newest_schema=newest, accept=lambda canary: None, now=START)


def refused(path: Path, target: Path, match: str, kind: type[KillsyncdError] = KillsyncdError) -> None:
    with pytest.raises(kind, match=match):
        restored(path, target)
    assert target.read_bytes() == THERE
    assert [each.name for each in target.parent.iterdir()] == [target.name]


def as_view(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE meta RENAME TO hidden")
    connection.execute("CREATE VIEW meta AS SELECT * FROM hidden")


def endless_view(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE schema_migrations")
    connection.execute(
        "CREATE VIEW schema_migrations AS WITH RECURSIVE n(number, checksum) AS "
        "(SELECT 1, 'x' UNION ALL SELECT number + 1, 'x' FROM n) SELECT * FROM n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "CREATE TRIGGER evil AFTER INSERT ON killmails BEGIN DELETE FROM attackers; END",
            "trigger evil, which killsyncd did not make",
        ),
        ("CREATE VIEW spy AS SELECT * FROM grants", "view spy"),
        ("CREATE TABLE loot (id INTEGER)", "table loot"),
        ('CREATE TABLE "\x1b[31mred" (id INTEGER)', r"table \?\[31mred"),
        ("CREATE INDEX evil ON attackers (killmail_id)", "index evil"),
        ("DROP INDEX attackers_by_character", "lacks the index attackers_by_character"),
        ("ALTER TABLE attackers ADD COLUMN extra TEXT", "table attackers"),
        ("DROP TABLE grants", "lacks the table grants"),
        ("UPDATE meta SET value = 'another' WHERE key = 'application'", "not killsyncd's"),
        ("UPDATE schema_migrations SET checksum = 'other'", "different killsyncd"),
        ("DELETE FROM schema_migrations", "not killsyncd's"),
        (as_view, "not made|did not make|lacks"),
        (endless_view, "not killsyncd's"),
    ],
)
async def test_a_schema_that_is_not_ours_to_the_letter_is_refused(
    honest: Path, target: Path, change: str | Callable[[sqlite3.Connection], None], said: str
) -> None:
    if isinstance(change, str):
        path = forged(honest, lambda connection: connection.execute(change))
    else:
        path = forged(honest, change)
    refused(path, target, said, SchemaRefused)


async def test_a_database_without_an_epoch_is_damaged(honest: Path, target: Path) -> None:
    path = forged(honest, lambda one: one.execute("DELETE FROM meta WHERE key = 'feed_epoch'"))
    refused(path, target, "its feed has no epoch", BadInput)


async def test_statistics_of_analyze_are_nobody_s_attack(honest: Path, target: Path) -> None:
    path = forged(honest, lambda connection: connection.execute("ANALYZE"))
    assert restored(path, target).manifest.counts["killmails"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": "yesterday"},
        {"created_at": "2026-01-01T00:00:00"},
        {"created_at": "9999-12-31T23:59:59-14:00"},
        {"created_at": 5},
        {"counts": {"users": 1}},
        {"counts": []},
        {"schema": "1"},
        {"schema": -1},
        {"bytes": 2**70},
        {"bytes": 1.5},
        {"sha256": "0"},
        {"format": True},
        {"version": "\x1b[31m"},
        {"key": ["x"] * 2000},
    ],
)
async def test_a_manifest_that_makes_no_sense_is_no_backup(
    honest: Path, target: Path, changes: dict[str, Any]
) -> None:
    refused(
        forged(honest, lambda connection: None, lambda told: told.update(changes)),
        target,
        "no backup",
        BadInput,
    )


@pytest.mark.parametrize(
    "manifest", [b"[" * 60_000, b'{"a":' * 12_000, b"\xff\xfe", b"{}", b"null", b" " * 70_000]
)
async def test_a_manifest_that_is_no_manifest(honest: Path, target: Path, manifest: bytes) -> None:
    refused(packed(honest.with_name("x.tar"), manifest, parts(honest)[1]), target, "no backup", BadInput)


async def test_a_sparse_file_of_gigabytes_writes_none(honest: Path, target: Path) -> None:
    told, _ = parts(honest)
    told |= {"bytes": 6 << 30}
    path = honest.with_name("sparse.tar")
    manifest = json.dumps(told).encode()
    info = tarfile.TarInfo("killsyncd.db")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (6 << 30)  # the size that it unpacks to
    packed(path, manifest, b"")
    begin = path.read_bytes()[: 512 + archives.blocks(len(manifest))]
    path.write_bytes(begin + bytes(header) + bytes(512) + bytes(1024))
    refused(path, target, "holds no database", BadInput)
    pax = honest.with_name("pax.tar")
    with tarfile.open(pax, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("manifest.json", manifest), ("killsyncd.db", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": str(6 << 30),
            }
            tar.addfile(info, io.BytesIO(data))
    refused(pax, target, "no backup", BadInput)


async def test_a_size_that_the_file_does_not_have_is_refused_before_it_is_written(
    honest: Path, target: Path
) -> None:
    whole = bytearray(honest.read_bytes())
    told, _ = parts(honest)
    begin = 512 + archives.blocks(len(archives.manifest_text(archives.read_manifest(honest))))  # type: ignore[arg-type]
    told["bytes"] = 6 << 30
    manifest = json.dumps(told).encode()
    info = tarfile.TarInfo("killsyncd.db")
    info.size = 6 << 30
    path = packed(honest.with_name("x.tar"), manifest, b"")
    front = path.read_bytes()[: 512 + archives.blocks(len(manifest))]
    path.write_bytes(front + info.tobuf(tarfile.GNU_FORMAT) + bytes(whole[begin + 512 :]))
    refused(path, target, "cut off", BadInput)


async def test_links_and_loops_are_no_backup(honest: Path, target: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
        path = honest.with_name("link.tar")
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, to in (("manifest.json", "killsyncd.db"), ("killsyncd.db", "manifest.json")):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, to
                tar.addfile(info)
        refused(path, target, "no backup", BadInput)
    loop = honest.with_name("loop")
    loop.symlink_to(loop)
    refused(loop, target, "cannot be read", BadInput)
    fifo = honest.with_name("fifo")
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)  # so that opening it does not wait
    try:
        refused(fifo, target, "no regular file", BadInput)
    finally:
        os.close(writer)


async def test_more_than_a_backup_has_is_refused(honest: Path, target: Path) -> None:
    path = honest.with_name("more.tar")
    shutil.copy(honest, path)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("more")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    refused(path, target, "more is in it", BadInput)


async def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    honest: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    refused(honest, target, "MiB are free", Refused)


async def test_a_copy_made_before_an_update_is_restored(honest: Path, target: Path) -> None:
    copy = honest.with_name("killsyncd.db.schema-0002")
    copy.write_bytes(parts(honest)[1])
    done = restored(copy, target)
    assert done.manifest.counts["killmails"] == 1
    assert (done.manifest.version, done.manifest.bytes) == ("", copy.stat().st_size)
    assert done.kept is not None
    assert done.kept.read_bytes() == THERE
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE VIEW spy AS SELECT 1")
    with pytest.raises(SchemaRefused, match="spy"):
        restored(copy, target)
    Path(f"{copy}-wal").write_bytes(b"x")
    with pytest.raises(BadInput, match="in use"):
        restored(copy, target)
    with pytest.raises(BadInput, match="itself"):
        restored(target, target)


async def test_what_copies_that_were_cut_off_left_goes_with_the_next(
    world: StorageWorld, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    kept = ["killsyncd.db.schema-0001", ".other.db.backup-1234", "killsyncd.db.before-restore-x"]
    left = [
        f".killsyncd.db.{each}"
        for each in ("backup-1234", "backup-1234-journal", "restore-77", "schema-0001")
    ]
    database = world.store.path  # type: ignore[attr-defined]
    left = [each.replace("killsyncd.db", database.name) for each in left]
    for name in (*kept, *left):
        (home / name).write_bytes(b"x")
    async with make(world.store, "1", START) as made:  # type: ignore[arg-type]
        tidy(database)
        assert made.copy.exists(), "one that is under way is left alone"
        assert not any((home / name).exists() for name in left)
    assert all((home / name).exists() for name in kept)


async def test_the_copy_that_a_migration_makes_can_be_restored(tmp_path: Path) -> None:
    """From an older release's database: the daemon copies it, migrates it, and the copy goes back."""
    path = tmp_path / "killsyncd.db"
    store = await SqliteStore.open(path, SystemClock())
    await migrate_to(store, 1)
    await store.script(["INSERT INTO meta (key, value) VALUES ('of_then', 'kept')"])
    await store.close()
    (tmp_path / ".killsyncd.db.schema-0001").write_bytes(b"what a start that was killed left")
    settings = {
        "sso": {"client_id": "abc"},
        "esi": {"contact": "tests@killsyncd.invalid"},
        "database": {"url": f"sqlite:///{path}"},
        "security": {"key_file": f"{tmp_path}/killsyncd.key"},
    }
    told: list[str] = []
    opened, _ = await open_store_and_key(
        from_mapping(settings, source="the test's own"), SystemClock(), told.append
    )
    await opened.close()
    assert [each for each in told if "schema is brought up to date" not in each] == []
    assert told, "whoever waits for the start has to hear of it"
    copy = tmp_path / "killsyncd.db.schema-0001"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / ".killsyncd.db.schema-0001").exists()
    done = restored(copy, path)
    assert done.manifest.schema == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'of_then'").fetchone() == ("kept",)
        assert connection.execute("SELECT MAX(number) FROM schema_migrations").fetchone() == (1,)
    opened, _ = await open_store_and_key(from_mapping(settings, source="the test's own"), SystemClock())
    await opened.close()
