"""What `killsyncd check` looks at, one function a line. None creates or changes anything."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from killsyncd import user_agent
from killsyncd.config import Config
from killsyncd.config.ownership import as_somebody_else
from killsyncd.core.deployment import fit
from killsyncd.core.errors import KillsyncdError, SchemaRefused, Unavailable
from killsyncd.core.text import count, listed, plural, size
from killsyncd.service.disk_space import ENOUGH_FREE
from killsyncd.storage.migrations import migrations
from killsyncd.storage.schema import CANARY, tables
from killsyncd.storage.sqlite.passive import PassiveReader, reading

ROOMY = 1 << 30
"""Bytes: less than this on the database's disk is a warning; where the daemon pauses it is a failure."""

SKEW_LIMIT = 60.0
SKEW_FAILURE = 300.0
"""Seconds: beyond the first it is a warning, beyond the second tokens look expired or not yet valid."""

_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. status: `ok`, `warn` or `fail`."""

    name: str
    status: str
    message: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """As JSON has it."""
        return {"name": self.name, "status": self.status, "message": self.message, "remedy": fit(self.remedy)}

    def line(self) -> str:
        """As people read it."""
        remedy = f" -> {fit(self.remedy)}" if self.remedy else ""
        message = "; ".join(each.strip() for each in self.message.splitlines()).replace(":; ", ": ")
        return f"{self.status:<4}  {self.name:<13}  {message}{remedy}"


def failed(name: str, error: KillsyncdError) -> Finding:
    """A finding from what was raised."""
    return Finding(name, "fail", error.message, " ".join(error.hint.split()))


# --- the database -------------------------------------------------------------------------------


async def database(config: Config) -> Finding:
    """Is it there, whole, ours, and of today's schema."""
    try:
        if config.database.sqlite_path is not None:
            return await asyncio.to_thread(_sqlite, config.database.sqlite_path)
        return await _postgres(config)
    except KillsyncdError as error:
        return failed("database", error)


def _sqlite(path: Path) -> Finding:
    if not path.exists():
        folder = _existing(path)
        if not _may_write(folder):
            remedy = as_somebody_else(folder)
            return Finding("database", "fail", f"{path}: {folder} cannot be written", remedy)
        return Finding("database", "ok", f"{path} is not there yet; killsyncd run makes it")
    try:
        with reading(path) as file:
            if faults := file.faults():
                return Finding(
                    "database",
                    "fail",
                    f"{path} is damaged: {faults[0]}",
                    "restore a backup: killsyncd restore FILE",
                )
            found = file.names()
            if not found:
                return Finding("database", "ok", f"{path} is empty; killsyncd run fills it")
            applied = _applied(file, path, found)
            if lost := _lost(found, applied):
                return Finding(
                    "database", "fail", f"{path} lacks {lost}", "restore a backup: killsyncd restore FILE"
                )
            mails, users = file.killmails(), file.users()
    except sqlite3.Error as error:
        if "not a database" in str(error):
            return Finding(
                "database",
                "fail",
                f"{path} is not a SQLite database",
                "restore a backup: killsyncd restore FILE",
            )
        if "malformed" in str(error):
            return Finding(
                "database", "fail", f"{path} is damaged: {error}", "restore a backup: killsyncd restore FILE"
            )
        return Finding("database", "fail", f"{path} cannot be read: {error}", as_somebody_else(path))
    if not _may_write(path) or not _may_write(path.parent):
        remedy = as_somebody_else(path if not _may_write(path) else path.parent)
        return Finding("database", "fail", f"{path} cannot be written by this user", remedy)
    newest = max(each.number for each in migrations())
    older = f", brought up to {newest} by the next start" if applied < newest else ""
    what = f"{count(mails, 'killmail')} of {count(users, 'user')}, {size(path.stat().st_size)}"
    return Finding("database", "ok", f"{path}: schema {applied}{older}; {what}")


