"""The rows of tasks that one daemon does for all (core/background.py)."""

from __future__ import annotations

from killsyncd.core.background import TaskState
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Row, Run, Store, Tx, one

LONGEST_WAIT = 8 * 86_400.0
"""Seconds. A task that is due later than that was put off while the clock stood wrong: it is due."""


def task_state(row: Row) -> TaskState:
    """A row as the tasks see it."""
    return TaskState(
        name=str(row["name"]),
        position=int(row["position"]),
        until=None if row["until"] is None else int(row["until"]),
        validator=row["validator"],
        tried_at=row["tried_at"],
        succeeded_at=row["succeeded_at"],
        next_at=float(row["next_at"]),
        failures=int(row["failures"]),
        problem=row["problem"],
        remedy=row["remedy"],
    )


def all_tasks() -> Tx[tuple[TaskState, ...]]:
    """Every task that was ever at work, as a part of other transactions."""
    return tuple(task_state(row) for row in (yield Run("background.all", {})))


class BackgroundTasks(Repository):
    """Implements `TaskRows`. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder

    @writes
    def claim(self, name: str) -> Tx[TaskState | None]:
        """Take what is due. None: it is not, or another daemon is at it."""
        values = {"name": name, "holder": self._holder, "longest": LONGEST_WAIT}
        row = one((yield Run("background.claim", values)))
        return None if row is None else task_state(row)

    @reads
    def due_in(self, name: str) -> Tx[float]:
        """Seconds until it is due; 0 where it is, or was never done."""
        row = one((yield Run("background.due_in", {"name": name})))
        seconds = 0.0 if row is None else float(row["seconds"])
        return seconds if 0.0 < seconds <= LONGEST_WAIT else 0.0

    @writes
    def postpone(self, name: str, seconds: float) -> Tx[None]:
        """From now on it is not due for so long, whatever becomes of this process."""
        yield Run("background.postpone", {"name": name, "holder": self._holder, "seconds": seconds})

    @writes
    def done(self, name: str, wait: float, position: int, validator: str | None) -> Tx[None]:
        """It went well: give it back; it is due again in `wait` seconds."""
        values = {"wait": wait, "position": position, "validator": validator}
        yield Run("background.done", {"name": name, "holder": self._holder, **values})

    @writes
    def failed(self, name: str, problem: str, remedy: str, wait: float, failures: int) -> Tx[None]:
        """It did not: give it back. failures: in a row, this one included."""
        values = {"problem": problem, "remedy": remedy, "wait": wait, "failures": failures}
        yield Run("background.failed", {"name": name, "holder": self._holder, **values})

    @writes
    def release(self, name: str) -> Tx[None]:
        """Give it back as it was."""
        yield Run("background.release", {"name": name, "holder": self._holder})
