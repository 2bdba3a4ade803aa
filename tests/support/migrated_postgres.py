"""PostgreSQL databases with the schema in them, used again after they were emptied.

Making one costs a third of a second of the server's CPU, emptying it a fraction of that. One that is no
longer as it was made, but for its rows, is dropped.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import asyncpg

from killsyncd.storage.migrations import migrate
from killsyncd.storage.postgres.store import PostgresStore
from tests.support.server_urls import create_database, drop_database

ALONE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
MINE = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
SHAPE = f"""
SELECT md5(string_agg(part, E'\\n' ORDER BY part)) FROM (
    SELECT concat_ws(' ', 'relation', n.nspname, c.relname, c.relkind, c.relacl, c.reloptions,
        c.relrowsecurity, CASE WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid)
             WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END) AS part
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {MINE}
    UNION ALL
    SELECT concat_ws(' ', 'column', a.attrelid::regclass, a.attnum, a.attname, a.atttypid::regtype,
        a.attnotnull, a.attidentity, a.attgenerated, a.attisdropped, a.attacl,
        pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum) WHERE {MINE}
    UNION ALL
    SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(o.oid))
    FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace WHERE {MINE}
    UNION ALL
    SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {MINE} AND NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'function', p.oid::regprocedure, p.prosrc)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {MINE}
    UNION ALL
    SELECT concat_ws(' ', 'schema', n.nspname, n.nspacl) FROM pg_namespace n WHERE {MINE}
    UNION ALL
    SELECT concat_ws(' ', 'setting', setrole, setconfig) FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()
    UNION ALL
    SELECT concat_ws(' ', 'database', datacl, datconnlimit) FROM pg_database
    WHERE datname = current_database()
    UNION ALL
    SELECT concat_ws(' ', 'analyzed', starelid::regclass) FROM pg_statistic s
    JOIN pg_class c ON c.oid = s.starelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {MINE}
) AS parts
"""
FILLED = (
    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE {MINE} AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0 ORDER BY 1"
)
SEQUENCES = "SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences ORDER BY 1"

Rows = dict[str, list[tuple[Any, ...]]]


class MigratedDatabases:
    """Those of one process, for its tests, one after the other."""

    def __init__(self) -> None:
        self._free: list[str] = []
        self._shape = ""
        self._rows: Rows = {}
        self._sequences: list[tuple[Any, ...]] = []

    async def take(self) -> str:
        """The address of one with the schema and nothing else in it. Skips without a server."""
        if self._free:
            return self._free.pop()
        url = await create_database()
        store = await PostgresStore.open(url)
        await migrate(store)
        await store.close()
        if not self._shape:
            connection = await asyncpg.connect(url)
            try:
                self._shape = await connection.fetchval(SHAPE)
                self._rows = await _rows(connection)
                self._sequences = [tuple(each) for each in await connection.fetch(SEQUENCES)]
            finally:
                await connection.close()
        return url

    async def give_back(self, url: str) -> None:
        """The test is over."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError):
            if await self._emptied(url):
                self._free.append(url)
                return
        await drop_database(url)

    async def end(self) -> None:
        """Drop them."""
        while self._free:
            await drop_database(self._free.pop())

    async def _emptied(self, url: str) -> bool:
        """Whether it is as it was made."""
        connection = await asyncpg.connect(url, timeout=30, server_settings={"lock_timeout": "5s"})
        try:
            await connection.execute(ALONE)
            if await connection.fetchval(SHAPE) != self._shape:
                return False
            # Rows alone are put back: no foreign key is asked meanwhile.
            await connection.execute("SET session_replication_role = replica")
            changed = {
                table: rows
                for table, rows in (await _rows(connection)).items()
                if rows != self._rows.get(table, [])
            }
            if changed:
                await connection.execute(f"TRUNCATE {', '.join(changed)} RESTART IDENTITY CASCADE")
            present = await _rows(connection)
            for table, rows in self._rows.items():
                if rows != present.get(table, []):
                    places = ", ".join(f"${number}" for number in range(1, len(rows[0]) + 1))
                    await connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
            if await _rows(connection) != self._rows:
                return False
            for name, value in await connection.fetch(SEQUENCES):
                if value is not None and (name, None) in self._sequences:
                    await connection.execute(f"ALTER SEQUENCE {name} RESTART")
            return [tuple(each) for each in await connection.fetch(SEQUENCES)] == self._sequences
        finally:
            await connection.close()


async def _rows(connection: Any) -> Rows:
    found: Rows = {}
    for (table,) in await connection.fetch(FILLED):
        rows = [tuple(each) for each in await connection.fetch(f"SELECT * FROM {table}")]
        if rows:
            found[table] = sorted(rows, key=repr)
    return found
