"""Where a SQLite database lies: nobody else may write there, and its lock is a file of ours."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import Refused
from killsyncd.storage.sqlite.store import SqliteStore


async def opened(path: Path) -> None:
    store = await SqliteStore.open(path, SystemClock())
    await store.close()


async def test_a_lock_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("what is there")
    (tmp_path / "killsyncd.db.lock").symlink_to(precious)
    with pytest.raises(Refused, match="symbolic link"):
        await opened(tmp_path / "killsyncd.db")
    assert precious.read_text() == "what is there"
    (tmp_path / "killsyncd.db.lock").unlink()
    (tmp_path / "killsyncd.db.lock").symlink_to(tmp_path / "missing")
    with pytest.raises(Refused, match="symbolic link"):
        await opened(tmp_path / "killsyncd.db")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("mode", "remedy"),
    [(0o777, "chmod go-w"), (0o702, "chmod o-w"), (0o1777, "folder of killsyncd's own")],
)
async def test_a_folder_that_everybody_can_write_is_refused(tmp_path: Path, mode: int, remedy: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(Refused, match="everybody may write") as refusal:
        await opened(folder / "killsyncd.db")
    assert remedy in refusal.value.hint
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    await opened(folder / "killsyncd.db")


@pytest.mark.parametrize("mode", [0o770, 0o2775])
async def test_a_folder_that_a_group_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    name = grp.getgrgid(folder.stat().st_gid).gr_name
    with pytest.raises(Refused, match=f"the group {name} may write") as refusal:
        await opened(folder / "killsyncd.db")
    assert refusal.value.hint == f"chmod g-w {folder}"
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")
async def test_somebody_else_is_told_whom_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o777)
    os.chown(folder, 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    with pytest.raises(Refused) as refusal:
        await opened(folder / "killsyncd.db")
    assert refusal.value.hint == f"have its owner or root close it: sudo chmod go-w {folder}"
