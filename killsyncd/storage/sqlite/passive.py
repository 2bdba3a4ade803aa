"""A SQLite file as `killsyncd check` reads it: a daemon may be using it, and nothing is left beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killsyncd.storage.document_repair import ALL, BATCH, CHECKED_TO, Document


class PassiveReader:
    """An open database file. Every method raises sqlite3.Error where it is damaged or no database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def faults(self) -> list[str]:
        """What SQLite's quick check has to say; empty where all is well."""
        found = [str(row[0]) for row in self._connection.execute("PRAGMA quick_check(5)")]
        return [] if found == ["ok"] else found

    def names(self) -> set[str]:
        """The names of its tables, indexes, views and triggers."""
        return {str(row[0]) for row in self._connection.execute("SELECT name FROM sqlite_master")}

    def applied(self) -> list[tuple[int, str]]:
        """Its migrations in order: number and checksum."""
        rows = self._connection.execute("SELECT number, checksum FROM schema_migrations ORDER BY number")
        return [(int(number), str(checksum)) for number, checksum in rows]

    def killmails(self) -> int:
        """How many killmails are stored."""
        return int(self._connection.execute("SELECT COUNT(*) FROM killmails").fetchone()[0])

    def users(self) -> int:
        """How many users there are."""
        return int(self._connection.execute("SELECT COUNT(*) FROM users").fetchone()[0])

    def value(self, key: str) -> str | None:
        """What stands in `meta` under a key."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def unchecked_documents(self) -> Iterator[list[Document]]:
        """Stored documents that the daemon has not looked through yet, some at a time, in order of ids."""
        if "killmail_documents" not in self.names() or (reached := self.value(CHECKED_TO)) == ALL:
            return
        columns = {row[1] for row in self._connection.execute("PRAGMA table_info(killmail_documents)")}
        unpacked = " AND size IS NULL" if "size" in columns else ""
        cursor = self._connection.execute(
            "SELECT killmail_id, document FROM killmail_documents "
            f"WHERE killmail_id > ?{unpacked} ORDER BY killmail_id",
            (int(reached) if reached is not None else 0,),
        )
        while batch := cursor.fetchmany(BATCH):
            yield batch


@contextmanager
def reading(path: Path) -> Iterator[PassiveReader]:
    """Open a file that is there. Raises sqlite3.Error."""
    # Nobody has a database open that has no WAL beside it; opened as unchanging it gets none from us.
    unchanging = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{unchanging}"
    connection = sqlite3.connect(uri, uri=True, timeout=5)
    try:
        yield PassiveReader(connection)
    finally:
        connection.close()
