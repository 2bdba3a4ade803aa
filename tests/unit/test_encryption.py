"""The key file's rules and what the ciphertexts promise."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.auth import key_file
from killsyncd.auth.encryption import Vault, canary_of, token_aad
from killsyncd.core.errors import KeyRefused

AAD = token_aad(90000001, "access")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "killsyncd.key"


def write_key_file(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def a_key(fill: int = 7) -> str:
    return base64.b64encode(bytes([fill]) * 32).decode()


def test_what_was_encrypted_comes_back(path: Path) -> None:
    vault = Vault.create(path)
    blob = vault.encrypt("a token", aad=AAD)
    assert Vault.open(path).decrypt_text(blob, aad=AAD) == "a token"
    assert b"a token" not in blob


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_bytes_come_back(plaintext: bytes, aad: bytes) -> None:
    vault = Vault([key_file.new_key()])
    assert vault.decrypt(vault.encrypt(plaintext, aad=aad), aad=aad) == plaintext


def test_the_same_token_never_looks_the_same(path: Path) -> None:
    vault = Vault.create(path)
    assert vault.encrypt("x", aad=AAD) != vault.encrypt("x", aad=AAD)


@pytest.mark.parametrize("other", [token_aad(90000002, "access"), token_aad(90000001, "refresh"), b""])
def test_a_ciphertext_does_not_open_in_another_row_or_column(path: Path, other: bytes) -> None:
    vault = Vault.create(path)
    with pytest.raises(KeyRefused, match="does not open"):
        vault.decrypt(vault.encrypt("x", aad=AAD), aad=other)


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    vault = Vault.create(path)
    blob = vault.encrypt("a token", aad=AAD)
    for at in range(len(blob)):
        damaged = bytearray(blob)
        damaged[at] ^= 1
        with pytest.raises(KeyRefused):
            vault.decrypt(bytes(damaged), aad=AAD)


@pytest.mark.parametrize("blob", [b"", b"\x01", b"\x02" * 60, b"\x01\x08short", b"\x01\x00" + b"x" * 60])
def test_what_is_no_ciphertext_is_refused(path: Path, blob: bytes) -> None:
    vault = Vault.create(path)
    with pytest.raises(KeyRefused, match="no ciphertext"):
        vault.decrypt(blob, aad=AAD)
    assert not vault.opens(blob)


def test_another_vaults_canary_does_not_open(tmp_path: Path) -> None:
    ours, theirs = Vault.create(tmp_path / "a"), Vault.create(tmp_path / "b")
    assert ours.opens(ours.canary())
    assert not ours.opens(theirs.canary())
    with pytest.raises(KeyRefused, match=f"key {theirs.key_id}"):
        ours.decrypt(theirs.encrypt("x", aad=AAD), aad=AAD)


def test_the_key_of_the_same_name_but_other_bytes_does_not_open(tmp_path: Path) -> None:
    write_key_file(tmp_path / "a", f"k1 {a_key(1)}\n")
    write_key_file(tmp_path / "b", f"k1 {a_key(2)}\n")
    assert not Vault.open(tmp_path / "b").opens(Vault.open(tmp_path / "a").canary())


def test_create_overwrites_nothing_and_leaves_nothing_else(path: Path) -> None:
    Vault.create(path)
    before = path.read_bytes()
    with pytest.raises(KeyRefused, match="exists already"):
        Vault.create(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert path.stat().st_mode & 0o7777 == 0o600


def test_create_without_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    vault = Vault.create(path)
    assert Vault.open(path).opens(vault.canary())
    with pytest.raises(KeyRefused, match="exists already"):
        Vault.create(path)


def test_create_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="cannot be written"):
        Vault.create(tmp_path / "missing" / "key")


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(KeyRefused, match=str(path)):
        Vault.open(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o440, 0o700])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    write_key_file(path, f"k1 {a_key()}\n", mode)
    with pytest.raises(KeyRefused) as refused:
        Vault.open(path)
    assert f"{mode:04o}" in refused.value.message
    assert refused.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_systemd_credentials_are_read(path: Path, mode: int) -> None:
    write_key_file(path, f"k1 {a_key()}\n", mode)
    assert Vault.open(path, credential=True).key_id == "k1"


def test_a_credential_open_to_all_is_refused(path: Path) -> None:
    write_key_file(path, f"k1 {a_key()}\n", 0o444)
    with pytest.raises(KeyRefused, match="0444"):
        Vault.open(path, credential=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_somebody_elses_file_is_refused(path: Path) -> None:
    write_key_file(path, f"k1 {a_key()}\n")
    os.chown(path, 12345, -1)
    with pytest.raises(KeyRefused, match="12345"):
        Vault.open(path)


def test_a_fifo_does_not_hold_the_start_up(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyRefused, match="regular file"):
        Vault.open(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        ("k1\n", "line 1"),
        (f"k1 {a_key()} older\n", "line 1"),
        (f"k1 {a_key()} old\n", "first key is the current one"),
        (f"k1 {a_key()}\nk2 {a_key()}\n", "line 2"),
        (f"k1 {a_key()}\nk1 {a_key()} old\n", "twice"),
        ("k1 not-base64!\n", "not base64"),
        ("k1 c2hvcnQ=\n", "5 bytes"),
        (f"{'k' * 33} {a_key()}\n", "line 1"),
        ("\0" * 70000, "too long"),
    ],
)
def test_a_broken_key_file_says_where_and_shows_no_key(path: Path, text: str, why: str) -> None:
    write_key_file(path, text)
    with pytest.raises(KeyRefused, match=why) as refused:
        Vault.open(path)
    assert a_key() not in str(refused.value)


def test_rotation_keeps_the_old_key_until_it_is_retired(path: Path) -> None:
    first = Vault.create(path)
    blob, canary = first.encrypt("x", aad=AAD), first.canary()

    Vault.rotate(path)
    rotated = Vault.rotate(path)
    assert path.read_text().count(" old\n") == 2
    assert rotated.key_id != first.key_id
    assert rotated.opens(canary)
    assert rotated.needs_reencryption(blob)
    anew = rotated.reencrypt(blob, aad=AAD)
    assert not rotated.needs_reencryption(anew)

    retired = Vault.retire(path)
    assert retired.decrypt(anew, aad=AAD) == b"x"
    assert not retired.opens(canary)
    with pytest.raises(KeyRefused):
        retired.decrypt(blob, aad=AAD)
    assert os.listdir(path.parent) == [path.name]


def test_rotation_clears_away_what_a_killed_one_left(path: Path) -> None:
    Vault.create(path)
    left, other = path.with_name(f".{path.name}.0123abcd"), path.with_name(f".{path.name}.backup")
    for each in (left, other):
        each.write_text("a key")
    Vault.rotate(path)
    assert not left.exists()
    assert other.exists()


def test_rotation_keeps_mode_and_follows_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    Vault.create(real)
    real.chmod(0o400)
    link.symlink_to(real)
    rotated = Vault.rotate(link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o7777 == 0o400
    assert Vault.open(link).key_id == rotated.key_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_rotation_by_root_leaves_the_file_to_its_owner(path: Path) -> None:
    Vault.create(path)
    os.chown(path, 0, 54321)
    Vault.rotate(path)
    assert path.stat().st_gid == 54321


def test_a_failed_rotation_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Vault.create(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(KeyRefused, match="No space left"):
        Vault.rotate(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_nothing_shows_a_key(path: Path) -> None:
    vault = Vault.create(path)
    key = path.read_text().split()[-1]
    for shown in (repr(vault), str(vault), repr(key_file.new_key())):
        assert key not in shown
        assert "secret" not in shown


@pytest.mark.parametrize("text", ["", "A", "\u00fc", "!!!!", "AAAA"])
def test_what_can_be_no_canary_is_opened_by_no_key(tmp_path: Path, text: str) -> None:
    """It comes out of a database that somebody may have written to."""
    assert not Vault.create(tmp_path / "key").opens(canary_of(text))
