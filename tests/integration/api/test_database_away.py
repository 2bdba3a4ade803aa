"""The API while PostgreSQL takes connections and answers nothing, or is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from killsyncd.api.graphql.limits import Limits
from killsyncd.service import status as reporting
from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from tests.contract.test_postgres import through
from tests.integration.api.conftest import Start
from tests.support.proxy import Proxy
from tests.support.server_urls import create_database, drop_database

pytestmark = pytest.mark.postgres

STATUS = "status { syncing feedCursor version problems { code reason remedy stops } budgets { group } }"


@pytest.fixture
async def database() -> AsyncIterator[str]:
    url = await create_database()
    yield url
    await drop_database(url)


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    parts = urlsplit(database)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as between:
        yield between


@pytest.fixture
async def store(database: str, proxy: Proxy) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(through(database, proxy.port), connections=5)
    await migrate(store)
    yield store
    proxy.thaw()
    await store.close()


def test_a_status_gives_up_on_the_database_before_a_query_gives_up_on_the_status() -> None:
    assert Limits().seconds > reporting.DATABASE_SECONDS


@pytest.mark.parametrize("how", ["silent", "gone"])
async def test_the_status_answers_without_the_database_s_part(
    start: Start, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    api, hurried = await start(), await start(limits=Limits(seconds=1.0))
    assert (await api.ask(f"{{ {STATUS} }}"))["status"]["problems"][0]["code"] == "nobody_logged_in"
    monkeypatch.setattr(reporting, "DATABASE_SECONDS", 0.3)
    if how == "silent":
        proxy.freeze()
    else:
        await proxy.down()
    status = (await api.ask(f"{{ {STATUS} workerStatus {{ messageCount }} }}"))["status"]
    assert not status["syncing"]
    (problem,) = (each for each in status["problems"] if each["code"] == "database_failing")
    assert problem["stops"]
    assert "no answer" in problem["reason"] or "does not answer" in problem["reason"]
    # What the dashboard asks first needs the pilots, too: refused soon enough to ask for the status alone.
    error = await hurried.refused(f"{{ {STATUS} users {{ id }} }}")
    assert error["extensions"]["code"] in ("TOO_EXPENSIVE", "UNAVAILABLE")
    error = await hurried.refused("{ killmails { edges { node { id } } } }")
    assert error["extensions"]["code"] in ("TOO_EXPENSIVE", "UNAVAILABLE")
    assert (await api.ask("{ __typename }")) == {"__typename": "Query"}
    proxy.thaw()
    await proxy.up()
