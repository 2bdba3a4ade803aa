"""What only PostgreSQL does: connections that break, races, other daemons, servers that refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from killsyncd.config.secret import Secret
from killsyncd.core.errors import Unavailable
from killsyncd.storage.postgres import listen as listener
from killsyncd.storage.postgres import outcomes
from killsyncd.storage.postgres import store as driver
from killsyncd.storage.postgres.errors import OutcomeUnknown
from killsyncd.storage.postgres.store import PostgresStore, label
from killsyncd.storage.transaction import RowRefused, Run, Sql, Tx
from tests.contract.conftest import Postgres
from tests.contract.test_stores import get, put
from tests.support.postgres_faults import backends, kill
from tests.support.proxy import Proxy
from tests.support.storage_world import StorageWorld

pytestmark = pytest.mark.postgres


def through(url: str, port: int) -> str:
    """The same database by way of a proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}@127.0.0.1:{port}"))


@pytest.fixture
async def proxy(shared: Postgres) -> AsyncIterator[Proxy]:
    parts = urlsplit(shared.url)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as found:
        yield found


@pytest.fixture
async def direct(shared: Postgres) -> PostgresStore:
    store = await shared.open()
    assert isinstance(store, PostgresStore)
    return store


@pytest.fixture
async def proxied(shared: Postgres, proxy: Proxy) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(through(shared.url, proxy.port), connections=3)
    yield store
    proxy.to_server = proxy.to_client = lambda data: data
    proxy.thaw()
    await store.close()


def add(key: str) -> Tx[int]:
    """Not idempotent on purpose: it shows how often it happened."""
    yield Run("meta.put_new", {"key": key, "value": "0"})
    rows = yield Sql(
        "UPDATE meta SET value = CAST(CAST(value AS int) + 1 AS text) WHERE key = :key RETURNING value",
        {"key": key},
    )
    return int(rows[0][0])


