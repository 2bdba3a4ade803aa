"""Secrets: a wrapper that does not print, and files that nobody else may read."""

from __future__ import annotations

import hmac
import os
import stat
from pathlib import Path
from typing import NoReturn

# Far above any client secret, token or password; keeps a mistaken /dev/zero or a database out of memory.
SECRET_FILE_BYTES = 16384


class Secret:
    """A text that shows itself only when asked by `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Never log, print or put into an error what this returns."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Whether both are the same, in a time that does not tell how much of it is."""
        return hmac.compare_digest(self._value.encode(), candidate.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied out of the process")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


class SecretFileRefused(Exception):
    """A secret's file that cannot be taken; the text says why and what to do."""


def open_to_others(mode: int) -> bool:
    """Whether group or others have any right on a file of this mode."""
    return bool(stat.S_IMODE(mode) & 0o077)


def read_secret_file(file: Path, *, exempt_from_mode: bool) -> Secret:
    """The secret in a file, without the newline at its end.

    exempt_from_mode: for systemd's credentials directory, which is closed itself
    (files in it may show a group bit that is an ACL's mask).
    """
    try:
        # O_NONBLOCK: a FIFO in the file's place must not stop the start for ever.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretFileRefused(f"cannot be read: {error.strerror}") from None
    try:
        # Of the open file, not of the path: nobody can swap it in between.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretFileRefused("is not a regular file")
        if open_to_others(status.st_mode) and not exempt_from_mode:
            mode = stat.S_IMODE(status.st_mode)
            raise SecretFileRefused(f"has mode {mode:04o}, so others may use it; do: chmod 600 {file}")
        content = os.read(descriptor, SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise SecretFileRefused(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > SECRET_FILE_BYTES:
        raise SecretFileRefused(f"is larger than {SECRET_FILE_BYTES} bytes, so it is no secret of ours")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretFileRefused("is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise SecretFileRefused("is empty; write the secret into it")
    if any(ord(each) < 32 or ord(each) == 127 for each in text):
        raise SecretFileRefused("holds more than one line, or control characters")
    return Secret(text)
