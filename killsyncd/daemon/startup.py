"""Opening the database and the key that belong together, or a clear refusal.

Used by the daemon and by the commands that work while none runs. Nothing is
changed before everything that can be refused was looked at.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from killsyncd.auth.encryption import Vault
from killsyncd.config import Config, SecurityConfig
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KeyRefused, Unavailable
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.retry import retry
from killsyncd.storage.migrations import Migratable, migrate, migrations, state
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories import key_rotation
from killsyncd.storage.sqlite.backup import tidy
from killsyncd.storage.sqlite.store import SqliteStore

START_PATIENCE = 60.0
"""Seconds for which a daemon that starts waits for its database: both may have been started together."""

TELL_EVERY = 10.0
"""Seconds between two words while the schema is brought up to date."""

log = get_logger(__name__)


async def open_store(config: Config, clock: Clock) -> SqliteStore | PostgresStore:
    """The configured database. SQLite's file is made and locked for this process.

    Raises AlreadyRunning, Refused, SchemaRefused, Unavailable.
    """
    path = config.database.sqlite_path
    if path is not None:
        return await SqliteStore.open(path, clock)
    return await PostgresStore.open(config.database.url, config.database.password)


async def open_store_and_key(
    config: Config, clock: Clock, tell: Callable[[str], None] = lambda text: None
) -> tuple[SqliteStore | PostgresStore, Vault]:
    """The database with today's schema, and the vault whose key opens what is in it.

    tell: hears every few seconds what is done while an older schema is brought up to date.
    Raises SchemaRefused, KeyRefused, AlreadyRunning, Refused, Unavailable; then the
    database is as it was.
    """
    store = await open_store(config, clock)
    try:
        if isinstance(store, SqliteStore):
            await asyncio.to_thread(tidy, store.path)
        applied = await state(store)
        canary = await key_rotation.canary(store) if applied else None
        vault = open_vault(config.security, canary)
        if applied and len(applied) < len(migrations()):
            await _upgrade(store, applied[-1], clock, tell)
        else:
            await migrate(store)
        if canary is None:
            await key_rotation.keep_canary(store, vault)
            # On a shared database another daemon may have been first, with another key.
            open_vault(config.security, await key_rotation.canary(store))
        return store, vault
    except BaseException:
        await store.close()
        raise


async def await_store(
    config: Config, clock: Clock, stopping: asyncio.Event, tell: Callable[[str], None] = lambda text: None
) -> tuple[SqliteStore | PostgresStore, Vault]:
    """As `open_store_and_key`, waiting for a database that does not answer yet, unless `stopping`."""
    until = clock.monotonic() + START_PATIENCE
    states = StateLog(log)

    def waits(error: Unavailable, _seconds: float) -> None:
        states.set("start", "waiting", "waiting for the database", reason=error.message)

    return await retry(
        lambda: open_store_and_key(config, clock, tell),
        on=Unavailable,
        wait=1.0,
        sleep=clock.sleep,
        stop=lambda _attempts: stopping.is_set() or clock.monotonic() >= until,
        before_wait=waits,
    )


def open_vault(security: SecurityConfig, canary: bytes | None) -> Vault:
    """The key, made on the first start and never when the database holds something encrypted.

    canary: what the database keeps to tell its key by; None for a new one. Raises KeyRefused.
    """
    path = security.key_file
    if not path.exists():
        if canary is not None:
            raise KeyRefused(
                f"the key file {path} is missing, and the database holds tokens encrypted with it",
                f"put the key back at {path} (mode 0600); without it everybody has to log in again, "
                "on a new database",
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.info("made a new key; back it up apart from the database", path=str(path))
        return Vault.create(path)
    vault = Vault.open(path, credential=security.key_is_credential)
    if canary is not None and not vault.opens(canary):
        raise KeyRefused(
            f"the key in {path} is not the one this database was encrypted with",
            "put the right key file back, or point [database] url at the database of this key; "
            "nothing was changed",
        )
    return vault


async def _upgrade(store: Migratable, schema: int, clock: Clock, tell: Callable[[str], None]) -> None:
    """Bring an older schema up to date. It may take minutes: whoever waits hears how far it is."""
    newest, began = migrations()[-1].number, clock.monotonic()
    doing = "copying the database before its schema is brought up to date"

    def begins(number: int) -> None:
        nonlocal doing
        doing = f"bringing the database's schema up to date: {number} of {newest}"
        log.info(doing, seconds=round(clock.monotonic() - began))

    async def keep_telling() -> None:
        while True:
            tell(f"{doing}; {clock.monotonic() - began:.0f} s so far")
            await clock.sleep(TELL_EVERY)

    telling = asyncio.create_task(keep_telling())
    try:
        await _copy_before(store, schema)
        await migrate(store, begins=begins)
    finally:
        telling.cancel()
    log.info("the database's schema is up to date", schema=newest, seconds=round(clock.monotonic() - began))


async def _copy_before(store: Migratable, number: int) -> None:
    """Keep a copy of an older schema beside the file: a migration is no reason to lose a day."""
    if isinstance(store, SqliteStore):
        copy = store.path.with_name(f"{store.path.name}.schema-{number:04}")
        part = store.path.with_name(f".{copy.name}")
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        await store.backup(part)
        os.replace(part, copy)  # only what is whole bears the name
        log.info("copied the database before migrating it", copy=str(copy))
