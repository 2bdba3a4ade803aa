"""What tests of the executable share: configurations in a folder, databases, mails in a file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from killsyncd.config import load
from killsyncd.core.clock import SystemClock
from killsyncd.daemon.startup import open_store_and_key
from tests.support.storage_world import document

MADE_UP = 1_795_000_000.0


def configured(folder: Path, **sections: dict[str, Any]) -> Path:
    """A configuration whose every file lies in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    values: dict[str, dict[str, Any]] = {
        "sso": {"client_id": "abc"},
        "esi": {"contact": "tests@killsyncd.invalid", "base_url": "http://127.0.0.1:9"},
        "database": {"url": f"sqlite:///{folder}/killsyncd.db"},
        "control": {"socket": f"{folder}/killsyncd.sock"},
        "security": {"key_file": f"{folder}/killsyncd.key"},
        "api": {"listen": "127.0.0.1:0"},
    }
    for name, section in sections.items():
        values.setdefault(name, {}).update(section)
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())
        for name, section in values.items()
    )
    path = folder / "killsyncd.toml"
    path.write_text(text)
    return path


async def founded(config: Path) -> None:
    """What `killsyncd run` makes on its first start: database, schema, key."""
    store, _ = await open_store_and_key(load(config, {}), SystemClock())
    await store.close()


def mails(*ids: int) -> bytes:
    return b"".join(json.dumps(document(each, MADE_UP)).encode() + b"\n" for each in ids)


def value(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(sql).fetchone()
    return row[0] if row else None
