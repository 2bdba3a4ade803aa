"""Stores the killmails that have come: one writer, which takes whatever came during its last commit.

So batches grow with the pace by themselves. A mail that cannot be stored keeps no other out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import RowRefused, Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.sync.batch import Arrival, Delivery, Stored
from killsyncd.sync.failure_policy import FailurePolicy
from killsyncd.sync.pending_mails import PendingMails
from killsyncd.sync.ports import MailStore

BATCH = 500
"""Mails stored in one transaction at most: each rewrites the same pages of the indexes."""

BATCH_BYTES = 16_000_000
"""Of their documents at most: they are some 5 KB each, those of the largest fights two million."""

GATHER = 0.02
"""Seconds the writer waits for more when many mails are in flight."""

LONG_LIST_GATHER = 0.1
"""The same while a long list is fetched: nobody waits for one mail of it, and a commit works the disk."""

CROWD = 20
"""Mails that have to come meanwhile for it to wait once more."""

KNOWN_NAMES = 50_000


class MailWriter:
    """Stores deliveries. flying: how many requests for details are under way."""

    def __init__(
        self,
        *,
        store: MailStore,
        pending: PendingMails,
        failures: FailurePolicy,
        events: Events,
        clock: Clock,
        flying: Callable[[], int],
    ) -> None:
        self._store = store
        self._pending = pending
        self._failures = failures
        self._events = events
        self._clock = clock
        self._flying = flying
        self._signal = Wakeup()
        self._deliveries: list[Delivery] = []
        self._bytes = 0
        self._known_names: set[int] = set()
        self._states = StateLog(get_logger(__name__))
        self._committing_since: float | None = None
        self.stored = 0
        self.trouble: str | None = None
        """Why mails cannot be stored just now."""

    @property
    def full(self) -> bool:
        """Whether so many mails wait to be stored that no more should be fetched."""
        return len(self._deliveries) >= 2 * BATCH or self._bytes >= 2 * BATCH_BYTES

    @property
    def committing_since(self) -> float | None:
        """Monotonic time at which the transaction under way began; None without one."""
        return self._committing_since

    def add(self, delivery: Delivery) -> None:
        """A mail has come."""
        self._deliveries.append(delivery)
        self._bytes += len(delivery.raw)
        self._signal.ring()

    def wake(self) -> None:
        """Have it look whether it should stop."""
        self._signal.ring()

    async def run(self, stopping: asyncio.Event) -> None:
        """Store what comes; once stopping, until everything under way has come and is stored."""
        while True:
            if not self._deliveries:
                if stopping.is_set() and not self._flying():
                    return
                await self._signal.wait(self._clock, 0.5 if stopping.is_set() else None)
                continue
            await self._gather()
            batch = self._take()
            unpacked = await self._failures.unpack(batch)
            if unpacked.arrivals:
                await self._failures.came()
            kept = not unpacked.arrivals or await self._keep(unpacked.arrivals, self._new(unpacked.ids))
            # After the good ones, and side by side: with the database away each takes its time to give up.
            await asyncio.gather(*(self._failures.failed(ref, error) for ref, error in unpacked.broken))
            if not kept:
                if stopping.is_set():
                    return  # they are still pending in the ledger; the next start fetches them
                good = {each.killmail.killmail_id for each in unpacked.arrivals}
                batch = [each for each in batch if each.ref.killmail_id in good]
                self._deliveries = [*batch, *self._deliveries]
                self._bytes += sum(len(each.raw) for each in batch)
                await self._clock.sleep(2.0)

    def _take(self) -> list[Delivery]:
        """The next batch: the first at least, and what fits beside it."""
        size = count = 0
        for each in self._deliveries[:BATCH]:
            if count and size + len(each.raw) > BATCH_BYTES:
                break
            size += len(each.raw)
            count += 1
        batch, self._deliveries = self._deliveries[:count], self._deliveries[count:]
        self._bytes -= size
        return batch

    async def _gather(self) -> None:
        """Let a batch grow for as long as many mails come; a handful is stored at once."""
        if self._pending.queue.heavy_waiting and len(self._deliveries) < BATCH:
            await self._clock.sleep(LONG_LIST_GATHER)
        before = -CROWD
        while self._flying() > 10 and before + CROWD <= len(self._deliveries) < BATCH:
            before = len(self._deliveries)
            await self._clock.sleep(GATHER)

    def _new(self, ids: set[int]) -> set[int]:
        """Those that may be new to the names table."""
        if len(self._known_names) > KNOWN_NAMES:
            self._known_names.clear()
        return ids - self._known_names

    async def _keep(self, batch: Sequence[Arrival], names: Collection[int]) -> bool:
        """Store them; False where the database is away."""
        self._committing_since = self._clock.monotonic()
        try:
            stored = await self._commit(batch, names)
        except Unavailable as error:
            self.trouble = error.message
            self._states.set("write", "failing", "mails cannot be stored", reason=error.message)
            return False
        finally:
            self._committing_since = None
        self.trouble = None
        self._states.set("write", "ok", "mails can be stored again")
        self._settle(batch, stored)
        return True

    async def _commit(self, batch: Sequence[Arrival], names: Collection[int]) -> Stored:
        try:
            stored = await self._store.store(batch, names)
        except RowRefused as refusal:
            if len(batch) == 1:
                return await self._refused(batch[0].killmail.killmail_id, refusal)
            # Two daemons met on the same mail: one by one, whoever was second finds it stored.
            return Stored.together([await self._commit([each], names) for each in batch])
        self._known_names.update(names)
        return stored

    async def _refused(self, killmail_id: int, refusal: RowRefused) -> Stored:
        """One mail that the database will not have must not keep the others out."""
        ref = self._pending.ref(killmail_id)
        if ref is not None and not await self._failures.refused(ref, refusal):
            self._pending.read_again()  # another hash of it may be pending now
            return Stored([], [], [])
        return Stored([], [], [(killmail_id, refusal.message)])

    def _settle(self, batch: Sequence[Arrival], stored: Stored) -> None:
        for each in batch:
            self._pending.landed(each.killmail.killmail_id)
        self.stored += len(stored.mails)
        for killmail_id, reason in stored.refused:
            self._failures.tell_quarantined(killmail_id, reason)
        if stored.mails:
            self._events.tell("feed")
            self._events.tell("names")
        self._pending.changed.ring()
