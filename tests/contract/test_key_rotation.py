"""A new key: everything encrypted is under it afterwards, also after an interruption."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from killsyncd.auth import login as logins
from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.core.errors import KeyRefused
from killsyncd.storage.repositories import key_rotation as rotating
from killsyncd.storage.repositories.revocations import logout
from tests.support.storage_world import StorageWorld


async def filled(world: StorageWorld, vault: Vault) -> None:
    for character in (1, 2, 3):
        pilot = await world.pilot(character)
        for kind, column in (("access", "access_token"), ("refresh", "refresh_token")):
            blob = vault.encrypt(f"{kind}-{character}", aad=token_aad(character, kind))  # type: ignore[arg-type]
            await world.rows(
                f"UPDATE grants SET {column} = :blob WHERE user_id = :id", blob=blob, id=pilot.user_id
            )
        if character == 3:
            await logout(world.store, pilot.user_id, erase=False)
    at = await world.now()
    for name, verifier in (("a" * 64, "verifier"), ("b" * 64, None)):
        blob = vault.encrypt(verifier, aad=rotating.verifier_aad(name)) if verifier else b""
        await world.rows(
            "INSERT INTO login_states (state_hash, door, verifier, created_at, expires_at)"
            " VALUES (:name, 'cli', :blob, :at, :at)",
            name=name,
            blob=blob,
            at=at,
        )
    canary = base64.b64encode(vault.canary()).decode()
    await world.rows("INSERT INTO meta (key, value) VALUES ('key_canary', :canary)", canary=canary)


async def opens(world: StorageWorld, vault: Vault) -> None:
    for row in await world.rows("SELECT u.character_id, g.* FROM grants g JOIN users u ON u.id = g.user_id"):
        character = int(row["character_id"])
        for kind in ("access", "refresh"):
            blob = bytes(row[f"{kind}_token"])
            assert vault.decrypt_text(blob, aad=token_aad(character, kind)) == f"{kind}-{character}"  # type: ignore[arg-type]
    row = await world.row("SELECT character_id, refresh_token FROM revocations")
    assert vault.decrypt_text(bytes(row["refresh_token"]), aad=token_aad(3, "refresh")) == "refresh-3"
    row = await world.row("SELECT verifier FROM login_states WHERE state_hash = :name", name="a" * 64)
    assert vault.decrypt_text(bytes(row[0]), aad=rotating.verifier_aad("a" * 64)) == "verifier"
    canary = await rotating.canary(world.store)
    assert canary is not None
    assert vault.opens(canary)


async def test_everything_is_under_the_new_key(world: StorageWorld, tmp_path: Path) -> None:
    path = tmp_path / "key"
    await filled(world, Vault.create(path))
    vault = Vault.rotate(path)
    await rotating.reencrypt(world.store, vault)
    await opens(world, Vault.retire(path))


async def test_an_interrupted_rotation_is_ended_by_the_next(world: StorageWorld, tmp_path: Path) -> None:
    path = tmp_path / "key"
    await filled(world, Vault.create(path))
    half = Vault.rotate(path)
    await world.store.write(rotating._grants, half, None)  # and here the power went
    await opens(world, Vault.open(path))
    vault = Vault.rotate(path)
    await rotating.reencrypt(world.store, vault)
    await opens(world, Vault.retire(path))


async def test_what_no_key_opens_keeps_the_old_keys(world: StorageWorld, tmp_path: Path) -> None:
    path = tmp_path / "key"
    await filled(world, Vault.create(path))
    foreign = Vault.create(tmp_path / "other").encrypt("x", aad=b"")
    await world.rows("UPDATE grants SET access_token = :blob", blob=foreign)
    with pytest.raises(KeyRefused):
        await rotating.reencrypt(world.store, Vault.rotate(path))
    assert path.read_text().endswith(" old\n")


def test_verifiers_are_bound_as_logins_bind_them() -> None:
    assert rotating.verifier_aad("ab") == logins._verifier_aad("ab")
