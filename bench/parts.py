"""The bare parts of bringing a mail home, each alone in a process: what nobody can be cheaper than.

Run as `python -m bench.parts PART FILE`, where FILE is JSON with the mails' addresses; prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 200
CONNECTIONS = 20


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _get(base: str, paths: list[str]) -> list[bytes]:
    """GET every path over CONNECTIONS connections, keeping the bodies."""
    import aiohttp

    bodies: list[bytes] = []
    waiting = iter(paths)
    headers = {
        "X-Compatibility-Date": "2026-08-18",
        "User-Agent": "killsyncd-bench/1 (bench@killsyncd.invalid)",
    }
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def worker() -> None:
            for path in waiting:
                async with session.get(base + path, headers=headers) as answer:
                    bodies.append(await answer.read())

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return bodies


def part_get(given: dict[str, Any]) -> None:
    """Nothing but the requests."""
    import uvloop

    uvloop.run(_get(given["base"], given["paths"]))


def part_decode(given: dict[str, Any]) -> None:
    """Nothing but the decoding."""
    from killsyncd.killmail import decode

    for raw in given["bodies"]:
        decode(raw)


def part_store(given: dict[str, Any]) -> None:
    """Nothing but executemany of the same rows, into the same tables with the same durability."""
    connection: sqlite3.Connection = given["connection"]
    for statements in given["batches"]:
        connection.execute("BEGIN IMMEDIATE")
        for sql, rows in statements:
            connection.executemany(sql, rows)
        connection.execute("COMMIT")


def _prepare_store(given: dict[str, Any], folder: Path) -> None:
    from killsyncd.arrivals import Arrival
    from killsyncd.killmail import attacker_rows, decode, item_rows, killmail_row, victim_row
    from killsyncd.storage.migrate import migrations
    from killsyncd.storage.storing import ATTACKERS, ITEMS, VICTIMS

    connection = sqlite3.connect(folder / "parts.db", isolation_level=None)
    connection.create_function("epoch_now", 0, time.time)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for migration in migrations():
        for statement in migration.statements("sqlite"):
            connection.execute(statement)

    def insert(table: str, columns: tuple[str, ...]) -> str:
        marks = ", ".join("?" * len(columns))
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"

    killmails = (
        "killmail_id", "killmail_hash", "killmail_time", "solar_system_id", "war_id", "moon_id",
        "attacker_count", "solo", "npc", "feed_position", "fresh", "origin", "listed_at", "fetched_at",
        "created_at",
    )  # fmt: skip
    arrivals = [Arrival(decode(raw), "0" * 40, raw, 0.0) for raw in given["bodies"]]
    batches = []
    for start in range(0, len(arrivals), BATCH):
        part = arrivals[start : start + BATCH]
        mails = [each.killmail for each in part]
        heads = []
        for position, each in enumerate(part, start=start + 1):
            row = killmail_row(each.killmail, each.killmail_hash)
            when = row[2].strftime("%Y-%m-%d %H:%M:%S")
            heads.append((*row[:2], when, *row[3:], position, False, "esi", 0.0, 0.0, when))
        batches.append(
            [
                (insert("killmails", killmails), heads),
                (
                    insert("killmail_documents", ("killmail_id", "document")),
                    [(each.killmail.killmail_id, each.raw) for each in part],
                ),
                (insert("victims", VICTIMS), [victim_row(mail) for mail in mails]),
                (insert("attackers", ATTACKERS), [row for mail in mails for row in attacker_rows(mail)]),
                (insert("killmail_items", ITEMS), [row for mail in mails for row in item_rows(mail)]),
            ]
        )
    given["connection"], given["batches"] = connection, batches


PARTS = {"get": part_get, "decode": part_decode, "store": part_store}


def main() -> None:
    """Measure one part: CPU seconds of its own work, without imports and preparation."""
    name, file = sys.argv[1:3]
    given = json.loads(Path(file).read_text())
    with tempfile.TemporaryDirectory() as folder:
        if name == "get":
            import aiohttp  # noqa: F401 - imported before the clock starts
            import uvloop  # noqa: F401
        else:
            given["bodies"] = asyncio.run(_get(given["base"], given["paths"]))
        if name == "store":
            _prepare_store(given, Path(folder))
        before, began = _spent(), time.perf_counter()
        PARTS[name](given)
        print(json.dumps({"cpu": _spent() - before, "wall": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
