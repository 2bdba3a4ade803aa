"""PostgreSQL behind failovers, networks that swallow everything, and poolers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from killsyncd.cli import checking
from killsyncd.config import from_mapping
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import Refused, Unavailable
from killsyncd.core.events import Events
from killsyncd.service import status as reporting
from killsyncd.service.health import Health
from killsyncd.service.operations import Operations
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.status import OperationsSettings
from killsyncd.storage.postgres import listen as listener
from killsyncd.storage.postgres import silence
from killsyncd.storage.postgres import store as driver
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.ledger import LedgerRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.repositories.sync_requests import SyncRequests
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Postgres
from tests.contract.test_postgres import add, through
from tests.contract.test_stores import get, put
from tests.support.pooler import pgbouncer
from tests.support.proxy import Proxy

pytestmark = pytest.mark.postgres


@pytest.fixture
async def proxy(shared: Postgres) -> AsyncIterator[Proxy]:
    parts = urlsplit(shared.url)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as found:
        yield found


@pytest.fixture
async def proxied(shared: Postgres, proxy: Proxy) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(through(shared.url, proxy.port), connections=3)
    yield store
    proxy.thaw()
    await store.close()


async def demoted(store: PostgresStore, sessions: int = 3) -> None:
    """Every session of a store is on a server that only reads from now on; new ones are on the primary."""
    async with store._pool.borrow() as one, store._pool.borrow() as two, store._pool.borrow() as three:
        for each in (one, two, three)[:sessions]:
            await each.execute("SET default_transaction_read_only = on")


async def test_sessions_on_a_server_that_only_reads_are_let_go(proxied: PostgresStore, proxy: Proxy) -> None:
    await demoted(proxied)
    before = proxy.accepted
    async with asyncio.timeout(20):
        assert await proxied.write(add, "n") == 1
    assert proxied.trouble is None
    assert proxy.accepted == before + 1, "one is enough, and none of the old ones was asked again"
    assert await proxied.read(get, "n") == "1"


async def test_sessions_that_are_lent_out_meanwhile_are_let_go_when_they_come_back(
    proxied: PostgresStore,
) -> None:
    await demoted(proxied)
    async with proxied._pool.borrow() as lent:
        assert await proxied.write(add, "n") == 1
    assert lent.is_closed()


async def test_who_listens_leaves_a_server_that_only_reads(
    shared: Postgres, proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(listener, "_READS_ONLY", "SELECT true")
    heard = asyncio.Event()
    async with proxied.listen(lambda channel: heard.set()):
        before = proxy.accepted
        await asyncio.wait_for(heard.wait(), 20)  # after a reconnect everybody is told to look
        assert proxy.accepted > before


async def test_a_database_that_goes_silent_holds_no_reader(
    proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "READ_DEADLINE", 0.3)
    await proxied.write(add, "n")
    proxy.freeze()
    async with asyncio.timeout(20):
        for _ in range(4):  # with sessions that were there, and with new ones
            with pytest.raises(Unavailable, match="nothing came in"):
                await proxied.read(get, "n")
    proxy.thaw()
    monkeypatch.setattr(driver, "READ_DEADLINE", 25.0)
    assert await proxied.read(get, "n") == "1"


async def test_a_write_waits_for_a_server_that_works_and_not_for_one_that_is_silent(
    proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent: it takes connections and answers nothing, for two and a half minutes a statement."""
    monkeypatch.setattr(silence, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 5.0)

    def slow() -> Tx[None]:
        yield from put("slow", "1")
        yield Sql("SELECT pg_sleep(1)", {})

    await proxied.write(slow)
    assert await proxied.read(get, "slow") == "1", "asked meanwhile, the server answered"
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(driver, "WRITE_PATIENCE", 0.0)
    proxy.freeze()
    with pytest.raises(Unavailable) as caught:
        await proxied.write(add, "n")
    assert "is PostgreSQL running" in caught.value.hint
    proxy.thaw()
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(driver, "WRITE_PATIENCE", 45.0)
    assert await proxied.write(add, "n") == 1


async def test_status_answers_without_a_silent_database_and_says_so(
    proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "DATABASE_SECONDS", 0.3)
    clock = SystemClock()
    wants = SyncRequests(proxied, "queue", "holder")
    operations = Operations(
        OperationsStorage(
            rows=StatusRepository(proxied),
            users=UserRepository(proxied),
            sources=SourceRepository(proxied),
            ledger=LedgerRepository(proxied, "holder"),
            names=NameRepository(proxied),
            queue=wants,
        ),
        OperationsSettings(skip_within=900.0, producer_enabled=True, version="1.2.3", started_at=clock.now()),
        Events(),
        Health(clock),
        clock,
    )
    proxy.freeze()
    async with asyncio.timeout(20):
        report = await operations.status()
    assert [each.code for each in report.problems] == ["database_failing"]
    assert "gave no answer" in report.problems[0].reason
    assert report.problems[0].remedy
    assert not report.syncing
    proxy.thaw()


def configured(url: str, folder: Path) -> object:
    return from_mapping(
        {
            "sso": {"client_id": "abc"},
            "esi": {"contact": "tests@killsyncd.invalid"},
            "database": {"url": url},
            "security": {"key_file": f"{folder}/killsyncd.key"},
        },
        source="the test's own",
    )


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_check_tells_a_pooler_in_transaction_mode(shared: Postgres, tmp_path: Path, mode: str) -> None:
    (tmp_path / "pooler").mkdir()
    with pgbouncer(tmp_path / "pooler", shared.url, mode) as url:
        found = await checking.database(configured(url, tmp_path))  # type: ignore[arg-type]
    if mode == "session":
        assert found.status == "ok", found
    else:
        assert found.status == "fail"
        assert "PgBouncer" in found.message
        assert "lead to PostgreSQL itself" in found.remedy


async def test_a_pooler_that_refuses_our_settings_is_named(shared: Postgres, tmp_path: Path) -> None:
    (tmp_path / "pooler").mkdir()
    with (
        pgbouncer(tmp_path / "pooler", shared.url, "transaction", lenient=False) as url,
        pytest.raises(Refused, match="pooler") as refusal,
    ):
        await PostgresStore.open(url)
    assert "lead to PostgreSQL itself" in refusal.value.hint