class TestBrokenConnections:
    async def test_a_server_that_dropped_everybody_is_not_noticed(
        self, shared: Postgres, direct: PostgresStore
    ) -> None:
        assert await direct.write(add, "n") == 1
        other = await PostgresStore.open(shared.url)
        assert await kill(other) >= 1
        await other.close()
        assert await direct.write(add, "n") == 2
        assert await direct.read(get, "n") == "2"

    async def test_one_that_breaks_in_the_middle_runs_the_transaction_again(
        self, direct: PostgresStore, proxied: PostgresStore, proxy: Proxy
    ) -> None:
        runs = 0

        def breaking() -> Tx[int]:
            nonlocal runs
            runs += 1
            yield from add("n")
            if runs == 1:
                asyncio.get_running_loop().create_task(proxy.cut())
            yield Sql("SELECT pg_sleep(0.05)", {})
            return (yield from add("n"))

        assert await proxied.write(breaking) == 2
        assert runs == 2
        assert await direct.read(get, "n") == "2"

    @pytest.mark.parametrize("arrives", [True, False])
    async def test_one_that_breaks_at_commit_is_resolved(
        self, direct: PostgresStore, proxied: PostgresStore, proxy: Proxy, arrives: bool
    ) -> None:
        """COMMIT reaches the server and its answer gets lost, or COMMIT itself gets lost."""
        await proxied.write(add, "n")
        broken = 0

        def watch(data: bytes) -> bytes | None:
            nonlocal broken
            if b"COMMIT\x00" not in data or broken:
                return data
            broken += 1
            if not arrives:
                return None
            proxy.to_client = swallow
            return data

        def swallow(data: bytes) -> bytes | None:
            proxy.to_client = lambda each: each
            return None

        proxy.to_server = watch
        assert await proxied.write(add, "n") == 2
        assert broken == 1
        assert await direct.read(get, "n") == "2"

    async def test_a_commit_that_cannot_be_resolved_says_so(
        self, proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await proxied.write(add, "n")
        monkeypatch.setattr(outcomes, "RESOLVE_SECONDS", 0.0)
        gone = asyncio.Event()

        def watch(data: bytes) -> bytes | None:
            if b"COMMIT\x00" not in data:
                return data
            asyncio.get_running_loop().create_task(proxy.down()).add_done_callback(lambda _: gone.set())
            return None

        proxy.to_server = watch
        with pytest.raises(OutcomeUnknown, match="not known"):
            await proxied.write(add, "n")
        await gone.wait()
        proxy.to_server = lambda data: data
        await proxy.up()
        assert await proxied.write(add, "n") == 2

    async def test_a_reading_one_that_wrote_nothing_is_in_no_doubt(
        self, proxied: PostgresStore, proxy: Proxy
    ) -> None:
        await proxied.write(add, "n")
        proxy.to_server = lambda data: None if b"COMMIT\x00" in data else data
        assert await proxied.write(get, "n") == "1"
        assert await proxied.read(get, "n") == "1"

    async def test_a_write_waits_for_a_server_that_restarts(
        self, proxied: PostgresStore, proxy: Proxy
    ) -> None:
        await proxied.write(add, "n")
        await proxy.down()
        writing = asyncio.create_task(proxied.write(add, "n"))
        await asyncio.sleep(0.2)
        assert not writing.done()
        await proxy.up()
        assert await writing == 2

    async def test_a_server_that_stays_away_is_unavailable(
        self, proxied: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "WRITE_PATIENCE", 0.0)
        monkeypatch.setattr(driver, "READ_PATIENCE", 0.0)
        await proxy.down()
        for doing in (proxied.read(get, "n"), proxied.write(add, "n")):
            with pytest.raises(Unavailable) as caught:
                await doing
            assert "127.0.0.1" in caught.value.message
            assert caught.value.hint
        await proxied.notify("feed")
        await proxy.up()
        assert await proxied.write(add, "n") == 1

    async def test_one_that_falls_silent_is_given_up(
        self, shared: Postgres, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "COMMAND_SECONDS", 0.3)
        monkeypatch.setattr(driver, "CONNECT_SECONDS", 0.3)
        monkeypatch.setattr(driver, "WRITE_PATIENCE", 0.0)
        store = await PostgresStore.open(through(shared.url, proxy.port), connections=1)
        await store.write(add, "n")
        proxy.freeze()
        with pytest.raises(Unavailable, match="no answer in time"):
            await store.write(add, "n")
        proxy.thaw()
        monkeypatch.setattr(driver, "WRITE_PATIENCE", 45.0)
        assert await store.write(add, "n") >= 2
        await store.close()

    async def test_cancelled_at_commit_it_ends_one_way_or_the_other(
        self, direct: PostgresStore, proxied: PostgresStore, proxy: Proxy
    ) -> None:
        await proxied.write(add, "n")
        sent = asyncio.Event()

        def watch(data: bytes) -> bytes:
            if b"COMMIT\x00" in data:
                proxy.freeze()
                sent.set()
            return data

        proxy.to_server = watch
        writing = asyncio.create_task(proxied.write(add, "n"))
        await sent.wait()
        writing.cancel()
        await asyncio.sleep(0)
        proxy.to_server = lambda data: data
        proxy.thaw()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await direct.read(get, "n") == "2"
        assert await proxied.write(add, "n") == 3


class TestRaces:
    async def test_a_deadlock_is_run_again(self, direct: PostgresStore) -> None:
        first, second = asyncio.Event(), asyncio.Event()
        await direct.write(put, "a", "0")
        await direct.write(put, "b", "0")

        def crossing(mine: str, others: str, here: asyncio.Event) -> Tx[None]:
            yield from put(mine, "1")
            here.set()
            yield Sql("SELECT pg_sleep(0.1)", {})
            yield from put(others, "1")

        await asyncio.gather(
            direct.write(crossing, "a", "b", first), direct.write(crossing, "b", "a", second)
        )
        assert (await direct.read(get, "a"), await direct.read(get, "b")) == ("1", "1")

    async def test_looking_and_inserting_at_once_is_run_again(self, direct: PostgresStore) -> None:
        def look_and_insert() -> Tx[bool]:
            found = yield Run("meta.get", {"key": "n"})
            yield Sql("SELECT pg_sleep(0.05)", {})
            if not found:
                yield Sql("INSERT INTO meta (key, value) VALUES ('n', '1')", {})
            return bool(found)

        found = await asyncio.gather(*(direct.write(look_and_insert) for _ in range(4)))
        assert sorted(found) == [False, True, True, True]

    async def test_a_key_that_is_taken_for_good_is_refused(self, direct: PostgresStore) -> None:
        await direct.write(put, "n", "1")

        def insert() -> Tx[None]:
            yield Sql("INSERT INTO meta (key, value) VALUES ('n', '1')", {})

        with pytest.raises(RowRefused):
            await direct.write(insert)

    async def test_trouble_is_over_when_something_was_written_and_not_before(
        self, direct: PostgresStore
    ) -> None:
        direct.trouble = "the disk is full"
        await direct.write(get, "a")
        assert direct.trouble == "the disk is full", "a look works on a full disk, too"
        await direct.write(put, "a", "1")
        assert direct.trouble is None

    async def test_a_failure_that_was_swallowed_does_not_pass_for_a_commit(
        self, direct: PostgresStore
    ) -> None:
        def careless() -> Tx[None]:
            yield from put("a", "1")
            try:
                yield from put("b", None)
            except RowRefused:
                return

        with pytest.raises(RuntimeError, match="savepoint"):
            await direct.write(careless)
        assert await direct.read(get, "a") is None

    async def test_who_was_taken_for_dead_hears_of_it(self, worlds: list[StorageWorld]) -> None:
        one, two = worlds
        pilot = await one.pilot(1)
        await one.want(pilot)

        def sweep() -> Tx[None]:
            yield Run("meta.daemon_leave", {"id": one.holder})

        await two.store.write(sweep)
        with pytest.raises(Unavailable, match="lease has ended"):
            await one.wants.claim()
        assert not await one.member.beat()
        assert await one.wants.claim() is not None


class TestListening:
    async def test_others_are_heard_and_oneself_is_not(self, shared: Postgres) -> None:
        one, two = await shared.open(), await shared.open()
        heard: list[str] = []
        last = asyncio.Event()

        def hear(channel: str) -> None:
            heard.append(channel)
            if channel == "end":
                last.set()

        async with one.listen(hear):
            await one.notify("wants")
            await two.notify("feed")
            await two.notify("end")
            await last.wait()
        assert heard == ["feed", "end"]

    async def test_after_a_broken_connection_everybody_is_told_to_look(
        self, proxied: PostgresStore, direct: PostgresStore, proxy: Proxy
    ) -> None:
        heard: list[str] = []
        everything, again = asyncio.Event(), asyncio.Event()

        def hear(channel: str) -> None:
            heard.append(channel)
            if set(heard) >= set(listener.CHANNELS):
                everything.set()
            if channel == "end":
                again.set()

        async with proxied.listen(hear):
            await proxy.cut()
            await everything.wait()
            await direct.notify("end")
            await again.wait()

    async def test_a_silent_connection_is_replaced(
        self, shared: Postgres, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listener, "PROBE_SECONDS", 0.1)
        monkeypatch.setattr(listener, "PROBE_ANSWER_SECONDS", 0.1)
        store = await PostgresStore.open(through(shared.url, proxy.port))
        told = asyncio.Event()
        async with store.listen(lambda channel: told.set()):
            proxy.freeze()
            await asyncio.sleep(0.5)
            proxy.thaw()
            await told.wait()
        await store.close()

    async def test_a_server_that_is_away_holds_nobody_up(self, proxied: PostgresStore, proxy: Proxy) -> None:
        await proxy.down()
        told = asyncio.Event()
        async with proxied.listen(lambda channel: told.set()):
            await proxy.up()
            await told.wait()


class TestRefusals:
    async def test_no_such_database(self, shared: Postgres) -> None:
        with pytest.raises(Unavailable, match="does not exist") as caught:
            await PostgresStore.open(urlunsplit(urlsplit(shared.url)._replace(path="/no_such_database")))
        assert "createdb" in caught.value.hint

    async def test_no_such_user(self, shared: Postgres) -> None:
        parts = urlsplit(shared.url)
        url = urlunsplit(parts._replace(netloc=f"no_such_user@{parts.hostname}:{parts.port}"))
        with pytest.raises(Unavailable, match="no_such_user"):
            await PostgresStore.open(url, Secret("s3cret-word"))

    async def test_nobody_there(self, proxy: Proxy, shared: Postgres) -> None:
        url = through(shared.url, proxy.port)
        await proxy.down()
        with pytest.raises(Unavailable) as caught:
            await PostgresStore.open(url, Secret("s3cret-word"))
        assert "s3cret" not in str(caught.value)

    async def test_addresses_are_shown_without_user_and_password(self) -> None:
        assert label("postgresql://u:p@db.example:5433/k?sslmode=require") == "postgresql://db.example:5433/k"
        assert label("postgresql:///k") == "postgresql://local socket/k"

    async def test_a_read_that_takes_too_long_is_ended(self, shared: Postgres) -> None:
        store = await PostgresStore.open(shared.url, read_seconds=0.05)

        def slow() -> Tx[None]:
            yield Sql("SELECT pg_sleep(60)", {})

        with pytest.raises(Unavailable) as caught:
            await store.read(slow)
        assert "less at once" in caught.value.hint
        assert await backends(store, "pg_sleep(60)") == []
        await store.close()

    async def test_every_connection_is_given_back(self, direct: PostgresStore) -> None:
        """More transactions than connections, of every ending."""

        def ending(how: int) -> Tx[None]:
            yield from put("a", "1")
            if how % 3 == 1:
                yield from put("b", None)
            if how % 3 == 2:
                raise KeyError("mine")

        ends = await asyncio.gather(*(direct.write(ending, n) for n in range(60)), return_exceptions=True)
        assert [type(each) for each in ends[:3]] == [type(None), RowRefused, KeyError]
        assert await direct.read(get, "a") == "1"
