"""The bare parts of bringing a mail home, each alone in a process: what nobody can be cheaper than.

Run as `python -m bench.parts PART FILE`, where FILE is JSON with the mails' addresses and the database that
they were brought home to; prints a line of JSON. Left out, as too little to matter: the pages of the list,
the requests for names, and the ledger's rows that go when a mail is stored.
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
OF_A_MAIL = ("killmails", "killmail_documents", "victims", "attackers", "killmail_items", "sightings")
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
    from killsyncd.core.killmail import decode

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


def part_poll(given: dict[str, Any]) -> None:
    """Nothing but a GET that is answered 304, and one write transaction for it, for every list some times."""
    import uvloop

    uvloop.run(_poll(given))


async def _poll(given: dict[str, Any]) -> None:
    import aiohttp

    headers = given["headers"]
    write = await _writer_of(given)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        waiting = iter([each for _ in range(given["rounds"]) for each in headers.items()])

        async def worker() -> None:
            for path, header in waiting:
                async with session.get(given["base"] + path, headers=header) as answer:
                    assert answer.status == 304, answer.status
                    await answer.read()
                await write()

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


async def _writer_of(given: dict[str, Any]) -> Any:
    """One row updated in a transaction of its own, as durably as the daemon writes."""
    if given["postgres"]:
        import asyncpg

        pool = await asyncpg.create_pool(given["postgres"], min_size=4, max_size=4)
        await pool.execute("CREATE TABLE IF NOT EXISTS bare (id INT PRIMARY KEY, n INT)")
        await pool.execute("INSERT INTO bare VALUES (1, 0) ON CONFLICT DO NOTHING")

        async def write() -> None:
            async with pool.acquire() as server, server.transaction():
                await server.execute("UPDATE bare SET n = n + 1 WHERE id = $1", 1)

        return write
    file = sqlite3.connect(given["folder"] / "bare.db", isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, n INTEGER)")
    file.execute("INSERT INTO bare VALUES (1, 0)")

    async def write_file() -> None:
        file.execute("BEGIN IMMEDIATE")
        file.execute("UPDATE bare SET n = n + 1 WHERE id = ?", (1,))
        file.execute("COMMIT")

    return write_file


async def _validators(given: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The headers of each list's next request: what a first one answered."""
    import aiohttp

    found = {}
    async with aiohttp.ClientSession() as session:
        for path, token in given["lists"]:
            headers = {
                "Authorization": f"Bearer {token}",
                "X-Compatibility-Date": "2026-08-18",
                "User-Agent": "killsyncd-bench/1 (bench@killsyncd.invalid)",
            }
            async with session.get(given["base"] + path, headers=headers) as answer:
                assert answer.status == 200, answer.status
                found[path] = {**headers, "If-None-Match": answer.headers["ETag"]}
    return found


def _prepare_store(given: dict[str, Any], folder: Path) -> None:
    """The rows that the daemon has stored, as they stand in its database, in batches by its feed."""
    from killsyncd.core.killmail import decode
    from killsyncd.core.killmail_rows import entity_ids
    from killsyncd.storage.documents import unpack
    from killsyncd.storage.migrations import migrations

    connection = sqlite3.connect(folder / "parts.db", isolation_level=None)
    connection.create_function("epoch_now", 0, time.time)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for migration in migrations():
        for statement in migration.statements("sqlite"):
            connection.execute(statement)

    source = sqlite3.connect(f"file:{given['database']}?mode=ro", uri=True)
    columns = {
        table: [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
        for table in (*OF_A_MAIL, "names")
    }

    def rows(table: str, key: str, ids: list[int]) -> list[tuple[Any, ...]]:
        return source.execute(
            f"SELECT * FROM {table} WHERE {key} IN (SELECT value FROM json_each(?)) ORDER BY {key}",
            (json.dumps(ids),),
        ).fetchall()

    def insertion(table: str, values: list[tuple[Any, ...]]) -> tuple[str, list[tuple[Any, ...]]]:
        marks = ", ".join("?" * len(columns[table]))
        return f"INSERT INTO {table} ({', '.join(columns[table])}) VALUES ({marks})", values

    order = [row[0] for row in source.execute("SELECT killmail_id FROM killmails ORDER BY feed_position")]
    batches, named = [], set[int]()
    for start in range(0, len(order), BATCH):
        ids = order[start : start + BATCH]
        found = {table: rows(table, "killmail_id", ids) for table in OF_A_MAIL}
        # A name is written when its id is first seen.
        seen = (
            entity_ids(*(decode(unpack(*document)) for _, *document in found["killmail_documents"])) - named
        )
        named |= seen
        found["names"] = rows("names", "id", sorted(seen))
        batches.append([insertion(table, values) for table, values in found.items()])
    source.close()
    given["connection"], given["batches"] = connection, batches


PARTS = {"get": part_get, "decode": part_decode, "store": part_store, "poll": part_poll}


def main() -> None:
    """Measure one part: CPU seconds of its own work, without imports and preparation."""
    name, file = sys.argv[1:3]
    given = json.loads(Path(file).read_text())
    with tempfile.TemporaryDirectory() as folder:
        if name == "get":
            import aiohttp  # noqa: F401 - imported before the clock starts
            import uvloop
        elif name == "decode":
            given["bodies"] = asyncio.run(_get(given["base"], given["paths"]))
        elif name == "poll":
            import asyncpg  # noqa: F401
            import uvloop  # noqa: F401

            given["headers"], given["folder"] = asyncio.run(_validators(given)), Path(folder)
        else:
            _prepare_store(given, Path(folder))
        before, began = _spent(), time.perf_counter()
        PARTS[name](given)
        print(json.dumps({"cpu": _spent() - before, "wall": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
