"""PostgreSQL: a bounded pool, one transaction a connection at a time, several daemons.

A transaction that loses its connection, a race (serialization failure, deadlock,
the same key inserted twice) or its lock is run again from its start. When the
connection breaks while COMMIT is under way nobody knows at first whether it
happened: the last statement before COMMIT leaves a token in the connection's row
of `outcomes`, and reading that row afterwards answers it. Only where the
database stays away for minutes is the caller told that it is not known
(`OutcomeUnknown`); transactions are idempotent, so asking again is right then.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar
from urllib.parse import urlsplit

import asyncpg

from killsyncd.config.secret import Secret
from killsyncd.core.errors import Refused, RowRefused, Unavailable
from killsyncd.storage.postgres.driver import DIALECT, Steps
from killsyncd.storage.postgres.errors import (
    DRIVER_ERRORS,
    is_lost,
    is_passing,
    is_race,
    is_read_only,
    translated,
)
from killsyncd.storage.postgres.listen import listening, say
from killsyncd.storage.postgres.outcomes import happened, leave_token, ready
from killsyncd.storage.postgres.pool import Pool, Session, keep_alive
from killsyncd.storage.postgres.silence import cut_where_silent
from killsyncd.storage.transaction import TransactionCounts, Tx

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 10
OLDEST_SERVER = 13
"""pg_current_xact_id_if_assigned came with it."""

RACES = 20
"""A transaction that loses races, each with another daemon, is run so often."""

WRITE_PATIENCE = 45.0
"""Seconds for which a write waits for a database that is away. Longer than a lease lives
(`daemons.LEASE_SECONDS`): what could not be given back has fallen by itself once a write gives up."""

READ_PATIENCE = 5.0
CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 150.0
"""Longest wait for one answer of a server that answers others; see `silence` for one that answers nobody."""

READ_SECONDS = 15.0
READ_DEADLINE = 25.0
"""Longest time for a whole reading transaction, waiting and trying again included."""

UNDO_SECONDS = {True: 5.0, False: 1.0}
"""How long a ROLLBACK may take, for writing and for reading transactions, before the session is cut."""

_SESSION = {
    "application_name": "killsyncd",
    "timezone": "UTC",
    # Compiling takes longer than any statement of ours.
    "jit": "off",
    "lock_timeout": "20s",
    "statement_timeout": "120s",
    # A daemon that hangs, or whose machine lost its network, must not keep the feed's row locked.
    "idle_in_transaction_session_timeout": "30s",
}
_MIGRATIONS_LOCK = 0x6B696C6C  # "kill": one number for every killsyncd on a server, one lock a database


class _TryAgain(Exception):
    """The transaction did not happen, for a reason that may be gone next time.

    races: how often that may happen; None where it is a matter of time, not of luck.
    """

    def __init__(self, error: BaseException, races: int | None = None) -> None:
        super().__init__()
        self.error = error
        self.races = races


class PostgresStore:
    """A store in a PostgreSQL database that several daemons share. The schema is `migrate`'s."""

    dialect = DIALECT
    exclusive = False
    stuck = False  # a lock that lasts is ended by the server, as an error

    def __init__(self, connect: Callable[[], Awaitable[Any]], connections: int, where: str) -> None:
        self._connect = connect
        self._pool = Pool(connect, connections)
        self._where = where
        self._steps = Steps()
        self._instance = secrets.token_hex(6)
        self._begin_read = ""
        self._hurried = False
        self.trouble: str | None = None
        self.counts = TransactionCounts()

    @classmethod
    async def open(
        cls,
        url: str,
        password: Secret | None = None,
        *,
        connections: int = CONNECTIONS,
        read_seconds: float = READ_SECONDS,
    ) -> PostgresStore:
        """Connect to the database at url.

        password: apart from the url, so that neither logs nor errors can show it.
        connections: at most so many at once, besides one that listens.
        read_seconds: a reading statement that takes longer is ended.
        Raises Refused (user, password, database, rights, version), Unavailable (nobody answers).
        """
        where = label(url)
        options: dict[str, Any] = {
            "dsn": url,
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
            "server_settings": _SESSION,
            "statement_cache_size": 512,
            "connection_class": Session,
        }
        if password is not None:
            options["password"] = password.reveal()

        async def connect() -> Any:
            connection = await asyncpg.connect(**options)
            await keep_alive(connection)
            return connection

        store = cls(connect, connections, where)
        store._begin_read = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
            f" SET LOCAL statement_timeout = {int(read_seconds * 1000)};"
            # After five times a plan is made for whatever values: one corporation is on ten killmails, the
            # next on a million, and what is right for the one takes seconds for the other.
            " SET LOCAL plan_cache_mode = force_custom_plan"
        )
        try:
            async with store._pool.borrow() as connection:
                version = connection.get_server_version()
        except (ValueError, *DRIVER_ERRORS) as error:
            raise translated(error, where, starting=True) from error
        if version.major < OLDEST_SERVER:
            await store.close()
            raise Refused(
                f"{where} runs PostgreSQL {version.major}", f"killsyncd needs {OLDEST_SERVER} or newer"
            )
        return store

    async def write(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction that may write, as often as races and lost connections ask for.

        A caller that is cancelled before COMMIT undoes it; during COMMIT it still ends one way
        or the other. Raises RowRefused, Unavailable, SchemaRefused.
        """
        self.counts.writes += 1
        try:
            return await self._persist(lambda: tx(*args, **kwargs), True)
        except Unavailable as error:
            self.trouble = error.message
            raise

    async def read(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading transaction on one snapshot; cancelling it ends its statement on the server.

        Raises Unavailable, READ_DEADLINE after the call at the latest: a server that takes connections
        and answers nothing must not hold whoever asks.
        """
        self.counts.reads += 1
        try:
            async with asyncio.timeout(READ_DEADLINE):
                return await self._persist(lambda: tx(*args, **kwargs), False)
        except TimeoutError:
            raise Unavailable(
                f"the database does not answer: {self._where}: nothing came in {READ_DEADLINE:.0f} s",
                "is PostgreSQL running, and reachable from here?",
            ) from None

    def listen(self, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Hear of other daemons' commits. After every reconnect all channels are called: look."""
        return listening(self._connect, self._instance, self._where, callback)

    async def notify(self, channel: str) -> None:
        """Tell the other daemons that something changed. If that gets lost they find it later."""
        try:
            async with self._borrowed() as connection:
                await say(connection, self._instance, channel)
        except Unavailable:
            pass

    async def script(self, statements: Sequence[str]) -> None:
        """Run statements as one transaction; for migrations alone."""
        async with self._borrowed() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            for statement in statements:
                await connection.execute(statement, timeout=None)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep every other migrator of this database out meanwhile; waits for the one at work."""
        try:
            connection = await self._connect()
        except Exception as error:
            raise translated(error, self._where) from error
        try:
            await connection.execute(
                "SET lock_timeout = 0; SET statement_timeout = 0;"
                f" SELECT pg_advisory_lock({_MIGRATIONS_LOCK})",
                timeout=600.0,
            )
            yield None
        except DRIVER_ERRORS as error:
            raise translated(error, self._where) from error
        finally:
            # The lock goes with its connection, whichever way this ends.
            connection.terminate()

    async def shares_sessions(self) -> bool:
        """Whether a pooler gives one session of the server to several of our connections by turns.

        Two connections are open at once; where both find themselves in the same process of the server,
        nothing that belongs to a session (LISTEN, locks, settings) is theirs. Raises Unavailable.
        """
        ask = "SELECT pg_backend_pid()"
        async with self._borrowed() as one, self._borrowed() as other:
            found = {await each.fetchval(ask) for each in (one, other) for _ in range(3)}
        return len(found) == 1

    def hurry(self) -> None:
        """The daemon is stopping: from now on no transaction waits for a database that does not answer."""
        self._hurried = True

    async def close(self) -> None:
        """Give every connection back; those still at work are cut off. Safe to call twice."""
        await self._pool.close()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        """A connection for statements outside of the generators, errors translated."""
        try:
            async with self._pool.borrow() as connection:
                yield connection
        except DRIVER_ERRORS as error:
            raise translated(error, self._where) from error

    async def _persist(self, make: Callable[[], Tx[T]], writes: bool) -> T:
        # Real time, not the clock that is passed in: this is between two sockets.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (WRITE_PATIENCE if writes else READ_PATIENCE)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(make(), writes)
            except _TryAgain as again:
                if self._pool.closed:
                    raise Unavailable("the database is closed", "the daemon is stopping") from again.error
                late = self._hurried or loop.time() >= deadline
                if late if again.races is None else attempt >= again.races:
                    raise translated(again.error, self._where) from again.error
            await asyncio.sleep(random.uniform(0.0, min(1.0, 0.01 * 2.0**attempt)))

    async def _once(self, tx: Tx[T], writes: bool) -> T:
        try:
            async with self._pool.borrow() as connection:
                return await self._transaction(connection, tx, writes)
        except DRIVER_ERRORS as error:  # of connecting; the transaction's own are judged already
            self._raise_judged(error)
        finally:
            tx.close()

    async def _transaction(self, connection: Any, tx: Tx[T], writes: bool) -> T:
        token = None
        try:
            async with self._unless_silent(connection):
                if writes:
                    await ready(connection)
                await connection.execute("BEGIN" if writes else self._begin_read)
                result = await self._steps.drive(connection, tx)
                if writes:
                    token = await leave_token(connection)
        except BaseException as error:
            if is_read_only(error):
                self._pool.leave_server()  # ours comes back to the pool, too
            else:
                await _undo(connection, UNDO_SECONDS[writes])
            self._raise_judged(error)
        if await self._commit(connection, token):
            if token is not None:  # what changes nothing works on a full disk, too
                self.trouble = None
            return result
        raise _TryAgain(ConnectionError("the connection broke at COMMIT; nothing was written"))

    async def _commit(self, connection: Any, token: str | None) -> bool:
        """COMMIT; answers whether it happened, also where the connection breaks under it."""
        committing = asyncio.ensure_future(connection.execute("COMMIT"))
        try:
            async with self._unless_silent(connection):
                said = await asyncio.shield(committing)
        except asyncio.CancelledError:
            # COMMIT may be on its way: let it end, so that the connection can be used again.
            await asyncio.wait([committing], timeout=COMMAND_SECONDS)
            if committing.done() and not committing.cancelled():
                committing.exception()
            raise
        except Exception as error:
            if not is_lost(error):
                self._raise_judged(error)
            connection.terminate()
            # Without a token nothing was written, so there is nothing to be in doubt about.
            return token is None or await self._happened(connection.slot.name, token)
        if said != "COMMIT":
            raise RuntimeError("a transaction swallowed a refusal outside of a savepoint")
        return True

    def _unless_silent(self, connection: Any) -> AbstractAsyncContextManager[None]:
        """Wait in the block for as long as the server answers anybody."""
        return cut_where_silent(connection, self._connect, self._pool.leave_server)

    async def _happened(self, slot: str, token: str) -> bool:
        def hopeless() -> bool:
            return self._pool.closed or self._hurried

        return await happened(self._connect, slot, token, self._where, hopeless)

    def _raise_judged(self, error: BaseException) -> NoReturn:
        """Raise what an error before COMMIT means: to try again, or ours."""
        if isinstance(error, RowRefused) and isinstance(error.__cause__, asyncpg.UniqueViolationError):
            # The row was not there when it was looked for, and another daemon inserted it first.
            raise _TryAgain(error, races=3) from error
        if not isinstance(error, DRIVER_ERRORS):
            raise error
        if isinstance(error, asyncpg.InFailedSQLTransactionError):
            raise RuntimeError("a transaction swallowed a refusal outside of a savepoint") from error
        if is_race(error):
            raise _TryAgain(error, RACES) from error
        if is_passing(error):
            raise _TryAgain(error) from error
        raise translated(error, self._where) from error


def label(url: str) -> str:
    """A database's address for people: without user, password and options."""
    parts = urlsplit(url)
    host = parts.hostname or "local socket"
    return f"postgresql://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


async def _undo(connection: Any, seconds: float) -> None:
    """Roll back, or cut the connection, at which the server rolls back by itself."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(seconds):
            await connection.execute("ROLLBACK")
    except BaseException as error:
        connection.terminate()
        if not isinstance(error, DRIVER_ERRORS):
            raise
