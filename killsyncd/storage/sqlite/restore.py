"""Restoring a SQLite database from a backup, or from the copy made before a migration.

Nothing of what comes in is trusted: its sizes are known before anything is written, its schema must be
ours to the letter before anything of it is run, and the place of the database is taken last.

The feed gets a new epoch, so that cursors from before are refused and not taken for other places, and
what ESI remembers of us is carried over from the database that is replaced: spent budgets, and until when
lists must not be asked for. So is who logged out since: a backup brings nobody's consent back.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from killsyncd.core.errors import BadInput, Refused, SchemaRefused
from killsyncd.storage.migrations import APPLICATION
from killsyncd.storage.sqlite.archive import FORMAT, Archive, Manifest, moment, opened
from killsyncd.storage.sqlite.backup import SPARE
from killsyncd.storage.sqlite.inspection import counts_of, faults_in, open_file, schema_of

_ANOTHER = "take another backup; nothing was changed"


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` did. kept: where the database lies that was there before, None without one.

    logged_out: pilots who had logged out since the backup, and stay logged out.
    """

    manifest: Manifest
    kept: Path | None
    logged_out: int = 0


def restore(
    path: Path,
    target: Path,
    *,
    newest_schema: int,
    accept: Callable[[str | None], None],
    now: float,
    file: BinaryIO | None = None,
) -> Restored:
    """Put the backup in the place of `target`; whoever calls holds the database's lock.

    path: a backup, or the copy that was made before a migration. newest_schema: what this program
    knows. accept: looks at the canary in the backup (base64, None without one) and raises KeyRefused
    when the key in place is another's. file: the backup's content, where we may not open it ourselves;
    `path` is then only what it is called.
    Raises BadInput (damaged), SchemaRefused, KeyRefused, Refused; then `target` is untouched.
    """
    fresh = target.with_name(f".{target.name}.restore-{secrets.token_hex(4)}")
    try:
        with opened(path, file) as archive:
            _refuse_itself(path, target)
            if archive.manifest is not None:
                _refuse_newer(path, archive.manifest.schema, newest_schema, archive.manifest.version)
            _need_space(archive.size, target)
            _extract(archive, fresh)
        manifest = _inspect(path, fresh, archive, newest_schema, accept)
        with closing(open_file(fresh, writable=True)) as connection:
            history = _begin_anew(connection, now)
            there = target.exists() and target.stat().st_size > 0
            told = _carry_over(connection, target) if there else None
            logged_out = _stay_logged_out(connection, target) if there else 0
            if told != history:
                _wait_out_the_cache(connection, now)
            connection.execute("PRAGMA journal_mode = DELETE")
        _give_to_owner(fresh, target)
        kept = _swap(fresh, target, now)
    except OSError as error:
        raise Refused(
            f"{target} cannot be written: {error.strerror}", "run this as the daemon's user"
        ) from None
    except sqlite3.Error as error:
        raise BadInput(f"the database in {path} is damaged: {error}", _ANOTHER) from None
    finally:
        for each in (fresh, Path(f"{fresh}-journal"), Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
            each.unlink(missing_ok=True)
    return Restored(manifest, kept, logged_out)


PRICES_CACHED = 3600.0
"""Seconds that ESI caches `/markets/prices`, as its specification says."""


def _refuse_itself(path: Path, target: Path) -> None:
    if path.exists() and target.exists() and path.samefile(target):
        raise BadInput(f"{path} is the database in use itself", "name a backup of it")


def _refuse_newer(path: Path, schema: int, newest: int, version: str) -> None:
    if schema > newest:
        raise SchemaRefused(
            f"{path} has schema {schema}, this killsyncd knows {newest} at most",
            f"install killsyncd {version or 'as it was then'} or newer; nothing was changed",
        )


def _need_space(size: int, target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size + SPARE:
        raise Refused(
            f"restoring needs {size + SPARE >> 20} MiB beside {target}, and {free >> 20} MiB are free",
            "free some space; the database that is there is kept beside the restored one",
        )


def _extract(archive: Archive, fresh: Path) -> None:
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in archive.pieces():
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _inspect(
    path: Path, fresh: Path, archive: Archive, newest: int, accept: Callable[[str | None], None]
) -> Manifest:
    """Look at everything that may be wrong with what was extracted; answers what it is."""
    with closing(open_file(fresh)) as connection:
        schema = schema_of(connection, path)
        if faults := faults_in(connection):
            raise BadInput(f"the database in {path} is damaged: {faults[0]}", _ANOTHER)
        ours = connection.execute("SELECT value FROM meta WHERE key = 'application'").fetchone()
        if ours is None or ours[0] != APPLICATION:
            raise SchemaRefused(f"the database in {path} is not killsyncd's", "name another file")
        if connection.execute("SELECT 1 FROM meta WHERE key = 'feed_epoch'").fetchone() is None:
            raise BadInput(f"the database in {path} is damaged: its feed has no epoch", _ANOTHER)
        counts = counts_of(connection)
        canary = connection.execute("SELECT value FROM meta WHERE key = 'key_canary'").fetchone()
    manifest = archive.manifest
    if manifest is None:
        made = moment(archive.changed_at)
        manifest = Manifest(FORMAT, "", made, schema, counts, archive.size, archive.sha256)
    _refuse_newer(path, schema, newest, manifest.version)
    if (schema, counts) != (manifest.schema, manifest.counts):
        raise BadInput(f"{path} is damaged: its manifest is not that of the database in it", _ANOTHER)
    accept(str(canary[0]) if canary else None)
    return manifest


def _begin_anew(connection: sqlite3.Connection, now: float) -> str:
    """Give the feed a new epoch and start every list anew; answers the epoch before."""
    before = str(connection.execute("SELECT value FROM meta WHERE key = 'feed_epoch'").fetchone()[0])
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'feed_epoch'", (secrets.token_hex(4),))
    connection.execute("DELETE FROM daemons")  # their leases fall with them
    # Every list is read whole and anew: a full walk reads every entry.
    connection.execute("UPDATE pages SET etag = NULL")
    connection.execute("UPDATE sources SET full_walk_at = NULL")
    connection.execute(
        "UPDATE walks SET state = 'abandoned', finished_at = ? WHERE state = 'running'", (now,)
    )
    # What was asked of ESI since the backup was made is not known: its prices are cached for an hour.
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'background_tasks'").fetchone():
        connection.execute(
            "INSERT INTO background_tasks (name, next_at) VALUES ('prices', ?)"
            " ON CONFLICT (name) DO UPDATE SET next_at = MAX(next_at, excluded.next_at)",
            (now + PRICES_CACHED,),
        )
    connection.execute("COMMIT")
    return before


def _wait_out_the_cache(connection: sqlite3.Connection, now: float) -> None:
    """Have no list asked for until ESI's cache has passed: what was asked since the backup is not known."""
    connection.execute(
        "INSERT OR REPLACE INTO gates (name, value)"
        " SELECT 'lists-asked', ? + COALESCE(MAX(ttl_seconds), 300) FROM esi_routes"
        " WHERE route LIKE '%-killmails'",
        (now,),
    )


def _carry_over(connection: sqlite3.Connection, old: Path) -> str | None:
    """Take over from the database before what ESI counts and caches: that does not go back with a restore.

    Answers the epoch of the database that it was taken from, None where that cannot be read.
    """
    told = None
    with suppress(sqlite3.Error):  # an old database that cannot be read has nothing to say
        connection.execute("ATTACH DATABASE ? AS old", (f"{old.absolute().as_uri()}?mode=ro",))
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM main.spends")
            for table in ("budgets", "gates", "esi_routes", "spends"):
                columns = _shared_columns(connection, table)
                connection.execute(
                    f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}"
                )
            connection.execute(_LATER_PAGES)
            connection.execute(_LISTS_ASKED)
            epoch = connection.execute("SELECT value FROM old.meta WHERE key = 'feed_epoch'").fetchone()
            connection.execute("COMMIT")
            told = str(epoch[0]) if epoch else None
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("DETACH DATABASE old")
    return told


def _stay_logged_out(connection: sqlite3.Connection, old: Path) -> int:
    """Log out whoever logged out since the backup, and keep the revocations that EVE has not confirmed yet.

    Answers how many pilots that are. Says nothing of pilots who were erased since: they are in no database.
    """
    with suppress(sqlite3.Error):  # as in `_carry_over`
        connection.execute("ATTACH DATABASE ? AS old", (f"{old.absolute().as_uri()}?mode=ro",))
        try:
            connection.execute("BEGIN IMMEDIATE")
            # Before schema 4 there was no state of its own for them; its migration reads the reason.
            left = "left" if "refusals" in _columns(connection, "main", "revocations") else "needs_login"
            gone = [row[0] for row in connection.execute(_LEFT_SINCE)]
            ids = [(each,) for each in gone]
            connection.executemany("DELETE FROM grants WHERE user_id = ?", ids)
            connection.executemany(
                "UPDATE users SET state = ?, state_reason = 'logged out', expires_at = NULL WHERE id = ?",
                [(left, each) for each in gone],
            )
            connection.executemany(_WANTS_OF, ids)
            connection.executemany(
                "UPDATE sources SET via_user_id = NULL WHERE kind = 'corporation' AND via_user_id = ?", ids
            )
            columns = _shared_columns(connection, "revocations", without="id")
            connection.execute(
                f"INSERT INTO main.revocations ({columns}) SELECT {columns} FROM old.revocations o"
                " WHERE NOT EXISTS (SELECT 1 FROM main.revocations m WHERE m.refresh_token = o.refresh_token)"
            )
            connection.execute("COMMIT")
            return len(gone)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("DETACH DATABASE old")
    return 0


# Until schema 4 'needs_login' with that reason; before a migration the database in place may be one of these.
_LEFT_SINCE = """
SELECT m.id FROM main.users m JOIN old.users o ON o.character_id = m.character_id
WHERE (o.state = 'left' OR (o.state = 'needs_login' AND o.state_reason = 'logged out'))
    AND EXISTS (SELECT 1 FROM main.grants g WHERE g.user_id = m.id)
"""

_WANTS_OF = """
DELETE FROM wants WHERE source_id IN (
    SELECT s.id FROM sources s JOIN users u ON u.character_id = s.subject_id
    WHERE s.kind = 'character' AND u.id = ?)
"""


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [str(row[1]) for row in connection.execute(f"PRAGMA {schema}.table_info({table})")]


def _shared_columns(connection: sqlite3.Connection, table: str, *, without: str = "") -> str:
    """The columns that both have: the backup may be of an older schema than the database it replaces."""
    main, old = (_columns(connection, schema, table) for schema in ("main", "old"))
    return ", ".join(each for each in main if each in old and each != without)


# A list that was asked for since the backup must not be asked for before its Expires. The ETag goes:
# it vouches for sightings that the backup does not have.
_LATER_PAGES = """
UPDATE main.pages SET etag = NULL, expires_at = later.expires_at, asked_at = later.asked_at,
    answered_at = later.answered_at
FROM (SELECT s.id AS source_id, p.page, p.expires_at, p.asked_at, p.answered_at
      FROM old.pages p JOIN old.sources o ON o.id = p.source_id
      JOIN main.sources s ON s.kind = o.kind AND s.subject_id = o.subject_id) AS later
WHERE main.pages.source_id = later.source_id AND main.pages.page = later.page
    AND later.answered_at > main.pages.answered_at
"""


# Lists that the backup does not know: of pilots who have logged in since, or pages that have come since.
_LISTS_ASKED = """
INSERT INTO main.gates (name, value)
SELECT 'list-asked:' || o.kind || ':' || o.subject_id || ':' || p.page,
       MAX(p.expires_at, CASE WHEN p.asked_at > p.answered_at THEN p.asked_at + r.ttl ELSE 0 END)
FROM old.pages p JOIN old.sources o ON o.id = p.source_id CROSS JOIN (
    SELECT COALESCE(MAX(ttl_seconds), 300) AS ttl FROM old.esi_routes WHERE route LIKE '%-killmails'
) r WHERE true
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE gates.value < excluded.value
"""


def _give_to_owner(fresh: Path, target: Path) -> None:
    """Root may restore for a daemon that runs as somebody else."""
    if os.geteuid() == 0:
        owner = (target if target.exists() else target.parent).stat()
        os.chown(fresh, owner.st_uid, owner.st_gid)


def _swap(fresh: Path, target: Path, now: float) -> Path | None:
    kept = None
    if target.exists():
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = target.with_name(f"{target.name}.before-restore-{stamp}")
        while kept.exists():  # a second restore within the second
            kept = kept.with_name(f"{kept.name}-more")
        # The old journal belongs to the old file: left behind, SQLite would play it into the new one.
        for ending in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.replace(f"{target}{ending}", f"{kept}{ending}")
    os.replace(fresh, target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return kept
