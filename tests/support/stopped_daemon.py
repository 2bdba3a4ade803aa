"""Time that goes by in a stopped daemon's books, for what a test can't wait for."""

from __future__ import annotations

import signal
import sqlite3
import time

from tests.support.daemon import DaemonProcess, wait_for

HOUR = 3600.0
DAY = 24 * HOUR


def let_waiting_pass(daemon: DaemonProcess, *, longest_cache: float = 3.0, seconds: float = HOUR) -> None:
    """An hour goes by, or so many seconds, for what waits without ESI's word.

    A list that was asked for without an answer, or whose answer gave no time, is not asked for again until
    ESI's cache has certainly passed: 300 s by its specification. A torn list is left alone for a while, too.
    Lists of a test's EVE live for seconds: longest_cache of them, and what may still be cached there is
    left as it is. What was asked before a pilot was erased waits as long as if it had no answer.
    Logins that were refused are asked about again after a minute, and then ever more rarely.
    """
    assert daemon.process is None, "not under a running daemon's hands"
    if not daemon.database.exists():
        return
    now = time.time()
    books = sqlite3.connect(daemon.database)
    try:
        if books.execute("SELECT 1 FROM sqlite_master WHERE name = 'feed'").fetchone():
            books.execute(
                "UPDATE pages SET asked_at = asked_at - ? WHERE asked_at > answered_at AND asked_at < ?",
                (seconds, now - longest_cache - 1.0),
            )
            books.execute(
                "UPDATE pages SET expires_at = expires_at - ? WHERE expires_at > ?",
                (seconds, now + longest_cache + 1.0),
            )
            books.execute(
                "UPDATE gates SET value = ? WHERE value > ? "
                "AND (name = 'lists-asked' OR name LIKE 'list-asked:%')",
                (now + longest_cache + 1.0,) * 2,
            )
            for table in ("wants", "grants"):
                books.execute(f"UPDATE {table} SET not_before = max(0, not_before - ?)", (seconds,))
        books.commit()
    finally:
        books.close()


def an_hour_later(daemon: DaemonProcess) -> None:
    """Stop the daemon, let an hour go by for what waits, and start it again."""
    daemon.stop(signal.SIGTERM)
    let_waiting_pass(daemon)
    daemon.start()


def ask_the_sso_again(daemon: DaemonProcess) -> None:
    """A login that the SSO has refused once, as soon as that is so, is asked about again at once."""
    refused = "SELECT COUNT(*) FROM grants WHERE refused_since IS NOT NULL"
    wait_for(lambda: daemon.value(refused), 60, daemon.tail)
    an_hour_later(daemon)
