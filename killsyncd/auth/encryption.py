"""Encryption of tokens at rest: AES-256-GCM under keys from one small file.

The key file is text, one key a line, `<key-id> <base64 of 32 bytes>`. The first line is the
key that encrypts; lines with the word `old` at their end only decrypt. `#` begins a comment.

A ciphertext describes itself, so that keys can change while old rows are still about:

    1 byte   version, 1
    1 byte   length of the key id
    n bytes  key id, ASCII
    12 bytes nonce, random
    rest     ciphertext and its 16-byte tag

Version and key id are authenticated together with the caller's associated data. Nonces are
random: NIST SP 800-38D (8.3) allows 2**32 messages under one key, which 10,000 pilots reach
after eight years of refreshing; `killsyncd rotate-key` starts the count again.
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
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from killsyncd.config.ownership import give_back
from killsyncd.core.errors import KeyRefused

KEY_BYTES = 32
_VERSION = 1
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_FILE = 65536
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_CANARY = b"this key opens this database"
_CANARY_AAD = b"killsyncd/canary"
_FILE_HEAD = (
    "# killsyncd's encryption keys. Whoever has this file and the database has the tokens:\n"
    "# keep a copy apart from the database's backups. The first key encrypts, old ones only decrypt.\n"
)

TokenKind = Literal["access", "refresh"]


def token_aad(character_id: int, kind: TokenKind) -> bytes:
    """Associated data of a stored token: a ciphertext moved to another row or column does not open."""
    return f"killsyncd/token/{kind}/{character_id}".encode("ascii")


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"_Key({self.id})"


class Vault:
    """The keys, and what is done with them.

    Make one with `Vault.open` or `Vault.create`. All methods are quick (microseconds a
    token) and safe to call from several threads.
    """

    def __init__(self, keys: list[_Key]) -> None:
        self._current = keys[0].id
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    def __repr__(self) -> str:
        return f"<Vault key {self._current}, {len(self._ciphers) - 1} old>"

    @property
    def key_id(self) -> str:
        """Name of the key that encrypts. No secret."""
        return self._current

    # -- key files ---------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path, *, credential: bool = False) -> Vault:
        """Read the keys at `path`.

        credential: the file is a systemd credential ($CREDENTIALS_DIRECTORY), which systemd
        may show as 0440; anything else must be 0600 or 0400. It must belong to us or root.

        Raises KeyRefused: missing, unreadable, open to others, or not a key file.
        """
        with _opened(path) as fd:
            _check_mode(path, os.fstat(fd), credential=credential)
            return cls(_read_keys(path, fd))

    @classmethod
    def create(cls, path: Path) -> Vault:
        """Write a new key file of mode 0600, durably, and open it.

        Raises KeyRefused when something is there already (nothing is overwritten, ever) or
        the directory cannot be written.
        """
        keys = [_new_key()]
        try:
            # A whole file appears or none: after a crash half a key must not be in the way.
            temporary = _write_beside(path, _text(keys))
            try:
                _place_new(temporary, path, _text(keys))
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(path.parent)
        except FileExistsError:
            raise KeyRefused(f"{path} exists already", "Open it, or move it away first.") from None
        except OSError as error:
            raise KeyRefused(
                f"the key file {path} cannot be written: {error.strerror}",
                "Create the directory, or give killsyncd's user the right to write there.",
            ) from None
        return cls(keys)

    @classmethod
    def rotate(cls, path: Path) -> Vault:
        """Put a new key in front; those which were there stay as `old` and still decrypt.

        The file is replaced atomically and keeps its owner and mode. Encrypt everything
        anew (`needs_reencryption`, `reencrypt`) before calling `retire`.
        """
        with _locked(path) as fd:
            keys = [_new_key(), *_read_keys(path, fd)]
            _replace(path, keys, os.fstat(fd))
        return cls(keys)

    @classmethod
    def retire(cls, path: Path) -> Vault:
        """Drop the old keys. Whatever is still encrypted under one of them is lost for good."""
        with _locked(path) as fd:
            keys = _read_keys(path, fd)[:1]
            _replace(path, keys, os.fstat(fd))
        return cls(keys)

    @classmethod
    def with_new_key(cls, path: Path, *, credential: bool) -> str:
        """The text of a key file with a new key in front of those at `path`: for who may write that file.

        It is a secret. Raises KeyRefused as `open` does.
        """
        with _opened(path) as fd:
            _check_mode(path, os.fstat(fd), credential=credential)
            return _text([_new_key(), *_read_keys(path, fd)])

    @classmethod
    def without_old_keys(cls, path: Path, *, credential: bool) -> str:
        """The text of a key file with only the current key of that at `path`; see `retire`."""
        with _opened(path) as fd:
            _check_mode(path, os.fstat(fd), credential=credential)
            return _text(_read_keys(path, fd)[:1])

    def adopt(self, other: Vault) -> None:
        """Take over another vault's keys, for a daemon that runs while its key is rotated.

        Raises KeyRefused unless `other` can open what this one encrypted so far.
        """
        if not other.opens(self.canary()):
            raise KeyRefused(
                f"the key file no longer holds the key {self._current} that is in use",
                "Put it back as an `old` line, or restart after `killsyncd rotate-key` has ended.",
            )
        self._ciphers, self._current = other._ciphers, other._current

    # -- encryption --------------------------------------------------------------------------

    def encrypt(self, plaintext: str | bytes, *, aad: bytes) -> bytes:
        """Ciphertext under the current key, to be opened with the same associated data only."""
        secret = plaintext.encode() if isinstance(plaintext, str) else plaintext
        head = _head(self._current)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return head + nonce + self._ciphers[self._current].encrypt(nonce, secret, head + aad)

    def decrypt(self, blob: bytes, *, aad: bytes) -> bytes:
        """The plaintext.

        Raises KeyRefused: another key's, damaged, or stored in a place it was not made for.
        """
        key_id, head, rest = _parse(blob)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyRefused(
                f"this was encrypted under the key {key_id}, which the key file does not hold",
                "Put the key file back that belongs to this database (security.key_file).",
            )
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + aad)
        except InvalidTag:
            raise KeyRefused(
                f"a ciphertext under the key {key_id} does not open: damaged, or moved from another row",
                "Restore the database from a backup, or log that pilot in again.",
            ) from None

    def decrypt_text(self, blob: bytes, *, aad: bytes) -> str:
        """`decrypt` for what was a str."""
        return self.decrypt(blob, aad=aad).decode()

    def needs_reencryption(self, blob: bytes) -> bool:
        """Whether `blob` is under another key than the current one."""
        return _parse(blob)[0] != self._current

    def reencrypt(self, blob: bytes, *, aad: bytes) -> bytes:
        """The same plaintext under the current key."""
        return self.encrypt(self.decrypt(blob, aad=aad), aad=aad)

    def canary(self) -> bytes:
        """A ciphertext to keep in the database, by which its key can be told (see `opens`)."""
        return self.encrypt(_CANARY, aad=_CANARY_AAD)

    def opens(self, canary: bytes) -> bool:
        """Whether `canary` was made with one of our keys."""
        try:
            return secrets.compare_digest(self.decrypt(canary, aad=_CANARY_AAD), _CANARY)
        except KeyRefused:
            return False


def _head(key_id: str) -> bytes:
    return bytes((_VERSION, len(key_id))) + key_id.encode("ascii")


def _parse(blob: bytes) -> tuple[str, bytes, bytes]:
    """(key id, authenticated head, nonce and ciphertext)."""
    length = blob[1] if len(blob) > 1 else 0
    head, rest = blob[: 2 + length], blob[2 + length :]
    if not length or blob[0] != _VERSION or len(rest) < _NONCE_BYTES + _TAG_BYTES:
        raise KeyRefused(
            "this is no ciphertext of killsyncd, or one of a newer version",
            "Use the version that wrote it, or restore the database from a backup.",
        )
    return head[2:].decode("ascii", "replace"), head, rest


def _new_key() -> _Key:
    return _Key(secrets.token_hex(4), AESGCM.generate_key(bit_length=8 * KEY_BYTES))


def _text(keys: list[_Key]) -> str:
    current, *old = (f"{key.id} {base64.b64encode(key.secret).decode()}" for key in keys)
    return _FILE_HEAD + current + "\n" + "".join(f"{line} old\n" for line in old)


def _read_keys(path: Path, fd: int) -> list[_Key]:
    raw = b""
    while chunk := os.read(fd, _MAX_FILE):
        raw += chunk
        if len(raw) > _MAX_FILE:
            raise _malformed(path, "it is too long")
    keys: list[_Key] = []
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
        keys.append(_Key(words[0], _decode_key(path, number, words[1])))
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


def _check_mode(path: Path, info: os.stat_result, *, credential: bool) -> None:
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
def _opened(path: Path) -> Iterator[int]:
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
def _locked(path: Path) -> Iterator[int]:
    """Open `path` under an exclusive lock: of two rotations at once, none may lose the other's key."""
    while True:
        with _opened(path) as fd:
            _check_mode(path, os.fstat(fd), credential=False)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever held the lock before us has put another file in its place.
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                yield fd
                return


def _replace(path: Path, keys: list[_Key], before: os.stat_result) -> None:
    target = Path(os.path.realpath(path))
    try:
        _sweep(target)
        temporary = _write_beside(target, _text(keys))
        try:
            # Root may rotate the key of a daemon that runs as somebody else.
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, before.st_uid, before.st_gid)
            os.chmod(temporary, stat.S_IMODE(before.st_mode))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(target.parent)
    except OSError as error:
        raise KeyRefused(
            f"the key file {path} cannot be replaced: {error.strerror}",
            "Run this as the file's owner, with the right to write in its directory. Nothing was changed.",
        ) from None


def _sweep(path: Path) -> None:
    """Keys that a rotation left beside the file when it was killed: nobody else would ever retire them."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        left.unlink(missing_ok=True)


def _write_beside(path: Path, text: str) -> Path:
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


def _place_new(temporary: Path, path: Path, text: str) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        _write_new(path, text)  # a file system without hard links


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
