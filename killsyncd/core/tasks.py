"""The end of tasks that hold an answer nobody else has: waited for, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

PATIENCE = 1.0
"""Seconds that closing leaves to what the drain did not see out: to store an answer, not to await one."""

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
