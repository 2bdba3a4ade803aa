"""Commands that work on the database while no daemon runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from killsyncd.cli.command import Invocation
from killsyncd.config import Config
from killsyncd.config.ownership import refuse_root
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import ConfigError, DaemonUnreachable, KillsyncdError, SchemaRefused
from killsyncd.daemon.startup import open_store
from killsyncd.service.history import HistoryImports
from killsyncd.service.import_export import ImportExport
from killsyncd.storage.migrations import migrate, migrations, state
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.daemons import begin_feed
from killsyncd.storage.repositories.history import HistoryRepository
from killsyncd.storage.repositories.import_export import ImportExportRepository
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from killsyncd.control.client import ControlClient

AnyStore = SqliteStore | PostgresStore


def daemon_or_config(call: Invocation, socket: str | None) -> tuple[ControlClient | None, Config | None]:
    """The daemon if it runs, else the configuration to open the database by.

    Who may read the configuration asks the daemon that it names, and no other. Raises ConfigError
    where neither can be had, DaemonUnreachable where --socket names one that does not answer.
    """
    from killsyncd.control.client import reach

    if socket is not None:
        return call.daemon(socket), None
    try:
        config = call.config()
    except ConfigError as refusal:
        try:
            return call.daemon(), None
        except DaemonUnreachable:
            raise refusal from None
    try:
        return reach([(str(config.control.socket), "control.socket")]), None
    except DaemonUnreachable:
        return None, config


@asynccontextmanager
async def opened(config: Config, *, create: bool = False) -> AsyncIterator[AnyStore]:
    """The database with today's schema. create: make it, or bring it up to date, where needed.

    Raises AlreadyRunning, Refused, SchemaRefused, Unavailable; KillsyncdError where there is none.
    """
    path = config.database.sqlite_path
    refuse_root(path)
    if path is not None and not create and not path.exists():
        raise KillsyncdError(f"there is no database at {path} yet", "killsyncd run makes it")
    store = await open_store(config, SystemClock())
    try:
        applied = await state(store)
        if len(applied) < len(migrations()):
            if not create:
                raise SchemaRefused(
                    "the database has an older schema than this killsyncd",
                    "killsyncd run brings it up to date",
                )
            await migrate(store)
        if create:
            await store.write(begin_feed, store.exclusive)
        yield store
    finally:
        await store.close()


def history_of(store: AnyStore) -> HistoryImports:
    """Days of archives and refs, over a database that no daemon of ours serves."""
    return HistoryImports(HistoryRepository(store), SystemClock())


def exchange_of(store: AnyStore) -> ImportExport:
    """Exports and imports over a database that no daemon of ours serves."""
    clock = SystemClock()
    return ImportExport(ImportExportRepository(store, KillmailWriter(store, "command")), clock)
