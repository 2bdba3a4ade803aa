"""Whose files these are, and what somebody else does about it."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from pathlib import Path

from killsyncd.core.deployment import here
from killsyncd.core.errors import KillsyncdError, Refused


def explained(error: OSError) -> KillsyncdError:
    """What the system refused, in one line, and what to do about it. Exit code 1."""
    what = os.strerror(error.errno) if error.errno else str(error)
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    hint = {
        errno.EROFS: "it lies on a file system that is mounted read-only: name another place",
        errno.ENOSPC: "free some space there, or name another place",
    }.get(error.errno or 0, "")
    if error.errno in (errno.EACCES, errno.EPERM) and path:
        hint = as_somebody_else(Path(path))
    return KillsyncdError(f"{path}: {what}" if path else what, hint)


def as_somebody_else(path: Path) -> str:
    """What to do where we have no right on a path: be whoever has it."""
    owner = owner_of(path)
    mine = _name(os.geteuid())
    if owner != mine and _is_ours(path.parent) and path.exists():
        return f"it belongs to {owner}, and lies in a folder of {mine}: {give_back(path)}"
    if owner == mine:
        return f"it is yours ({mine}), but its mode, or that of a folder above it, keeps you out"
    return f"it belongs to {owner}, and you are {mine}: {here().as_owner(owner)}"


def owner_of(path: Path) -> str:
    """The owner of a path, or of the nearest folder above it that we may look at: name, or `#` and number."""
    while True:
        try:
            return _name(path.stat().st_uid)
        except OSError:
            if path == path.parent:
                return "root"
            path = path.parent


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # the user of a service exists only while it runs
        return f"#{uid}"


def group_name(gid: int) -> str:
    """The name of a group, or `#` and its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"


def refuse_root(*files: Path | None) -> None:
    """Raise Refused where root is about to work on files of somebody else, or in somebody else's folder.

    What root makes beside them (the WAL, the lock) would keep their owner out: the service would not start.
    And whoever owns the folder may have put a link there, to anything that only root may write.
    """
    if os.geteuid() != 0:
        return
    for file in files:
        if file is None:
            continue
        for path, look in ((file, Path.lstat), (file.parent, Path.stat)):
            try:
                owner_id = look(path).st_uid
            except OSError:
                continue
            if owner_id != 0:
                owner = _name(owner_id)
                raise Refused(
                    f"{path} belongs to {owner}, and what root makes there would keep {owner} out",
                    here().as_owner(owner),
                )


def give_back(path: Path) -> str:
    """What makes a file ours that lies in our own folder, and closes it to others; else, being its owner."""
    if not _is_ours(path.parent):
        return as_somebody_else(path)
    return f"sudo chown --reference={path.parent} {path} && sudo chmod 600 {path}"


def _is_ours(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False
