"""Everything encrypted in the database, once more under the current key.

Batches are transactions of their own: a rotation that was interrupted has some rows under the new
key and some under the old, which the key file still holds. Running it again ends it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from killsyncd.auth.encryption import TokenKind, Vault, canary_of, token_aad
from killsyncd.core.errors import KeyRefused
from killsyncd.storage.schema import CANARY
from killsyncd.storage.transaction import Run, Store, Tx, one

BATCH = 200


def verifier_aad(state_hash: str) -> bytes:
    """Associated data of a pending login's verifier; the same as in `auth.login`, which a test compares."""
    return f"killsyncd/verifier/{state_hash}".encode()


def _again(vault: Vault, blob: Any, aad: bytes) -> bytes | None:
    """A ciphertext under the current key; None for one that is not there."""
    if not blob:
        return None if blob is None else b""
    raw = bytes(blob)
    return vault.reencrypt(raw, aad=aad) if vault.needs_reencryption(raw) else raw


def _token(vault: Vault, blob: Any, character_id: int, kind: TokenKind) -> bytes | None:
    return _again(vault, blob, token_aad(character_id, kind))


def _grants(vault: Vault, after: Any) -> Tx[Any]:
    rows = yield Run("rotating.grants", {"after": after or "", "limit": BATCH})
    for row in rows:
        yield Run(
            "rotating.grant_put",
            {
                "user_id": row["user_id"],
                "access_token": _token(vault, row["access_token"], int(row["character_id"]), "access"),
                "refresh_token": _token(vault, row["refresh_token"], int(row["character_id"]), "refresh"),
            },
        )
    return rows[-1]["user_id"] if rows else None


def _revocations(vault: Vault, after: Any) -> Tx[Any]:
    rows = yield Run("rotating.revocations", {"after": after or 0, "limit": BATCH})
    for row in rows:
        token = _token(vault, row["refresh_token"], int(row["character_id"]), "refresh")
        yield Run("rotating.revocation_put", {"id": row["id"], "refresh_token": token})
    return rows[-1]["id"] if rows else None


def _logins(vault: Vault, after: Any) -> Tx[Any]:
    rows = yield Run("rotating.logins", {"after": after or "", "limit": BATCH})
    for row in rows:
        verifier = _again(vault, row["verifier"], verifier_aad(str(row["state_hash"])))
        yield Run("rotating.login_put", {"state_hash": row["state_hash"], "verifier": verifier})
    return rows[-1]["state_hash"] if rows else None


def _put_canary(vault: Vault) -> Tx[None]:
    yield Run("meta.put", {"key": CANARY, "value": base64.b64encode(vault.canary()).decode()})


def _put_first_canary(vault: Vault) -> Tx[None]:
    yield Run("meta.put_new", {"key": CANARY, "value": base64.b64encode(vault.canary()).decode()})


def _leftovers(vault: Vault) -> Tx[int]:
    """How many ciphertexts are not under the current key."""
    found = 0
    for name, after, columns in (
        ("grants", "", ("access_token", "refresh_token")),
        ("revocations", 0, ("refresh_token",)),
        ("logins", "", ("verifier",)),
    ):
        last: Any = after
        while rows := (yield Run(f"rotating.{name}", {"after": last, "limit": BATCH})):
            blobs = [bytes(row[column]) for row in rows for column in columns if row[column]]
            found += sum(vault.needs_reencryption(blob) for blob in blobs)
            last = rows[-1][0]
    return found


def _canary_text() -> Tx[str | None]:
    row = one((yield Run("meta.get", {"key": CANARY})))
    return None if row is None else str(row["value"])


async def reencrypt(store: Store, vault: Vault) -> None:
    """Put everything under the vault's current key. Raises KeyRefused for what no key of it opens."""
    steps: tuple[Callable[[Vault, Any], Tx[Any]], ...] = (_grants, _revocations, _logins)
    for step in steps:
        after: Any = None
        while (after := await store.write(step, vault, after)) is not None:
            pass
    await store.write(_put_canary, vault)
    left = await store.read(_leftovers, vault)
    if left:
        raise KeyRefused(
            f"{left} ciphertexts are still under an old key",
            "run killsyncd rotate-key again; the old keys stay",
        )


async def keep_canary(store: Store, vault: Vault) -> None:
    """Store the text by which this key is known, unless another daemon has stored its own."""
    await store.write(_put_first_canary, vault)


async def canary(store: Store) -> bytes | None:
    """The text by which the database's key is known, encrypted; None before the first start."""
    text = await store.read(_canary_text)
    return None if text is None else canary_of(text)
