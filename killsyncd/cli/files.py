"""Files that a command writes whole or not at all, and progress on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from killsyncd.core.errors import KillsyncdError


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
        part = path.with_name(f".{path.name}.part")
        with suppress(FileNotFoundError):
            part.unlink()
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KillsyncdError(f"{path} cannot be written: {error.strerror}", "name another file") from None
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise KillsyncdError(f"{path} cannot be written: {error.strerror}", "name another file") from None
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


class Progress:
    """A bar on stderr, where that is a terminal; nothing elsewhere. total: 0 where it is not known."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
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
