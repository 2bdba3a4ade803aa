"""SQLite's errors as ours, each with what to do next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from killsyncd.core.errors import OBSTACLE_REMEDY, KillsyncdError, Refused, SchemaRefused, Unavailable


def translated(error: sqlite3.Error, path: Path) -> KillsyncdError:
    """What SQLite met at this file: refused for good, or unavailable for now."""
    text = str(error)
    if "not a database" in text:
        return SchemaRefused(
            f"{path} is not a SQLite database", "set [database] url to another file, or restore a backup"
        )
    if "malformed" in text:
        return Refused(f"{path} is damaged: {text}", "restore a backup: killsyncd restore FILE")
    if text.startswith("error in ") or "already exists" in text:
        return SchemaRefused(f"the schema of {path} cannot be changed: {text}", OBSTACLE_REMEDY)
    if "unable to open" in text or "readonly" in text:
        return Refused(f"the database cannot be written: {path}: {text}", f"check owner and mode of {path}")
    if "no such table" in text or "no such column" in text:
        return SchemaRefused(
            f"{path} lacks a table or a column: {text}",
            "its schema is not this killsyncd's; what it is: killsyncd check",
        )
    if "full" in text:
        return Unavailable(f"the disk of {path} is full", "free some space; work goes on by itself")
    if "interrupted" in text:
        return Unavailable("the query took too long and was ended", "ask for less at once")
    return Unavailable(f"the database does not work: {path}: {text}", "killsyncd check")
