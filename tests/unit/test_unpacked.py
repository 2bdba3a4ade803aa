"""Older builds of the single-file executable: cleared away, unless somebody uses them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from killsyncd.cli import unpacked


def build(root: Path, name: str, *wheels: str) -> Path:
    """What a pex leaves: an environment that leads to its wheels and its own code by links."""
    folder = root / "venvs/4" / f"{name}-pex" / name
    packages = folder / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    for kind, each in (*(("installed_wheels/3", wheel) for wheel in wheels), ("user_code/0", f"{name}-code")):
        (root / kind / each / "package").mkdir(parents=True, exist_ok=True)
        (packages / each).symlink_to(os.path.relpath(root / kind / each / "package", packages))
    short = root / "venvs/4/s" / name
    short.mkdir(parents=True)
    (short / "venv").symlink_to(Path("../..") / f"{name}-pex" / name)
    return folder


def names(root: Path) -> list[str]:
    """What is left of it."""
    found = [*root.glob("venvs/4/*/*"), *root.glob("installed_wheels/3/*"), *root.glob("user_code/0/*")]
    return sorted(each.name for each in found if each.parent.name != "s")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "killsyncd"


def test_what_older_builds_left_goes(root: Path) -> None:
    build(root, "old", "shared", "outdated")
    ours = build(root, "new", "shared", "fresh")
    assert unpacked.clear_old_builds(str(ours)) == 1
    assert names(root) == ["fresh", "new", "new-code", "shared"]
    assert sorted(each.name for each in root.glob("venvs/4/*")) == ["new-pex", "s"]
    assert [each.name for each in root.glob("venvs/4/s/*")] == ["new"]
    assert unpacked.clear_old_builds(str(ours)) == 0


def test_what_somebody_uses_stays_with_all_it_needs(root: Path) -> None:
    used = build(root, "used", "shared", "outdated")
    build(root, "old", "older")
    ours = build(root, "new", "shared")
    descriptor = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # as another process of that build holds it
        assert unpacked.clear_old_builds(str(ours)) == 1
    finally:
        os.close(descriptor)
    assert names(root) == ["new", "new-code", "outdated", "shared", "used", "used-code"]


def test_a_root_that_others_may_use_is_left_alone(tmp_path: Path) -> None:
    build(tmp_path / "pex", "somebodys", "wheel")
    ours = build(tmp_path / "pex", "new", "wheel")
    assert unpacked.clear_old_builds(str(ours)) == 0
    assert unpacked.clear_old_builds("/usr") == 0
    assert "somebodys" in names(tmp_path / "pex")
