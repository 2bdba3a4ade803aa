"""Many time limits over one timer: each ends at its own time, and what was over in time is left alone."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.esi.timeouts import Deadlines


async def _under(deadlines: Deadlines, work: asyncio.Event) -> str:
    try:
        with deadlines.limit():
            await work.wait()
            return "done"
    except TimeoutError:
        return "timed out"


async def test_only_what_is_late_is_ended() -> None:
    deadlines, quick, never = Deadlines(0.05), asyncio.Event(), asyncio.Event()
    quick.set()
    answers = await asyncio.gather(*(_under(deadlines, each) for each in (never, quick, never)))
    assert answers == ["timed out", "done", "timed out"]
    # The timer is set anew for whoever comes after a quiet time.
    assert await _under(deadlines, never) == "timed out"


async def test_a_later_one_has_its_whole_time() -> None:
    deadlines, never, loop = Deadlines(0.1), asyncio.Event(), asyncio.get_running_loop()
    first = asyncio.ensure_future(_under(deadlines, never))
    await asyncio.sleep(0.06)
    began = loop.time()
    assert await _under(deadlines, never) == "timed out"
    assert loop.time() - began >= 0.099
    assert first.result() == "timed out"


async def test_a_cancelled_caller_stays_cancelled() -> None:
    deadlines = Deadlines(60.0)
    task = asyncio.ensure_future(_under(deadlines, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_who_is_late_and_cancelled_is_cancelled() -> None:
    deadlines = Deadlines(0.05)
    task = asyncio.ensure_future(_under(deadlines, asyncio.Event()))
    asyncio.get_running_loop().call_later(0.05, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_what_ends_late_by_itself_is_not_cancelled_afterwards() -> None:
    deadlines = Deadlines(0.01)

    async def stubborn() -> int:
        with deadlines.limit():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                pass
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await stubborn() == 0
    deadlines.close()
