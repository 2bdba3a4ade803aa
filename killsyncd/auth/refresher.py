"""The task that renews tokens before they end: who logged in once still syncs a month later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from killsyncd.auth.grant import GrantUnusable
from killsyncd.auth.ports import GrantStore
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.clock import Clock
from killsyncd.core.errors import NotFound, Unavailable
from killsyncd.core.logging import StateLog, get_logger

_IDLE = 60.0  # seconds; other daemons' logins and a wall clock put right are found within them
_STAGGER = 1.0  # seconds at most by which a round starts late, so that several daemons don't race
_AFTER_ERROR = 60.0  # seconds until a user is tried again whose failure left no back-off behind

log = get_logger(__name__)


class Refresher:
    """Finds grants that are due and has them renewed, a few at a time.

    concurrency: refreshes at once. batch: grants looked up at a time.
    """

    def __init__(
        self,
        tokens: TokenManager,
        grants: GrantStore,
        clock: Clock,
        *,
        concurrency: int = 8,
        batch: int = 200,
        rng: random.Random | None = None,
    ) -> None:
        self._tokens = tokens
        self._grants = grants
        self._clock = clock
        self._concurrency = concurrency
        self._batch = batch
        self._rng = rng or random.Random()
        self._wake = asyncio.Event()
        self._set_aside: dict[str, float] = {}
        self._states = StateLog(log)
        self.heartbeat = clock.monotonic()
        """Monotonic time of the last progress, for the watchdog: at most two minutes old in a living task."""

    def wake(self) -> None:
        """Look at once, for example after a login."""
        self._wake.set()

    async def run(self, *, ready: Callable[[], object], stop: asyncio.Event) -> None:
        """Work until `stop` is set; then end once the refreshes under way have.

        ready: called when the task is at work. No failure of one user or of the database ends it.
        """
        ready()
        while not stop.is_set():
            self._wake.clear()
            self._beat()
            await self._sleep(await self._round(stop), stop)

    async def _round(self, stop: asyncio.Event) -> float:
        """Renew what is due. Seconds to wait before looking again."""
        try:
            if pause := self._tokens.pause():
                return min(pause, _IDLE)
            due = await self._due()
            await self._renew_all(due, stop)
            if len(due) >= self._batch:
                return 0.0
            upcoming = await self._grants.next_due()
        except Exception as error:
            # The database, as far as we can tell; each user's own failure ends in _renew.
            if self._states.set("round", "failed", "grants cannot be read", error=_told(error)):
                log.debug("grants cannot be read", error=repr(error))
            return self._rng.uniform(1.0, 5.0)
        self._states.set("round", "ok", "grants can be read again")
        if upcoming is None:
            return _IDLE
        # At least a moment: what is due and set aside, or held elsewhere, must not make us spin.
        wait = max(0.2, upcoming - self._clock.now())
        return min(_IDLE, wait + self._rng.uniform(0.0, min(_STAGGER, wait)))

    async def _due(self) -> list[str]:
        now = self._clock.monotonic()
        self._set_aside = {user: until for user, until in self._set_aside.items() if until > now}
        # Those set aside must not use up the limit: their number comes on top of it.
        due = await self._grants.due(self._clock.now(), self._batch + len(self._set_aside))
        return [user_id for user_id in due if user_id not in self._set_aside]

    async def _renew_all(self, due: list[str], stop: asyncio.Event) -> None:
        queue = iter(due)

        async def worker() -> None:
            # One iterator for all workers: each user is taken by one of them.
            for user_id in queue:
                if stop.is_set() or self._tokens.pause():
                    return
                await self._renew(user_id)
                self._beat()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(due))):
                group.create_task(worker())

    async def _renew(self, user_id: str) -> None:
        try:
            await self._tokens.renew(user_id)
        except (GrantUnusable, NotFound):
            self._states.forget(user_id)  # its state tells, and the token manager said it
        except Unavailable as error:
            # Back-off or circuit hold it back; without either it must wait here.
            self._aside(user_id, 1.0)
            self._states.set(user_id, "failed", "refresh failed", user_id=user_id, reason=error)
        except Exception as error:
            self._aside(user_id, _AFTER_ERROR)
            self._states.set(
                user_id, "error", "refresh failed", level="error", user_id=user_id, error=_told(error)
            )
        else:
            self._states.set(user_id, "ok", "refreshed again", user_id=user_id)

    def _aside(self, user_id: str, seconds: float) -> None:
        self._set_aside[user_id] = self._clock.monotonic() + seconds * self._rng.uniform(1.0, 1.5)

    def _beat(self) -> None:
        self.heartbeat = self._clock.monotonic()

    async def _sleep(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait that long, or until woken or stopped."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
