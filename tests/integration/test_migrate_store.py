"""`killsyncd migrate-store`, in processes of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.control_world import execute
from tests.support.server_urls import create_database, drop_database
from tests.support.storage_world import StorageWorld


def configured(folder: Path, url: str) -> str:
    """A configuration with this database; answers its path."""
    path = folder / f"{abs(hash(url))}.toml"
    path.write_text(
        f'[sso]\nclient_id = "abc"\n[esi]\ncontact = "tests@killsyncd.invalid"\n'
        f'[database]\nurl = "{url}"\n[security]\nkey_file = "{folder}/killsyncd.key"\n'
    )
    return str(path)


class Timed:
    """Time is real here."""

    clock = SystemClock()

    async def pass_time(self, seconds: float) -> None:
        raise AssertionError("time is real here")


@pytest.fixture
async def old(tmp_path: Path) -> str:
    """A SQLite database with two killmails; answers its address."""
    store = await SqliteStore.open(tmp_path / "old.db", SystemClock())
    await migrate(store)
    world = await StorageWorld.begin(Timed(), store)
    await world.listed(await world.pilot(1, "John Doe"), 1, 2, 3)
    await world.store_mails(1, 2)
    await world.member.leave()
    await store.close()
    return f"sqlite:///{tmp_path}/old.db"


@pytest.fixture
async def postgres() -> AsyncIterator[str]:
    url = await create_database()
    yield url
    await drop_database(url)


@pytest.mark.postgres
async def test_there_and_back(tmp_path: Path, old: str, postgres: str) -> None:
    there = await execute("migrate-store", "--to", postgres, "--config", configured(tmp_path, old))
    assert there.code == 0, there.err
    assert "Moved 2 killmails" in there.out
    assert "killmails: 2 rows" in there.err
    assert f'url = "{postgres}"' in there.err
    connection = await asyncpg.connect(postgres)
    assert await connection.fetchval("SELECT COUNT(*) FROM killmails") == 2
    await connection.close()
    back = await execute(
        "migrate-store",
        "--to",
        f"sqlite:///{tmp_path}/new.db",
        "--json",
        "--config",
        configured(tmp_path, postgres),
    )
    assert back.code == 0, back.err
    report = json.loads(back.out)
    assert {each["table"]: each["rows"] for each in report["tables"]}["sightings"] == 3
    assert report["resumed"] is False
    with closing(sqlite3.connect(tmp_path / "new.db")) as rows:
        assert rows.execute("SELECT character_name FROM users").fetchall() == [("John Doe",)]


@pytest.mark.postgres
async def test_a_database_that_daemons_use_is_left_alone(tmp_path: Path, postgres: str) -> None:
    store = await PostgresStore.open(postgres)
    await migrate(store)
    member = await Membership.join(store, SystemClock(), egress="home", version="1")
    done = await execute(
        "migrate-store", "--to", f"sqlite:///{tmp_path}/new.db", "--config", configured(tmp_path, postgres)
    )
    assert done.code == 78
    assert "daemons run on this database" in done.err
    await member.leave()
    await store.close()


async def test_a_daemon_holds_its_file(tmp_path: Path, old: str) -> None:
    store = await SqliteStore.open(tmp_path / "old.db", SystemClock())
    done = await execute(
        "migrate-store", "--to", f"sqlite:///{tmp_path}/new.db", "--config", configured(tmp_path, old)
    )
    await store.close()
    assert done.code == 78
    assert "another killsyncd" in done.err


async def test_a_database_with_something_in_it_is_refused(tmp_path: Path, old: str) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as rows:
        rows.execute("CREATE TABLE invoices (id INTEGER)")
    done = await execute("migrate-store", "--to", f"sqlite:///{other}", "--config", configured(tmp_path, old))
    assert done.code == 78
    assert "invoices" in done.err


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("mysql://localhost/x", "is no database"),
        ("sqlite:relative.db", "is no database"),
        ("postgresql://u:s3cret@localhost/x", "password"),
        ("OLD", "in use"),
    ],
)
async def test_what_makes_no_sense_is_said_so(tmp_path: Path, old: str, to: str, said: str) -> None:
    target = old if to == "OLD" else to
    done = await execute("migrate-store", "--to", target, "--config", configured(tmp_path, old))
    assert done.code == 2
    assert said in done.err
    assert "s3cret" not in done.err


async def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path, old: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    done = await execute(
        "migrate-store",
        "--to",
        "postgresql://u@localhost/x",
        "--password-file",
        str(secret),
        "--config",
        configured(tmp_path, old),
    )
    assert done.code == 2
    assert "0644" in done.err
