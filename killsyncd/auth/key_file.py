"""The file that holds the encryption keys: read, checked, written anew.

It is text, one key a line, `<key-id> <base64 of 32 bytes>`. The first line is the key that encrypts; lines
with the word `old` at their end only decrypt. `#` begins a comment.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import glob
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from killsyncd.config.ownership import give_back
from killsyncd.core.errors import KeyRefused

KEY_BYTES = 32
_MAX_FILE = 65536
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_FILE_HEAD = (
    "# killsyncd's encryption keys. Whoever has this file and the database has the tokens:\n"
    "# keep a copy apart from the database's backups. The first key encrypts, old ones only decrypt.\n"
)


@dataclass(frozen=True, slots=True)
class Key:
    """id: stands in every ciphertext. secret: 32 bytes."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"


def new_key() -> Key:
    """A random key with a random name."""
    return Key(secrets.token_hex(4), AESGCM.generate_key(bit_length=8 * KEY_BYTES))


def text_of(keys: list[Key]) -> str:
    """The file's text; the first key is the current one. It is a secret."""
    current, *old = (f"{key.id} {base64.b64encode(key.secret).decode()}" for key in keys)
    return _FILE_HEAD + current + "\n" + "".join(f"{line} old\n" for line in old)


def read_keys(path: Path, fd: int) -> list[Key]:
    """The keys in an open file, the current one first. Raises KeyRefused."""
    raw = b""
    while chunk := os.read(fd, _MAX_FILE):
        raw += chunk
        if len(raw) > _MAX_FILE:
            raise _malformed(path, "it is too long")
    keys: list[Key] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        marks = words[2:]
        if marks not in ([], ["old"]) or len(words) < 2 or not _KEY_ID.fullmatch(words[0]):
            raise _malformed(path, f"line {number} is not `<key-id> <base64> [old]`")
        if bool(marks) != bool(keys):
            raise _malformed(path, f"line {number}: the first key is the current one, all others are `old`")
        if any(key.id == words[0] for key in keys):
            raise _malformed(path, f"line {number}: the key id stands there twice")
        keys.append(Key(words[0], _decode_key(path, number, words[1])))
    if not keys:
        raise _malformed(path, "it holds no key")
    return keys


def _decode_key(path: Path, number: int, text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _malformed(path, f"line {number}: not base64") from None
    if len(secret) != KEY_BYTES:
        raise _malformed(path, f"line {number}: {len(secret)} bytes instead of {KEY_BYTES}")
    return secret


def _malformed(path: Path, why: str) -> KeyRefused:
    return KeyRefused(
        f"{path} is not a key file of killsyncd: {why}",
        "Put the right file there; without its key no stored token can be read and all must log in again.",
    )


def check_mode(path: Path, info: os.stat_result, *, credential: bool) -> None:
    """Raises KeyRefused where others may read the file, or it belongs to somebody else."""
    mode = stat.S_IMODE(info.st_mode)
    if not stat.S_ISREG(info.st_mode):
        raise KeyRefused(f"{path} is not a regular file", "Name a key file in security.key_file.")
    if info.st_uid not in (os.geteuid(), 0):
        raise KeyRefused(
            f"the key file {path} belongs to user id {info.st_uid}, not to us ({os.geteuid()}) or root",
            give_back(path),
        )
    # systemd lets the service read a credential by an ACL, which stat shows as the group's right.
    allowed = (0o600, 0o400, 0o440) if credential else (0o600, 0o400)
    if mode not in allowed:
        raise KeyRefused(
            f"the key file {path} has mode {mode:04o}: others may read it; allowed are 0600 and 0400",
            f"chmod 600 {path}",
        )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file, open for reading. Raises KeyRefused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except FileNotFoundError:
        raise KeyRefused(
            f"there is no key file {path}",
            "Put the key file back; a new one is made only for a database without tokens.",
        ) from None
    except OSError as error:
        raise KeyRefused(
            f"the key file {path} cannot be read: {error.strerror}",
            give_back(path),
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Open `path` under an exclusive lock: of two rotations at once, none may lose the other's key."""
    while True:
        with opened(path) as fd:
            check_mode(path, os.fstat(fd), credential=False)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever held the lock before us has put another file in its place.
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                yield fd
                return


def replace(path: Path, keys: list[Key], before: os.stat_result) -> None:
    """Put a file with these keys in its place, with the owner and mode it had. Raises KeyRefused."""
    target = Path(os.path.realpath(path))
    try:
        _sweep(target)
        temporary = write_beside(target, text_of(keys))
        try:
            # Root may rotate the key of a daemon that runs as somebody else.
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, before.st_uid, before.st_gid)
            os.chmod(temporary, stat.S_IMODE(before.st_mode))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(target.parent)
    except OSError as error:
        raise KeyRefused(
            f"the key file {path} cannot be replaced: {error.strerror}",
            "Run this as the file's owner, with the right to write in its directory. Nothing was changed.",
        ) from None


def _sweep(path: Path) -> None:
    """Keys that a rotation left beside the file when it was killed: nobody else would ever retire them."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        left.unlink(missing_ok=True)


def write_beside(path: Path, text: str) -> Path:
    """A new file in the same directory, written and synced. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _write_new(temporary, text)
    return temporary


def _write_new(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask says
        with os.fdopen(os.dup(fd), "w") as file:
            file.write(text)
        os.fsync(fd)
    finally:
        os.close(fd)


def place_new(temporary: Path, path: Path, text: str) -> None:
    """Give a file that was written beside its name. Raises FileExistsError, OSError."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        _write_new(path, text)  # a file system without hard links


def sync_directory(path: Path) -> None:
    """Make a change of names durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
