"""What every part of a daemon is given, and what it hands back to be run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from killsyncd.config import Config
from killsyncd.core.clock import Clock
from killsyncd.core.events import Events
from killsyncd.service.health import Health

Worker = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
BackgroundTask = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Runtime:
    """stack: closes what was opened. started_at: seconds since 1970."""

    config: Config
    clock: Clock
    rng: random.Random
    stack: AsyncExitStack
    events: Events
    health: Health
    started_at: float


@dataclass
class Tasks:
    """The tasks of a daemon, by name.

    workers: drain when their event is set. background: live until they are cancelled. progress: monotonic
    time of each watched task's last step.
    """

    workers: dict[str, Worker] = field(default_factory=dict)
    background: dict[str, BackgroundTask] = field(default_factory=dict)
    progress: dict[str, Callable[[], float]] = field(default_factory=dict)

    def standing_still(self, now: float, seconds: float) -> str | None:
        """The task that has made no progress for so long, or None. now: monotonic."""
        return next((name for name, at in self.progress.items() if now - at() > seconds), None)
