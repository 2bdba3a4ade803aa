"""SQLite: the steps of a transaction, run in the thread of their connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, TypeVar

import orjson

from killsyncd.storage.queries import Query, compile_query, load
from killsyncd.storage.transaction import Bulk, Ids, Many, Row, RowRefused, Run, Sql, Step, Tx

T = TypeVar("T")

DIALECT = "sqlite"

ROWS = 32
"""Rows inserted by one statement."""


def teach_binding() -> None:
    """Tell sqlite3, for the whole process, how to bind what is neither number nor text.

    It would bind None and bool in the same way without being told, but only after it has looked for
    `__conform__` at each NULL of each row: a sixth of what storing a mail costs.
    """
    nothing: dict[None, None] = {}
    sqlite3.register_adapter(type(None), nothing.get)  # answers None, without a line of Python
    sqlite3.register_adapter(bool, int)
    sqlite3.register_adapter(datetime, _time_text)
    sqlite3.register_adapter(Ids, _json_text)


def _time_text(value: datetime) -> str:
    # `YYYY-MM-DD HH:MM:SS`, at a tenth of strftime's cost: every mail has such a time.
    return value.astimezone(UTC).isoformat(" ", "seconds")[:19]


def _json_text(value: Ids) -> str:
    return orjson.dumps(list(value)).decode()


def drive(connection: sqlite3.Connection, tx: Tx[T], writes: bool) -> T:
    """Run a transaction to its end, in the connection's own thread."""
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        result = _steps(connection, tx)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _steps(connection: sqlite3.Connection, tx: Generator[Step, Sequence[Row], T]) -> T:
    queries = load(DIALECT)
    try:
        step = next(tx)
        while True:
            try:
                if isinstance(step, Run):  # nearly all are
                    query = queries[step.name]
                    rows: Sequence[Row] = connection.execute(query.text, _bind(query, step.params)).fetchall()
                else:
                    rows = _others(connection, step)
            except (sqlite3.IntegrityError, OverflowError, UnicodeEncodeError) as error:
                step = tx.throw(RowRefused(f"the database refuses a row: {error}"))
            else:
                step = tx.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _others(connection: sqlite3.Connection, step: Many | Bulk | Sql) -> Sequence[Row]:
    if isinstance(step, Many):
        query = load(DIALECT)[step.name]
        connection.executemany(query.text, [_bind(query, params) for params in step.params])
        return []
    if isinstance(step, Bulk):
        _insert(connection, step)
        return []
    query = compile_query(step.text, DIALECT)
    return connection.execute(query.text, _bind(query, step.params)).fetchall()


def _insert(connection: sqlite3.Connection, step: Bulk) -> None:
    """Insert many rows with each statement: the interpreter's lock is let go once a statement.

    OR FAIL: a statement that may have to undo its first rows keeps a journal of its own, at the price of
    twenty rows (it does all the same where a foreign key is checked). Nothing has to be undone: who yields a
    refused step gives up the transaction or a savepoint.
    """
    marks = f"({', '.join('?' * len(step.columns))})"
    head = f"INSERT OR FAIL INTO {step.table} ({', '.join(step.columns)}) VALUES "
    rows, rest = iter(step.rows), []

    def full() -> Iterator[list[Any]]:
        while len(part := list(islice(rows, ROWS))) == ROWS:
            yield list(chain.from_iterable(part))
        rest.extend(part)

    connection.executemany(f"{head}{', '.join([marks] * ROWS)} ON CONFLICT DO NOTHING", full())
    connection.executemany(f"{head}{marks} ON CONFLICT DO NOTHING", rest)


def _bind(query: Query, params: Mapping[str, Any]) -> list[Any]:
    return [params[name] for name in query.parameters]