def _applied(file: PassiveReader, path: Path, tables: set[str]) -> int:
    if not {"meta", "schema_migrations"} <= tables:
        some = ", ".join(sorted(tables)[:5])
        raise SchemaRefused(
            f"{path} holds tables that are not killsyncd's ({some})", "set [database] url to another file"
        )
    known = {each.number: each for each in migrations()}
    last = 0
    for number, checksum in file.applied():
        if number not in known:
            raise SchemaRefused(
                f"{path} has schema {number}, this killsyncd knows {max(known)} at most",
                "install the newer killsyncd again, or restore a backup made by this one",
            )
        if not known[number].made(checksum):
            raise SchemaRefused(
                f"schema {number} of {path} was made by a different killsyncd", "install the one that made it"
            )
        last = number
    return last


def _lost(found: Collection[str], applied: int) -> str:
    """The tables that are not there any more; empty where all are, or an older schema had others."""
    if applied < max(each.number for each in migrations()):
        return ""
    gone = sorted(set(tables()) - set(found))
    return f"the {plural(len(gone), 'table')} {listed(gone)}" if gone else ""


async def _postgres(config: Config) -> Finding:
    from killsyncd.core.clock import SystemClock
    from killsyncd.daemon.startup import open_store
    from killsyncd.storage.migrations import may_create, state, tables_of
    from killsyncd.storage.postgres.errors import POOLER
    from killsyncd.storage.postgres.store import PostgresStore

    store = await open_store(config, SystemClock())
    try:
        applied = await state(store)
        found = await tables_of(store)
        may = await may_create(store)
        shared = await store.shares_sessions() if isinstance(store, PostgresStore) else False
    finally:
        await store.close()
    where, newest = config.database.url, max(each.number for each in migrations())
    last = applied[-1] if applied else 0
    if applied and (lost := _lost(found, last)):
        return Finding("database", "fail", f"{where} lacks {lost}", "restore a dump: pg_restore")
    if last < newest and not may:
        remedy = "let the user create and change tables: ALTER DATABASE NAME OWNER TO USER"
        return Finding("database", "fail", f"{where}: this user may not make tables", remedy)
    if shared:
        why = f"{where}: a pooler in transaction mode (PgBouncer) stands between, which is not supported"
        return Finding("database", "fail", why, POOLER)
    if not applied:
        return Finding("database", "ok", f"{where} is empty; killsyncd run fills it")
    older = f", brought up to {newest} by the next start" if last < newest else ""
    return Finding("database", "ok", f"{where}: schema {last}{older}")


# --- queue, key, modes --------------------------------------------------------------------------


