"""Files that a command writes whole or not at all, and progress on a terminal."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from killsyncd.cli.command import printable
from killsyncd.core.errors import KillsyncdError

PART = ".killsyncd-part"
"""How the name of a file ends that is being written; the lock on it says by somebody who still lives."""


@contextmanager
def written(path: Path | None) -> Iterator[BinaryIO]:
    """A file to write to, which appears under its name when the block has ended well. None: stdout.

    Only its owner may read it: ids and hashes let anybody read the mails at ESI. A path that is there and
    no regular file (a pipe, /dev/null) is written to as it is.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as special:
                yield special
            return
        _remove_abandoned(path.parent)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise KillsyncdError(f"{path} cannot be written: {error.strerror}", "name another file") from None
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        # One that names another file is of what was to be written, and says so itself.
        if isinstance(error, BrokenPipeError) or error.filename not in (None, str(part), str(path)):
            raise
        raise KillsyncdError(f"{path} cannot be written: {error.strerror}", "name another file") from None
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed commands have left in a folder: files whose lock nobody holds any more."""
    with suppress(OSError):
        for part in folder.glob(f".*{PART}"):
            with suppress(OSError):
                descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        part.unlink()
                finally:
                    os.close(descriptor)


class Progress:
    """A bar on stderr, where that is a terminal; nothing elsewhere. total: 0 where it is not known."""

    def __init__(self, what: str, total: int) -> None:
        self._what = printable(what)
        self._total = total
        self._shown = 0.0
        self._on = sys.stderr.isatty()

    def show(self, done: int, note: str = "") -> None:
        """Draw it, at most ten times a second."""
        now = time.monotonic()
        if not self._on or now - self._shown < 0.1:
            return
        self._shown = now
        if self._total:
            part = min(1.0, done / self._total)
            bar = f"[{'#' * int(part * 30):<30}] {part:4.0%}"
        else:
            bar = f"{done >> 20} MiB"
        sys.stderr.write(f"\r\x1b[K{self._what} {bar} {note}")
        sys.stderr.flush()

    def end(self) -> None:
        """Take it away."""
        if self._on and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
