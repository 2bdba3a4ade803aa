"""Trying again: how long to wait after a failure, and a call repeated until it succeeds.

What must outlive the process, or be taken over by another daemon, is no call to repeat but a row with the
time from which it may be tried again; for such rows only `full_jitter` is of use.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

Wait = Callable[[int], float]
"""Seconds to wait after the attempt-th failure (1, 2, ...); asked after the last one, too."""


def full_jitter(attempt: int, *, first: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait after the attempt-th failure in a row (1, 2, ...).

    Between half of and the whole of `first * 2^(attempt-1)`, at most cap: full jitter over
    the upper half, so that nobody comes back at once.
    """
    top = min(cap, first * 2.0 ** min(32, max(0, attempt - 1)))
    return top * rng.uniform(0.5, 1.0)


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    on: type[E],
    wait: Wait | float,
    sleep: Callable[[float], Awaitable[None]],
    stop: Callable[[int], bool] | None = None,
    before_wait: Callable[[E, float], None] | None = None,
) -> T:
    """What `call` answers, repeated for as long as it fails with `on`.

    wait: seconds, or what tells them for each attempt. sleep: usually the injected clock's. stop: given how
    many attempts failed, whether to give up; the last failure is raised then. before_wait: told each failure
    after which there will be another attempt, and the seconds until then. Any other exception is raised at
    once, cancelling included.
    """

    def seconds(state: RetryCallState) -> float:
        return wait(state.attempt_number) if callable(wait) else wait

    def failed(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if before_wait is not None and isinstance(error, on):
            before_wait(error, state.upcoming_sleep)

    async def attempt() -> T:
        return await call()

    retrying = AsyncRetrying(
        sleep=sleep,
        stop=stop_never if stop is None else lambda state: stop(state.attempt_number),
        wait=seconds,
        retry=retry_if_exception_type(on),
        before_sleep=failed,
        reraise=True,
    )
    result: T = await retrying(attempt)
    return result
