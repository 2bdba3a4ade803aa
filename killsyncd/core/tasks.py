"""Waiting, but not for ever: for the end of tasks that hold an answer nobody else has, and for a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

from killsyncd.core.errors import Unavailable

T = TypeVar("T")

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


class SeenThrough:
    """Work that goes on to its end although whoever asked for it has gone: half of it would be worse.

    `run` is a worker of the daemon; `aclose` cuts short what is still under way.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()

    async def of(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work answers, or raises."""
        task = asyncio.create_task(work, name=self._name)
        self._running.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, should nobody wait any more

    async def run(self, stopping: asyncio.Event) -> None:
        """See out what is under way when the daemon stops."""
        await seen_out(lambda: self._running, stopping)

    async def aclose(self) -> None:
        """Cut short what is still under way."""
        await cut_short(lambda: self._running)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Give what the database is asked in the block so long, all in all. Raises Unavailable after that."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unavailable(f"the database gave no answer in {seconds:g} s") from None


others_turn: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("others_turn")
"""Of work whose own time is measured: what stops its clock while it waits for others."""


@contextmanager
def while_others_are_served() -> Iterator[None]:
    """The block waits for a place that others have; whoever measures its time leaves that out."""
    with others_turn.get(nullcontext)():
        yield