async def queue(config: Config) -> Finding:
    """Does the broker answer."""
    if config.queue.embedded:
        return Finding("queue", "ok", "embedded in the database")
    from killsyncd.amqp import fault_of

    parts = urlsplit(config.queue.url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            fault = await fault_of(config.queue.url, config.queue.password)
    except TimeoutError:
        fault = Unavailable(f"{parts.hostname}:{port}: no answer", "start the broker, or look at [queue] url")
    if fault is not None:
        return failed("queue", fault)
    return Finding("queue", "ok", f"{parts.hostname}:{port} lets us in")


async def key(config: Config) -> Finding:
    """Is there a key, safe from others, that opens what is in the database."""
    from killsyncd.auth.encryption import Vault

    path = config.security.key_file
    try:
        canary = await _canary(config)
        if not path.exists():
            if canary is not None:
                remedy = f"put it back at {path} (mode 0600); without it everybody has to log in again"
                return Finding("key", "fail", f"{path} is missing, and the database needs it", remedy)
            return Finding("key", "ok", f"{path} is not there yet; killsyncd run makes it")
        vault = Vault.open(path, credential=config.security.key_is_credential)
    except KillsyncdError as error:
        return failed("key", error)
    if canary is not None and not vault.opens(canary):
        remedy = "put the right key file back, or look at [database] url"
        return Finding("key", "fail", f"{path} is not the key of this database", remedy)
    opens = "opens the database" if canary is not None else "nothing is encrypted yet"
    return Finding("key", "ok", f"{path}: key {vault.key_id}, {opens}")


async def _canary(config: Config) -> bytes | None:
    from killsyncd.auth.encryption import canary_of

    path = config.database.sqlite_path
    if path is None:
        return await _postgres_canary(config)
    if not path.exists():
        return None
    try:
        with reading(path) as file:
            text = file.value(CANARY)
    except sqlite3.Error:
        return None  # the database's own line says what is wrong with it
    return canary_of(text) if text is not None else None


async def _postgres_canary(config: Config) -> bytes | None:
    from killsyncd.core.clock import SystemClock
    from killsyncd.daemon.startup import open_store
    from killsyncd.storage.repositories import key_rotation as rotating

    try:
        store = await open_store(config, SystemClock())
    except KillsyncdError:
        return None
    try:
        return await rotating.canary(store)
    except KillsyncdError:
        return None
    finally:
        await store.close()


def modes(config: Config) -> Finding:
    """May others read or change what is not theirs. The key's own mode is the key's line."""
    folder = config.control.socket.parent
    if folder.exists() and folder.stat().st_mode & stat.S_IWOTH and not folder.stat().st_mode & stat.S_ISVTX:
        return Finding("modes", "fail", f"everybody may write in {folder}", f"chmod o-w {folder}")
    path = config.database.sqlite_path
    if path is not None and path.parent.exists():
        from killsyncd.storage.sqlite.store import refuse_open_folder

        try:
            refuse_open_folder(path.parent)
        except KillsyncdError as refusal:
            return failed("modes", refusal)
    if path is not None and path.exists():
        if path.stat().st_mode & stat.S_IWOTH:
            return Finding("modes", "fail", f"everybody may write to {path}", f"chmod 600 {path}")
        if path.stat().st_mode & stat.S_IWGRP:
            return Finding("modes", "warn", f"its group may write to {path}", f"chmod 600 {path}")
        if path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH:
            return Finding("modes", "warn", f"everybody may read {path}", f"chmod 600 {path}")
    return Finding("modes", "ok", "the database is closed to others")


def control(config: Config) -> Finding:
    """Does a daemon run just now; both answers are fine."""
    from killsyncd.control.client import knock

    path = str(config.control.socket)
    reason, closed = knock(path)
    if not reason:
        return Finding("daemon", "ok", f"runs, and listens at {path}")
    if closed:
        return Finding("daemon", "warn", f"cannot be asked ({path}): {reason}", closed)
    return Finding("daemon", "ok", f"does not run ({path})")


# --- clock and space ----------------------------------------------------------------------------


def clock(config: Config) -> Finding:
    """Does this machine know the time, by the `Date` of CCP's login server.

    Not of ESI: its routes are cached for a while each, and asking before `Expires` is against its rules.
    """
    request = urllib.request.Request(  # noqa: S310 - the configuration allows http and https alone
        f"{config.sso.base_url.rstrip('/')}/.well-known/oauth-authorization-server",
        headers={"User-Agent": user_agent(config.esi.contact)},
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310
            date = response.headers.get("Date")
    except urllib.error.HTTPError as error:
        date = error.headers.get("Date")
        error.close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(
            "clock",
            "warn",
            f"the SSO does not answer, so it was not compared: {reason}",
            "look at [sso] base_url",
        )
    try:
        skew = time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "warn", "the SSO's answer had no date, so it was not compared")
    if abs(skew) > SKEW_LIMIT:
        way = "ahead of" if skew > 0 else "behind"
        status = "fail" if abs(skew) > SKEW_FAILURE else "warn"
        return Finding("clock", status, f"{abs(skew):.0f} s {way} EVE's", "timedatectl set-ntp true")
    return Finding("clock", "ok", "within a minute of EVE's")


def space(config: Config) -> Finding:
    """Is there room to go on."""
    folder = _existing(config.database.sqlite_path or config.state_directory)
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} free at {folder}"
    if free < ENOUGH_FREE:
        return Finding("space", "fail", text, f"free some space: {size(ENOUGH_FREE)} are the least")
    if free < ROOMY:
        return Finding("space", "warn", text, "a year of killmails needs some hundred MiB")
    return Finding("space", "ok", text)


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _may_write(path: Path) -> bool:
    import os

    return os.access(path, os.W_OK | os.X_OK if path.is_dir() else os.W_OK)
