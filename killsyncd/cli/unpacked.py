"""Where the single-file executable has unpacked itself: what older builds left there is cleared away.

`make binary` makes a pex (docs/decisions/0011): each build unpacks into a folder of its own, some 90 MB,
and nothing of it ever goes by itself. What runs for long marks its own build as used, and then removes the
others that nobody uses. Elsewhere, and below a root that others may use as well, this does nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from pathlib import Path

_BUILD = re.compile(r"(?P<root>/.*/killsyncd(/pex)?)/venvs/[^/]+/[^/]+/[^/]+")
_SHARED = ("installed_wheels", "user_code")
_used: list[int] = []


def clear_old_builds(prefix: str = sys.prefix) -> int:
    """Mark this build as used while the process lives, and remove unused ones; answers how many.

    What cannot be removed stays where it is: that is no reason not to start.
    """
    if not (ours := _BUILD.fullmatch(prefix)):
        return 0
    root = Path(ours["root"])
    kept, removed = [Path(prefix)], 0
    try:
        descriptor = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _used.append(descriptor)
        for build in root.glob("venvs/*/*/*"):
            if build == Path(prefix) or build.is_symlink() or not (build / "pyvenv.cfg").is_file():
                continue
            if _in_use(build):
                kept.append(build)
            else:
                shutil.rmtree(build)
                removed += 1
        if removed:
            _clear_shared(root, kept)
    except OSError:
        pass
    return removed


def _in_use(build: Path) -> bool:
    descriptor = os.open(build, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _clear_shared(root: Path, kept: list[Path]) -> None:
    """Remove what several builds may lead to by links, and none that is left does; and links to nowhere."""
    wanted = {
        link.resolve().relative_to(root.resolve()).parts[:3]
        for build in kept
        for folder, folders, files in os.walk(build)
        for name in (*folders, *files)
        if (link := Path(folder, name)).is_symlink() and link.resolve().is_relative_to(root.resolve())
    }
    for name in _SHARED:
        for each in root.glob(f"{name}/*/*"):
            if each.is_dir() and each.relative_to(root).parts not in wanted:
                shutil.rmtree(each)
    for short in root.glob("venvs/*/s/*"):
        if not (short / "venv").exists():
            shutil.rmtree(short)
    for folder in root.glob("venvs/*/*"):
        if folder.name != "s" and not any(folder.iterdir()):
            folder.rmdir()
