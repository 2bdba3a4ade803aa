"""What state-machine tests over a database share: a store of their own for each example."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine

from tests.contract.conftest import Sqlite
from tests.support.storage_world import StorageWorld

T = TypeVar("T")

SEVERAL = settings(max_examples=20, stateful_step_count=30, deadline=None)

_MEMORY = Path("/dev/shm")


class DatabaseMachine(RuleBasedStateMachine):
    """Steps are plain functions, as Hypothesis has them; `run` waits for what the store does."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.backend = Sqlite(Path(self.folder.name) / "killsyncd.db", empty=False)
        self.world: StorageWorld = self.run(self._open())

    async def _open(self) -> StorageWorld:
        return await StorageWorld.begin(self.backend, await self.backend.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what the store does."""
        return self.loop.run_until_complete(work)

    def daemon(self, name: str) -> str:
        """The row of one more daemon, which lives for good: a lease points at it."""
        self.run(
            self.world.rows(
                "INSERT INTO daemons (id, host, pid, egress, version, started_at, alive_until)"
                " VALUES (:id, 'here', 1, 'default', '0', 0, 1e15)",
                id=name,
            )
        )
        return name

    def teardown(self) -> None:
        """Close the store; the example is over."""
        self.run(self.backend.close())
        self.loop.close()
        self.folder.cleanup()
