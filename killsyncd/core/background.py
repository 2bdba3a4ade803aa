"""Work that one daemon does for all that share a database, now and then: static data, prices, values.

Each such task has a row (`background_tasks`) that says how far it is, when it is due, who is at it, and what
stopped it last. It never holds anybody up: what it runs into is written down, reported by `status`, and
tried again later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput, KillsyncdError, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.retry import full_jitter

STATIC_DATA = "static_data"
PRICES = "prices"
HISTORY = "market_history"
VALUES = "values"
OVERRIDDEN = "values_overridden"
LATER = "values_later"
UNKNOWN = "values_unknown"
ZKILLBOARD = "zkillboard"
ZKILLBOARD_STREAM = "zkillboard_stream"

LOOK_EVERY = 60.0
"""Seconds after which a task looks again whether it is due, and whether another daemon is still at it."""

FIRST_RETRY = 60.0
LONGEST_RETRY = 6 * 3600.0

TOLD_AFTER = 3
"""Failures in a row after which `status` tells of them; fewer are ordinary."""


REMEDY = "nothing to do: what is there stays, and it is tried again by itself"


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task's row. position, until, validator: as the task means them. Times in seconds since 1970."""

    name: str
    position: int = 0
    until: int | None = None
    validator: str | None = None
    tried_at: float | None = None
    succeeded_at: float | None = None
    next_at: float = 0.0
    failures: int = 0
    problem: str | None = None
    remedy: str | None = None


class TaskRows(Protocol):
    """The rows, as the task of one daemon sees them."""

    async def claim(self, name: str) -> TaskState | None:
        """Take what is due. None: it is not, or another daemon is at it."""

    async def due_in(self, name: str) -> float:
        """Seconds until it is due; 0 where it is, or was never done."""

    async def postpone(self, name: str, seconds: float) -> None:
        """From now on it is not due for so long, whatever becomes of this process."""

    async def done(self, name: str, wait: float, position: int, validator: str | None) -> None:
        """It went well: give it back; it is due again in `wait` seconds."""

    async def failed(self, name: str, problem: str, remedy: str, wait: float, failures: int) -> None:
        """It did not: give it back. failures: in a row, this one included."""

    async def release(self, name: str) -> None:
        """Give it back as it was."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn of a task came to. wait: seconds until the next. changed: whether others want to know."""

    wait: float
    position: int
    validator: str | None = None
    changed: bool = False


class PeriodicTask:
    """A task that is due now and then. `turn` does the work; see `TaskRows` for the rest.

    tell: called when a turn has changed something.
    """

    name: str
    longest_retry = LONGEST_RETRY
    """Seconds between two attempts at most, while they fail."""

    def __init__(self, rows: TaskRows, clock: Clock, rng: random.Random, tell: Callable[[], None]) -> None:
        self._rows = rows
        self._clock = clock
        self._rng = rng
        self._tell = tell
        self._signal = Wakeup()
        self._states = StateLog(get_logger(f"killsyncd.{self.name}"))

    def wake(self) -> None:
        """Have it look whether it is due."""
        self._signal.ring()

    async def turn(self, state: TaskState) -> Turn:
        """Do what is due. Raises Unavailable and BadInput; neither changes anything."""
        raise NotImplementedError

    def not_before(self, error: KillsyncdError) -> float:
        """When it may be tried again after this failure, seconds since 1970; 0: whenever."""
        return 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                pause = await self._once()
            except Unavailable as error:
                self._states.set(
                    "rows", "failing", f"{self.name} waits for the database", reason=error.message
                )
                pause = LOOK_EVERY
            else:
                self._states.set("rows", "ok", f"{self.name} goes on")
            await self._signal.wait(self._clock, pause)

    async def _once(self) -> float:
        wait = await self._rows.due_in(self.name)
        state = await self._rows.claim(self.name) if wait <= 0.0 else None
        if state is None:
            return min(LOOK_EVERY, max(1.0, await self._rows.due_in(self.name)))
        try:
            turn = await self.turn(state)
        except (Unavailable, BadInput) as error:
            return await self._failed(state, error)
        except BaseException:
            # Stopped in the middle, or a fault of ours: whoever is next begins anew.
            await self._rows.release(self.name)
            raise
        await self._rows.done(self.name, turn.wait, turn.position, turn.validator)
        self._states.set("turn", "ok", f"{self.name}: as it should be again")
        if turn.changed:
            self._tell()
        return min(LOOK_EVERY, max(1.0, turn.wait))

    async def _failed(self, state: TaskState, error: KillsyncdError) -> float:
        failures = state.failures + (1 if getattr(error, "counts", True) else 0)
        wait = full_jitter(max(1, failures), first=FIRST_RETRY, cap=self.longest_retry, rng=self._rng)
        wait = max(wait, self.not_before(error) - self._clock.now())
        if isinstance(error, BadInput):  # asking again in a minute brings the same
            failures, wait = max(failures, TOLD_AFTER), max(wait, LONGEST_RETRY / 2)
        self._states.set("turn", "failing", f"{self.name}: failed", reason=error.message, hint=error.hint)
        await self._rows.failed(self.name, error.message, error.hint or REMEDY, wait, failures)
        return min(LOOK_EVERY, max(1.0, wait))
