"""The killmails that are to be fetched next, as the ledger says, and which of them are under way.

What the ledger holds is read again where a source has listed something, where a mail's next attempt has come,
and every minute.
"""

from __future__ import annotations

from killsyncd.core.clock import Clock
from killsyncd.core.events import Wakeup
from killsyncd.core.model import Ref
from killsyncd.sync.fair_queue import FairQueue
from killsyncd.sync.ports import DetailLedger

RIPEN_EVERY = 1.0
"""Seconds between looks for mails whose next attempt has come, while others are waiting."""

RELOAD_EVERY = 60.0
"""Seconds of idleness after which everything is read again: nothing pending stays unseen for longer."""

REVIVED = 200
"""Quarantined mails that are tried again at once at most."""


class PendingMails:
    """A fair queue over the ledger's pending mails, kept up to date."""

    def __init__(self, ledger: DetailLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self.queue = FairQueue()
        self.changed = Wakeup()
        """Rung where there may be something to do."""
        self._refs: dict[int, Ref] = {}
        self._dirty: set[int] = set()  # sources to be read again
        self._reload = True
        self._reloaded_at = clock.monotonic()
        self._ripened_at = clock.monotonic()
        self._revived_at = clock.monotonic()
        self._ripe_until = 0.0  # the database's time up to which `ripe_sources` has been asked
        self._landed_meanwhile: set[int] | None = None

    def listed(self, source_id: int) -> None:
        """A page of this source listed mails that are not stored yet."""
        self._dirty.add(source_id)
        self.changed.ring()

    def read_again(self) -> None:
        """The ledger may hold something that this queue does not."""
        self._reload = True

    def ref(self, killmail_id: int) -> Ref | None:
        """The pending mail of this id."""
        return self._refs.get(killmail_id)

    def gone(self, killmail_id: int) -> None:
        """It is somebody else's, or not pending any more."""
        self.queue.done(killmail_id)
        self._refs.pop(killmail_id, None)

    def landed(self, killmail_id: int) -> None:
        """It is under way no more: stored, or failed and written down."""
        self.gone(killmail_id)
        if self._landed_meanwhile is not None:
            self._landed_meanwhile.add(killmail_id)

    async def until_retry(self) -> float:
        """Seconds until the next mail that failed may be tried again, at most 15."""
        if self.queue.waiting:
            return 15.0
        due = await self._ledger.next_retry()
        return 15.0 if due is None else min(15.0, max(0.05, due - self._clock.now()))

    async def refresh(self, *, flying: int, may_revive: bool) -> None:
        """Bring the queue up to what the ledger says, where something has changed.

        flying: requests under way. may_revive: whether quarantined mails may be tried again now.
        """
        await self._ripen(flying, may_revive)
        if self._reload:
            await self._load_anew()
        for source in [*self._dirty, *self.queue.hungry()]:
            self._dirty.discard(source)
            try:
                await self._refill(source)
            except BaseException:
                self._dirty.add(source)  # not read: it must be looked at again
                raise

    async def _ripen(self, flying: int, may_revive: bool) -> None:
        """Mails whose next attempt has come are read again, however much else is waiting."""
        now = self._clock.monotonic()
        if (self.queue.waiting or flying) and now - self._ripened_at < RIPEN_EVERY:
            return
        if now - self._revived_at > RELOAD_EVERY and may_revive:
            self._revived_at = now
            if await self._ledger.revive(REVIVED):
                self._reload = True
        sources, until = await self._ledger.ripe_sources(self._ripe_until)
        if until < self._ripe_until or (not self.queue.waiting and now - self._reloaded_at > RELOAD_EVERY):
            self._reload = True  # the clock was put back; or it is quiet, and looking costs little
        self._ripened_at, self._ripe_until = now, until
        self._dirty.update(sources)

    async def _load_anew(self) -> None:
        self._reload = False
        try:
            waiting = set(await self._ledger.pending_sources())
        except BaseException:
            self._reload = True
            raise
        self._reloaded_at = self._clock.monotonic()
        for source in self.queue.sources() - waiting:
            self.queue.drop_source(source)
        if not self.queue.in_flight and not len(self.queue):
            self._refs.clear()  # of sources that were paused or erased
        self._dirty |= waiting

    async def _refill(self, source: int) -> None:
        # What is in flight is pending in the ledger too: without it in the limit, a fast enough
        # fetcher would read nothing but what it has, and find nothing to do for ever.
        limit = self.queue.room + self.queue.in_flight
        self._landed_meanwhile = set()
        pending = await self._ledger.pending_of(source, limit)
        # The snapshot may be older than what was stored while it was read: not to be fetched twice.
        landed, self._landed_meanwhile = self._landed_meanwhile, None
        refs = [ref for ref in pending.refs if ref.killmail_id not in landed]
        for ref in refs:
            self._refs[ref.killmail_id] = ref
        beyond = max(0, pending.total - len(pending.refs))
        self.queue.refill(
            source,
            float(max(1, pending.weight)),
            [ref.killmail_id for ref in refs],
            beyond=beyond,
            heavy=pending.heavy,
        )
