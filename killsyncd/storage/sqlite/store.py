"""SQLite: one writing connection, a few reading ones, one file, one daemon.

SQLite before 3.51.3 can corrupt a WAL when two connections write or checkpoint
at once, so exactly one connection writes and the readers are opened read-only.
Every transaction is one hop into its connection's thread.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import math
import os
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

import aiosqlite

from killsyncd.config.ownership import as_somebody_else, group_name
from killsyncd.core.clock import Clock
from killsyncd.core.errors import AlreadyRunning, KillsyncdError, Refused, Unavailable
from killsyncd.core.tasks import while_others_are_served
from killsyncd.storage.sqlite.driver import DIALECT, drive, teach_binding
from killsyncd.storage.sqlite.errors import translated
from killsyncd.storage.transaction import RowRefused, TransactionCounts, Tx

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2

SLOW_WRITE = 5.0
"""Seconds after which a write that waits is told as trouble; SQLite itself gives up much later."""


class _SqliteConnection(aiosqlite.Connection):
    """aiosqlite, and a way to run a whole function in its thread at once."""

    async def hop(self, function: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]
        return result


class SqliteStore:
    """A store in one file. `open` makes the file; the schema is `migrate`'s."""

    dialect = DIALECT
    exclusive = True

    def __init__(
        self,
        path: Path,
        lock: IO[str] | None,
        writer: _SqliteConnection,
        readers: Sequence[_SqliteConnection],
    ) -> None:
        self.path = path
        self._lock = lock
        self._writer = writer
        self._readers = list(readers)
        self._free: asyncio.Queue[_SqliteConnection] = asyncio.Queue()
        for reader in readers:
            self._free.put_nowait(reader)
        self._closed = False
        self._worked = False
        self._trouble: str | None = None
        self._identity = _identity(path)
        self._writing: dict[object, float] = {}
        self.stuck = False
        self.counts = TransactionCounts()

    @classmethod
    async def open(
        cls, path: Path, clock: Clock, *, locked: bool = True, readers: int = READERS
    ) -> SqliteStore:
        """Open, or make, the database at path.

        locked: hold the file's lock for as long as the store is open.
        Raises AlreadyRunning where another process holds the lock, Refused where
        the folder cannot be written, SchemaRefused where the file is no database.
        """
        lock = take_lock(path) if locked else None
        opened: list[_SqliteConnection] = []
        try:
            writer = await _connect(path, clock, writable=True)
            opened.append(writer)
            for _ in range(readers):
                opened.append(await _connect(path, clock, writable=False))
        except BaseException:
            for connection in opened:
                await connection.close()
            _drop_lock(lock)
            raise
        return cls(path, lock, writer, opened[1:])

    async def write(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction in the writer's thread: it commits whole or not at all.

        A caller that is cancelled stops waiting; the transaction still ends one way or the other.
        """

        self.counts.writes += 1

        def run(connection: sqlite3.Connection) -> tuple[T, bool]:
            before = connection.total_changes
            return drive(connection, tx(*args, **kwargs), True), connection.total_changes != before

        call = object()
        self._writing[call] = time.monotonic()
        try:
            result, changed = await self._hop(self._writer, run)
        except Unavailable as error:
            self._trouble = error.message
            self.stuck = isinstance(error.__cause__, sqlite3.Error) and "locked" in str(error.__cause__)
            raise
        finally:
            del self._writing[call]
        if changed or self.stuck:  # what changes nothing works on a full disk, too
            self._trouble, self.stuck = None, False
        return result

    @property
    def trouble(self) -> str | None:
        """What the last write ran into, until one goes through; or that our file is not there any more."""
        if _identity(self.path) != self._identity:
            return (
                f"{self.path} was removed or replaced while it was in use: what is stored now is lost "
                "with the next stop, unless killsyncd backup --output FILE saves it first"
            )
        waits = time.monotonic() - next(iter(self._writing.values()), math.inf)
        if self._trouble is None and waits >= SLOW_WRITE:
            return (
                f"a write has waited for {waits:.0f} s: another program holds {self.path}, or its disk hangs"
            )
        return self._trouble

    async def read(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading transaction on one snapshot; cancelling it interrupts the statement."""
        self.counts.reads += 1
        with while_others_are_served():
            reader = await self._free.get()
        work = asyncio.ensure_future(
            self._hop(reader, lambda connection: drive(connection, tx(*args, **kwargs), False))
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread may be in a slow statement: interrupt that one, and lend the connection to another
            # caller only then, whose statement would be interrupted otherwise. Repeated, because a
            # statement that has not begun yet is not interrupted.
            while not work.done():
                await reader.interrupt()
                await asyncio.wait([work], timeout=0.05)
            work.exception() if not work.cancelled() else None
            raise
        finally:
            self._free.put_nowait(reader)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy of the database to a new file while work goes on."""

        def copy(connection: sqlite3.Connection) -> None:
            destination = sqlite3.connect(target)
            try:
                connection.backup(destination, pages=2000)
                destination.execute("PRAGMA journal_mode = DELETE")
            finally:
                destination.close()

        reader = await self._free.get()
        try:
            await self._hop(reader, copy)
        finally:
            self._free.put_nowait(reader)

    @asynccontextmanager
    async def listen(self, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """One daemon alone uses the file: nothing is ever reported."""
        yield None

    async def notify(self, channel: str) -> None:
        """One daemon alone uses the file: there is nobody to tell."""

    def hurry(self) -> None:
        """Nothing to do: nothing waits for a file to come back."""

    async def close(self) -> None:
        """Close every connection, readers first, so that the writer folds the WAL away."""
        if self._closed:
            return
        self._closed = True
        for reader in self._readers:
            await reader.close()
        await self._writer.close()
        _drop_lock(self._lock)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """The file's lock keeps others out already.

        Whoever migrates has looked at the tables: only now is it sure that the file is ours to
        change, and the change of its journal is one.
        """

        def use_wal(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA journal_mode = WAL")

        await self._hop(self._writer, use_wal)
        yield None

    async def script(self, statements: Sequence[str]) -> None:
        """Run statements as one transaction; for migrations alone."""

        def run(connection: sqlite3.Connection) -> None:
            # An index of millions of rows is sorted outside of memory: a service has not that much.
            connection.execute("PRAGMA temp_store = FILE")
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    connection.execute(statement)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            finally:
                connection.execute("PRAGMA temp_store = MEMORY")

        await self._hop(self._writer, run)

    async def _hop(self, connection: _SqliteConnection, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = await connection.hop(function)
        except KillsyncdError:
            raise
        except sqlite3.IntegrityError as error:
            raise RowRefused(f"the database refuses a row: {error}") from error
        except sqlite3.Error as error:
            fault = translated(error, self.path)
            if self._worked and type(fault) is Refused:
                # It was fine a moment ago (a disk that went away, no descriptors left): wait for it,
                # instead of ending in a way that the service manager takes for final.
                fault = Unavailable(fault.message, fault.hint)
            raise fault from error
        except ValueError as error:
            if "Connection closed" in str(error) or "no active connection" in str(error):
                raise Unavailable("the database is closed", "the daemon is stopping") from error
            raise
        self._worked = self._worked or connection is self._writer
        return result


async def _connect(path: Path, clock: Clock, *, writable: bool) -> _SqliteConnection:
    teach_binding()
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"

    def connector() -> sqlite3.Connection:
        if writable and not path.exists():
            # SQLite would make it, and its WAL after it, readable for everybody.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, cached_statements=256, check_same_thread=False, timeout=15
        )
        connection.row_factory = sqlite3.Row
        connection.create_function("epoch_now", 0, clock.now)
        try:
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def prepare(connection: sqlite3.Connection) -> None:
        # The first statement that reads the file: here it shows whether it is a database at all.
        connection.execute("PRAGMA schema_version")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA temp_store = MEMORY")
        if writable:
            # FULL: a commit we acknowledged survives a power cut, not only a crash of ours.
            connection.execute("PRAGMA synchronous = FULL")
            # Folding the WAL away costs less when it is done more rarely.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 33554432")
        else:
            connection.execute("PRAGMA query_only = ON")

    connection = _SqliteConnection(connector, iter_chunk_size=64)
    # A connection that nobody closed must not keep the process from ending.
    connection._thread.daemon = True
    try:
        await connection
    except sqlite3.Error as error:
        await _ended(connection)
        raise translated(error, path) from error
    except OSError as error:
        await _ended(connection)
        raise Refused(
            f"the database cannot be made: {path}: {error.strerror}", f"check owner and mode of {path.parent}"
        ) from error
    return connection


async def _ended(connection: _SqliteConnection) -> None:
    """Until a connection that could not be made has ended its thread, which still answers to this loop."""
    await asyncio.to_thread(connection._thread.join, 5.0)


def take_lock(path: Path) -> IO[str]:
    """One process a database file, whoever asks first; the kernel drops the lock with the process.

    Raises AlreadyRunning, Refused: a folder that cannot be written, or that others can.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_open_folder(path.parent)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(
                f"{lock_path} is a symbolic link: somebody put it there, killsyncd makes a file",
                f"look where it leads, remove it, and see who can write in {path.parent}",
            ) from error
        raise Refused(
            f"the folder of the database cannot be written: {path.parent}: {error.strerror}",
            f"{as_somebody_else(path.parent)}; or set [database] url to another place",
        ) from error
    handle = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = handle.read(20).strip()
        handle.close()
        raise AlreadyRunning(
            f"another killsyncd{f' (process {owner})' if owner.isdecimal() else ''} uses {path}",
            "stop it first, or talk to it: killsyncd ctl status; several daemons need PostgreSQL",
        ) from error
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def refuse_open_folder(folder: Path) -> None:
    """Raise Refused where others may write: whoever can rename files there can put theirs in our place."""
    about = folder.stat()
    everybody, group = about.st_mode & stat.S_IWOTH, about.st_mode & stat.S_IWGRP
    if not everybody and not group:
        return
    who = "everybody" if everybody else f"the group {group_name(about.st_gid)}"
    remedy = f"chmod {'g' if group else ''}{'o' if everybody else ''}-w {folder}"
    if about.st_mode & stat.S_ISVTX:  # /tmp and its like, which must stay as they are
        remedy = f"set [database] url to a folder of killsyncd's own instead of {folder}"
    elif os.geteuid() not in (0, about.st_uid):
        remedy = f"have its owner or root close it: sudo {remedy}"
    raise Refused(f"{who} may write in {folder}, where the database lies", remedy)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _drop_lock(lock: IO[str] | None) -> None:
    if lock is not None:
        # The file stays: removing it would let two processes lock two different files.
        lock.close()
