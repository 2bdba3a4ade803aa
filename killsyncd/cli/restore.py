"""`killsyncd restore`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from killsyncd.cli.command import Invocation, add_json, out, out_json, say, wants_json
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_OK, AlreadyRunning, DaemonUnreachable, KeyRefused, UsageError
from killsyncd.core.text import count, day_time


def add_arguments(parser: ArgumentParser) -> None:
    """The backup's file."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a backup of killsyncd, or the copy made before an update; - is stdin",
    )
    add_json(parser)
    parser.epilog = """\
Stop the daemon first: this is refused while one is running. The backup is checked before anything is
changed, and refused if its tables, indexes, views or triggers are not killsyncd's own. The database that is
replaced is kept beside the new one. A copy made before an update (killsyncd.db.schema-NNNN) is restored the
same way.

Afterwards live feeds begin anew: cursors from before are refused. What has been spent of ESI's limits, and
how long its lists are cached, is taken over from the database that is replaced. Pilots who logged out since
the backup stay logged out; those whose refresh token was replaced since have to log in again.

examples:
  killsyncd restore killsyncd-2026-11-18.tar
  sudo killsyncd-maintain restore killsyncd-2026-11-18.tar    as the service's user
  killsyncd restore /var/lib/killsyncd/killsyncd.db.schema-0001
"""


def run(args: Namespace, call: Invocation) -> int:
    """Put a backup in the database's place."""
    from killsyncd.core.clock import SystemClock
    from killsyncd.storage.migrations import migrations
    from killsyncd.storage.sqlite import archive as archives
    from killsyncd.storage.sqlite.restore import restore

    # The very lock that a daemon holds, without opening (and so making) the database.
    from killsyncd.storage.sqlite.store import take_lock

    config = call.config()
    target = config.database.sqlite_path
    if target is None:
        raise UsageError("a backup of killsyncd is a SQLite database", "restore PostgreSQL with pg_restore")
    path, file = _given(args.file)
    archives.read_manifest(path, file)
    _refuse_beside_a_daemon(config)
    with closing(take_lock(target)):
        done = restore(
            path,
            target,
            file=file,
            newest_schema=max(each.number for each in migrations()),
            accept=lambda canary: _accept(config, canary),
            now=SystemClock().now(),
        )
    if wants_json(args):
        kept = str(done.kept) if done.kept else None
        out_json(
            {
                "database": str(target),
                "kept": kept,
                "backup": archives.describe(done.manifest),
                "loggedOut": done.logged_out,
            }
        )
        return EXIT_OK
    counts = done.manifest.counts
    out(
        f"Restored {count(counts['killmails'], 'killmail')} of {count(counts['users'], 'user')}, "
        f"as of {day_time(done.manifest.created_at)}, to {target}."
    )
    if done.logged_out:
        say(
            f"{count(done.logged_out, 'pilot')} had logged out since, and "
            f"{'stays' if done.logged_out == 1 else 'stay'} logged out."
        )
    if done.kept:
        say(f"The database that was there is kept: {done.kept}")
    return EXIT_OK


def _given(file: Path) -> tuple[Path, BinaryIO | None]:
    """What the backup is called, and its content where somebody else opened it and passed it on stdin."""
    if str(file) != "-":
        return file, None
    if not sys.stdin.buffer.seekable():
        raise UsageError(
            "the backup on stdin is read twice, so it must be a file", "killsyncd restore - < FILE"
        )
    return Path("the backup on stdin"), sys.stdin.buffer


def _refuse_beside_a_daemon(config: Config) -> None:
    from killsyncd.control.client import reach

    try:
        daemon = reach([(str(config.control.socket), "control.socket")])
    except DaemonUnreachable:
        return
    raise AlreadyRunning(f"a daemon runs and listens at {daemon.path}", "stop it first, then restore")


def _accept(config: Config, canary: str | None) -> None:
    from killsyncd.auth.encryption import Vault, canary_of

    key = config.security.key_file
    if canary is None:
        return
    if not key.exists():
        say(f"There is no key at {key}: put the backup's key there before you start the daemon.")
        return
    if not Vault.open(key, credential=config.security.key_is_credential).opens(canary_of(canary)):
        raise KeyRefused(
            f"the key in {key} is not the one that this backup was made with",
            "put the right key file there first; nothing was changed",
        )
