"""Waiting, but not for ever: for the end of tasks that hold an answer nobody else has, and for a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from killsyncd.core.errors import Unavailable

PATIENCE = 1.0
"""Seconds that closing gives to tasks still running after the drain: to store an answer, not to await one."""

Tasks = Callable[[], Collection[asyncio.Task[Any]]]


async def seen_out(running: Tasks, stopping: asyncio.Event) -> None:
    """Once `stopping` is set, wait until nothing runs: a part of the daemon's drain, under its deadline."""
    await stopping.wait()
    while tasks := list(running()):
        await asyncio.wait(tasks)


async def cut_short(running: Tasks) -> None:
    """Wait a moment for what runs, then cancel it and wait for that."""
    if tasks := list(running()):
        _, late = await asyncio.wait(tasks, timeout=PATIENCE)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Give what the database is asked in the block so long, all in all. Raises Unavailable after that."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unavailable(f"the database gave no answer in {seconds:g} s") from None
