"""A database that somebody has used for long: pilots who logged in long ago, and a great many killmails.

Pilots are registered by the same transaction that a login ends in, without 10,000 browsers. Killmails: some
thousands are imported, and then copied in SQL under other ids and earlier times.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import NewGrant
from killsyncd.core.clock import SystemClock
from killsyncd.core.model import UserState
from killsyncd.simulator import SimulatorConfig, SimulatorProcess
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.config import CORPORATION_SCOPE, KILLMAIL_SCOPE
from killsyncd.simulator.world import World
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Tx
from tests.support import DaemonProcess

OLD = 120 * 86_400.0
"""Seconds: older than anything that a list shows."""

IMPORTED = 4000
COPIED = ("killmails", "killmail_documents", "victims", "attackers", "killmail_items")
APART = 1_000_000
"""Between the ids of two copies."""


def fill(home: DaemonProcess, eve: SimulatorProcess, config: SimulatorConfig, mails: int) -> None:
    """Pilots and mails. The daemon has been started once, so that its key and its tables are there."""
    _import_mails(home, config, min(mails, IMPORTED))
    _copy(home.database, mails)
    asyncio.run(_register(home, eve, config))


def _import_mails(home: DaemonProcess, config: SimulatorConfig, count: int) -> None:
    world = World(config, SimClock())
    file = home.folder / "old.jsonl"
    with file.open("wb") as out:
        for number in range(count):
            mail = world.fight(age=OLD + number * 60.0)
            document = orjson.loads(world.body_of(mail))
            document["killmail_id"] = 1_000_000 + number  # below all that EVE makes meanwhile
            out.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    command = [sys.executable, "-m", "killsyncd", "import", str(file), "--config", str(home.config)]
    subprocess.run(command, check=True, env=home.environ, capture_output=True)


def _copy(database: Path, wanted: int) -> None:
    """Copies of what is there under other ids; indexes are made when all are in."""
    rows = sqlite3.connect(database, isolation_level=None)
    rows.execute("PRAGMA journal_mode = OFF")
    rows.execute("PRAGMA synchronous = OFF")
    rows.execute("PRAGMA cache_size = -400000")
    count = rows.execute("SELECT COUNT(*) FROM killmails").fetchone()[0]
    marks = ", ".join("?" * len(COPIED))
    indexes = rows.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND sql NOT LIKE"
        f" '%UNIQUE%' AND tbl_name IN ({marks})",
        COPIED,
    ).fetchall()
    rows.execute("BEGIN")
    for name, _ in indexes:
        rows.execute(f"DROP INDEX {name}")
    for number in range(1, wanted // count):
        for table in COPIED:
            _copy_table(rows, table, number, count)
    for _, sql in indexes:
        rows.execute(sql)
    rows.execute("UPDATE feed SET position = (SELECT MAX(feed_position) FROM killmails)")
    # The daemon has run before there was anybody: its next run is not to wait for those ten minutes.
    rows.execute("UPDATE producer SET last_run_at = NULL, last_finished_at = NULL, next_run_at = 0")
    rows.execute("COMMIT")
    rows.execute("PRAGMA journal_mode = WAL")
    rows.close()


def _copy_table(rows: sqlite3.Connection, table: str, number: int, count: int) -> None:
    columns = [row[1] for row in rows.execute(f"PRAGMA table_info({table})")]
    days = number * 2
    changed = {
        "killmail_id": f"killmail_id + {number * APART}",
        "feed_position": f"feed_position + {number * count}",
        "killmail_time": f"datetime(killmail_time, '-{days} days')",
        "killed_at": f"killed_at - {days * 86_400}",
    }
    taken = ", ".join(changed.get(each, each) for each in columns)
    into = f"INSERT INTO {table} ({', '.join(columns)})"
    rows.execute(f"{into} SELECT {taken} FROM {table} WHERE killmail_id < {2 * APART}")


async def _register(home: DaemonProcess, eve: SimulatorProcess, config: SimulatorConfig) -> None:
    vault, rng = Vault.open(home.folder / "killsyncd.key"), random.Random(1)
    world = World(config, SimClock())
    store = await SqliteStore.open(home.database, SystemClock())
    grants = GrantRepository(store)
    try:
        pilots = eve.pilots()
        for first in range(0, len(pilots), 250):
            given = []
            for pilot in pilots[first : first + 250]:
                character = int(pilot["character_id"])
                # Of a corporation its Director alone has been asked for its list.
                scopes = [KILLMAIL_SCOPE, *([CORPORATION_SCOPE] if pilot["director"] else [])]
                tokens = await asyncio.to_thread(eve.grant, character, scopes)
                now = time.time()
                given.append(
                    NewGrant(
                        character,
                        pilot["name"],
                        world.pilots[character].owner_hash(config.seed),
                        frozenset(scopes),
                        UserState.OK,
                        None,
                        vault.encrypt(tokens["access_token"], aad=token_aad(character, "access")),
                        vault.encrypt(tokens["refresh_token"], aad=token_aad(character, "refresh")),
                        now + tokens["expires_in"],
                        # As if they had logged in one after the other, and not all at once.
                        now + tokens["expires_in"] * rng.uniform(0.1, 0.75),
                    )
                )

            def write(given: list[NewGrant] = given) -> Tx[None]:
                for each in given:
                    yield from grants.register.tx(each)

            await store.write(write)
    finally:
        await store.close()
