"""`killsyncd backup`."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import BinaryIO

from killsyncd.cli.command import Invocation, add_json, add_socket, out, out_json, say, socket_of, wants_json
from killsyncd.cli.files import written
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_OK, UsageError
from killsyncd.core.text import count, size


def add_arguments(parser: ArgumentParser) -> None:
    """`--output`."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the backup, a tar file")
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
Writes a consistent copy of a SQLite database, with a manifest and a checksum; the daemon may be running. The
copy is read back and checked before it gets its final name. It does NOT hold the encryption key: keep a copy
of security.key_file elsewhere. Back PostgreSQL up with its own tools (pg_dump).

examples:
  killsyncd backup --output killsyncd-$(date +%F).tar
"""


def run(args: Namespace, call: Invocation) -> int:
    """Write a backup and read it back."""
    from killsyncd.cli.direct import daemon_or_config
    from killsyncd.storage.sqlite import backup as backups

    if args.output.exists() and not args.output.is_file():
        raise UsageError(f"{args.output} is no regular file", "a backup is read back, so it needs one")
    daemon, config = daemon_or_config(call, socket_of(args))
    with written(args.output) as file:
        if daemon is not None:
            for chunk in daemon.chunks("/v1/backup", post=True):
                file.write(chunk)
        else:
            assert config is not None, "one of the two is there"
            asyncio.run(_directly(config, file))
        file.flush()
        manifest = backups.verify(args.output, file)
    if wants_json(args):
        out_json({"file": str(args.output), **backups.describe(manifest)})
        return EXIT_OK
    counts = manifest.counts
    what = f"{count(counts['killmails'], 'killmail')} of {count(counts['users'], 'user')}"
    out(f"Backup of {what} in {args.output} ({size(manifest.bytes)}), read back and found whole.")
    say(manifest.key)
    return EXIT_OK


async def _directly(config: Config, file: BinaryIO) -> None:
    from killsyncd import __version__
    from killsyncd.cli.direct import opened
    from killsyncd.core.clock import SystemClock
    from killsyncd.storage.repositories.metrics import MetricsRepository
    from killsyncd.storage.sqlite import backup as backups
    from killsyncd.storage.sqlite.store import SqliteStore

    async with opened(config) as store:
        if not isinstance(store, SqliteStore):
            raise UsageError("a PostgreSQL database is backed up with its own tools", "pg_dump")
        async with backups.make(store, __version__, SystemClock().now()) as made:
            async for chunk in made.chunks():
                file.write(chunk)
        await MetricsRepository(store).backed_up(SystemClock().now())
