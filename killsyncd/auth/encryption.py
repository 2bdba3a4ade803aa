"""Encryption of tokens at rest: AES-256-GCM under keys from one small file (`key_file`).

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
import os
import secrets
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from killsyncd.auth.key_file import (
    Key,
    check_mode,
    locked,
    new_key,
    opened,
    place_new,
    read_keys,
    replace,
    sync_directory,
    text_of,
    write_beside,
)
from killsyncd.core.errors import KeyRefused

_VERSION = 1
_NONCE_BYTES = 12
_TAG_BYTES = 16
_CANARY = b"this key opens this database"
_CANARY_AAD = b"killsyncd/canary"

TokenKind = Literal["access", "refresh"]


def token_aad(character_id: int, kind: TokenKind) -> bytes:
    """Associated data of a stored token: a ciphertext moved to another row or column does not open."""
    return f"killsyncd/token/{kind}/{character_id}".encode("ascii")


class Vault:
    """The keys, and what is done with them.

    Make one with `Vault.open` or `Vault.create`. All methods are quick (microseconds a
    token) and safe to call from several threads.
    """

    def __init__(self, keys: list[Key]) -> None:
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
        with opened(path) as fd:
            check_mode(path, os.fstat(fd), credential=credential)
            return cls(read_keys(path, fd))

    @classmethod
    def create(cls, path: Path) -> Vault:
        """Write a new key file of mode 0600, durably, and open it.

        Raises KeyRefused when something is there already (nothing is overwritten, ever) or
        the directory cannot be written.
        """
        keys = [new_key()]
        try:
            # A whole file appears or none: after a crash half a key must not be in the way.
            temporary = write_beside(path, text_of(keys))
            try:
                place_new(temporary, path, text_of(keys))
            finally:
                temporary.unlink(missing_ok=True)
            sync_directory(path.parent)
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
        with locked(path) as fd:
            keys = [new_key(), *read_keys(path, fd)]
            replace(path, keys, os.fstat(fd))
        return cls(keys)

    @classmethod
    def retire(cls, path: Path) -> Vault:
        """Drop the old keys. Whatever is still encrypted under one of them is lost for good."""
        with locked(path) as fd:
            keys = read_keys(path, fd)[:1]
            replace(path, keys, os.fstat(fd))
        return cls(keys)

    @classmethod
    def with_new_key(cls, path: Path, *, credential: bool) -> str:
        """The text of a key file with a new key in front of those at `path`: for who may write that file.

        It is a secret. Raises KeyRefused as `open` does.
        """
        with opened(path) as fd:
            check_mode(path, os.fstat(fd), credential=credential)
            return text_of([new_key(), *read_keys(path, fd)])

    @classmethod
    def without_old_keys(cls, path: Path, *, credential: bool) -> str:
        """The text of a key file with only the current key of that at `path`; see `retire`."""
        with opened(path) as fd:
            check_mode(path, os.fstat(fd), credential=credential)
            return text_of(read_keys(path, fd)[:1])

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


def canary_of(text: str) -> bytes:
    """A canary as a database keeps it (base64); what can be no canary is opened by no key."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


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
