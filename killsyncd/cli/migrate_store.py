"""`killsyncd migrate-store`."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from killsyncd.cli.command import Invocation, add_json, out, out_json, say, wants_json
from killsyncd.core.errors import EXIT_OK, AlreadyRunning, KillsyncdError, UsageError
from killsyncd.core.text import count

if TYPE_CHECKING:
    from killsyncd.cli.direct import AnyStore
    from killsyncd.config import Config
    from killsyncd.config.secret import Secret
    from killsyncd.storage.sqlite.store import SqliteStore
    from killsyncd.storage.transfer import TransferReport


def add_arguments(parser: ArgumentParser) -> None:
    """Where to."""
    parser.add_argument(
        "--to",
        required=True,
        metavar="URL",
        help="the new database: sqlite:////FILE or postgresql://user@host/database",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="file with the password of the new database's user; its mode must be 0600",
    )
    add_json(parser)
    parser.epilog = """\
Stop the daemon first: this is refused while one is running. Everything is copied to an empty database, and
counts and checksums are compared; the old database is not changed. If the copy is interrupted, run it
again: it goes on where it stopped. Afterwards set [database] url (and password_file) and start the daemon,
with the same key file.

examples:
  killsyncd migrate-store --to postgresql://killsyncd@localhost/killsyncd
  killsyncd migrate-store --to sqlite:////var/lib/killsyncd/killsyncd.db
"""


def run(args: Namespace, call: Invocation) -> int:
    """Copy the store to another database, and verify it."""
    config = call.config()
    url, password = _target(args.to, args.password_file, call)
    report = asyncio.run(_move(config, url, password))
    if wants_json(args):
        out_json(
            {
                "resumed": report.resumed,
                "feedEpoch": report.feed_epoch,
                "rows": report.rows,
                "tables": [
                    {"table": each.table, "rows": each.rows, "checksum": each.checksum}
                    for each in report.tables
                ],
            }
        )
        return EXIT_OK
    mails = next(each.rows for each in report.tables if each.table == "killmails")
    out(f"Moved {count(mails, 'killmail')} ({count(report.rows, 'row')} in all), counts and checksums agree.")
    say(f'Now set [database] url = "{url}" and start the daemon, with the same key file.')
    return EXIT_OK


def _target(url: str, password_file: Path | None, call: Invocation) -> tuple[str, Secret | None]:
    """The new database's address and password. Raises UsageError."""
    from killsyncd.config.address_types import database_url
    from killsyncd.config.paths import find_places
    from killsyncd.config.secret import SecretFileRefused, read_secret_file
    from killsyncd.config.types import BadValue
    from killsyncd.config.validation import split_password

    kind = database_url()
    try:
        url = kind.read(url)
    except BadValue as error:
        raise UsageError(f"--to {url!r} is no database", str(error) or kind.allowed) from None
    if url.startswith("sqlite:"):
        return url, None
    bare, password = split_password(url)
    if password is not None:
        raise UsageError(
            "--to has a password in it, which others on this machine could see",
            "put it into a file of mode 0600 and name that with --password-file",
        )
    if password_file is None:
        return bare, None
    try:
        # killsyncd-maintain passes it as a credential, whose mode is systemd's matter.
        exempt = find_places(call.environ).is_credential(password_file)
        return bare, read_secret_file(password_file, exempt_from_mode=exempt)
    except SecretFileRefused as refusal:
        raise UsageError(f"--password-file {password_file} {refusal}") from None


async def _move(config: Config, url: str, password: Secret | None) -> TransferReport:
    from killsyncd.cli.direct import opened
    from killsyncd.storage.postgres.store import PostgresStore
    from killsyncd.storage.transfer import transfer

    if url == config.database.url:
        raise UsageError("--to names the database that is in use", "name another, empty one")
    async with opened(config) as source:
        await _nobody_runs(source)
        target: AnyStore
        if url.startswith("sqlite:"):
            target = await _sqlite_target(Path(url.removeprefix("sqlite:///")))
        else:
            target = await PostgresStore.open(url, password)
        try:
            return await transfer(source, target, _Progress())
        finally:
            await target.close()


async def _sqlite_target(path: Path) -> SqliteStore:
    from killsyncd.core.clock import SystemClock
    from killsyncd.storage.sqlite.store import SqliteStore

    try:
        return await SqliteStore.open(path, SystemClock())
    except KillsyncdError as error:  # what is wrong there is no matter of the configuration
        error.hint = error.hint.replace("set [database] url to", "name in --to")
        raise


async def _nobody_runs(store: AnyStore) -> None:
    """A daemon on SQLite holds the file's lock; those on PostgreSQL have signed on."""
    from killsyncd.storage.repositories.daemons import daemons_alive

    if not store.exclusive and (alive := await daemons_alive(store)):
        where = ", ".join(f"{each.host} (process {each.pid})" for each in alive)
        raise AlreadyRunning(f"daemons run on this database: {where}", "stop them first")


class _Progress:
    """A line that grows on a terminal; elsewhere a line a table."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, table: str, done: int, total: int) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{table}: {done:,} of {total:,}")
            if done >= total:
                sys.stderr.write("\n")
            sys.stderr.flush()
        elif done >= total:
            say(f"{table}: {count(total, 'row')}")
