"""`killsyncd check`: what it looks at, and that `run` refuses nothing which it lets pass."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from killsyncd.auth.encryption import Vault
from killsyncd.cli import check_start
from killsyncd.config import from_mapping
from killsyncd.core.clock import SystemClock
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.command_line import configured, founded, mails
from tests.support.control_world import ControlWorld, control_world, execute


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


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
