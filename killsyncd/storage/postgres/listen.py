"""LISTEN and NOTIFY: one channel a database, and one connection that listens and heals.

A notification says no more than "look": missed ones are found by whoever looks
after its own cursor, and after each reconnect everybody is told to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from killsyncd.core.logging import StateLog, get_logger
from killsyncd.storage.postgres.errors import translated

CHANNELS = ("feed", "wants", "refs", "switches", "grants", "webhooks")
"""What is told after a reconnect."""

_CHANNEL = "killsyncd"
PROBE_SECONDS = 20.0
"""A half-open connection is silent, as an idle one is; so it is asked now and then."""
PROBE_ANSWER_SECONDS = 10.0

_READS_ONLY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"

log = get_logger(__name__)


async def say(connection: Any, instance: str, channel: str) -> None:
    """Tell every other store on this database. instance: ours, so that we do not hear ourselves."""
    await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, f"{instance} {channel}")


@asynccontextmanager
async def listening(
    connect: Callable[[], Awaitable[Any]], instance: str, where: str, callback: Callable[[str], None]
) -> AsyncIterator[None]:
    """Call back with a channel's name whenever another daemon notified it."""
    ready = asyncio.Event()
    task = asyncio.create_task(_keep_listening(connect, instance, where, callback, ready), name="listen")
    ready_or_dead = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({task, ready_or_dead}, return_when=asyncio.FIRST_COMPLETED)
        yield None
    finally:
        for each in (task, ready_or_dead):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each


async def _keep_listening(
    connect: Callable[[], Awaitable[Any]],
    instance: str,
    where: str,
    callback: Callable[[str], None],
    ready: asyncio.Event,
) -> None:
    state = StateLog(log)
    attempt = 0
    while True:
        try:
            connection = await connect()
        except Exception as error:
            fault = translated(error, where)
            state.set("listen", "failing", "not hearing of other daemons' changes", error=fault)
            ready.set()  # whoever waits for us must not wait for the server too
        else:
            try:
                attempt = 0
                await _hear(connection, instance, callback, ready, state)
            except Exception as error:
                fault = translated(error, where)
                state.set("listen", "failing", "not hearing of other daemons' changes", error=fault)
            finally:
                connection.terminate()
        attempt += 1
        # Real time: this waits for a server, nothing in the program depends on when.
        await asyncio.sleep(random.uniform(0.1, min(3.0, 0.2 * 2.0**attempt)))


async def _hear(
    connection: Any,
    instance: str,
    callback: Callable[[str], None],
    ready: asyncio.Event,
    state: StateLog,
) -> None:
    """Listen until the connection ends, which raises."""
    gone = asyncio.Event()

    def heard(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
        sender, _, channel = payload.partition(" ")
        if sender != instance and channel:
            callback(channel)

    connection.add_termination_listener(lambda _connection: gone.set())
    await connection.add_listener(_CHANNEL, heard)
    state.set("listen", "ok", "hearing of other daemons' changes again")
    first = not ready.is_set()
    ready.set()
    if not first:
        for channel in CHANNELS:
            callback(channel)
    while not gone.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(gone.wait(), PROBE_SECONDS)
        if not gone.is_set() and await connection.fetchval(_READS_ONLY, timeout=PROBE_ANSWER_SECONDS):
            raise ConnectionError("this server only reads now: another one is the primary")
    raise ConnectionError("the connection was closed")
