"""The fetcher: brings home the mails that the ledger wants, each once, fairly, and stores them.

Tokens first, then the claim: nothing is held while ESI's window is dry. What
arrives is stored by one writer, which takes whatever has come while its last
commit was under way, so batches grow with the pace by themselves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Generic

from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, RowRefused, Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import DetailsWait, Ref, WaitsFor
from killsyncd.esi.responses import Downtime, EsiError, MalformedResponse, MustWait, RateLimited
from killsyncd.sync.batch import Arrival, Delivery, Stored
from killsyncd.sync.failure_policy import (
    DetailClient,
    DetailLedger,
    FailurePolicy,
    MailStore,
    Permit,
    looks_whole,
)
from killsyncd.sync.fair_queue import FairQueue

BATCH = 500
"""Mails stored in one transaction at most: each rewrites the same pages of the indexes."""

GATHER = 0.02
"""Seconds the writer waits for company when many mails are in flight."""

LONG_LIST_GATHER = 0.1
"""The same while a long list comes home: nobody waits for one mail of it, and a commit is the disk's work."""

CROWD = 20
"""Mails that have to come meanwhile for it to wait once more."""

RIPEN_EVERY = 1.0
"""Seconds between looks for mails whose next attempt has come, while others are waiting."""

RELOAD_EVERY = 60.0
"""Seconds of idleness after which everything is read anew: nothing wanted stays unseen for longer."""

REVIVED = 200
"""Quarantined mails that are tried again at once at most."""

KNOWN_NAMES = 50_000


class Fetcher(Generic[Permit]):
    """Fetches and stores; see the module."""

    def __init__(
        self,
        *,
        ledger: DetailLedger,
        store: MailStore,
        esi: DetailClient[Permit],
        events: Events,
        clock: Clock,
        in_flight: int,
        rng: random.Random,
        paused: Callable[[], bool],
        arrived: Callable[[Sequence[Arrival], Stored], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._esi: DetailClient[Permit] = esi
        self._events = events
        self._clock = clock
        self._slots = in_flight
        self._paused = paused
        self._arrived = arrived
        self._queue = FairQueue()
        self._refs: dict[int, Ref] = {}
        self._dirty: set[int] = set()
        self._reload = True
        self._reloaded_at = clock.monotonic()
        self._ripened_at = clock.monotonic()
        self._revived_at = clock.monotonic()
        self._ripe_until = 0.0  # the database's time up to which `ripe_sources` has been asked
        self._signal = Wakeup()
        self._landed = Wakeup()
        self._deliveries: list[Delivery] = []
        self._landed_meanwhile: set[int] | None = None
        self._known_names: set[int] = set()
        self._flying = 0
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self._setbacks = FailurePolicy(ledger, events, clock, rng)
        self.stored = 0
        self.trouble: str | None = None
        """Why mails cannot be stored, or the ledger not be read, just now."""
        self.waiting: DetailsWait | None = None
        """Why mails last had to wait for ESI; None: they never had."""
        self.waited = 0.0
        """Seconds in which mails could have been fetched but for tokens."""
        self._dry = False
        self._progress = clock.monotonic()
        self._committing_since: float | None = None
        for channel in ("refs", "switches"):
            events.on(channel, self._look_again)

    def listed(self, source_id: int) -> None:
        """A page of this source brought mails that are not stored yet."""
        self._dirty.add(source_id)
        self._signal.ring()

    @property
    def progress(self) -> float:
        """Monotonic time of the last step; a commit that never ends is a standstill, too."""
        since = self._committing_since
        return self._progress if since is None else min(self._progress, since)

    @property
    def failed(self) -> int:
        """Mails that did not come, each time."""
        return self._setbacks.failed

    @property
    def quarantined(self) -> int:
        """Mails that a person has to look at, since the start."""
        return self._setbacks.quarantined

    @property
    def storm(self) -> str | None:
        """Why hardly anything is asked for just now although mails are wanted; None while all is well."""
        return self._setbacks.storm_report()

    @property
    def in_flight(self) -> int:
        """Requests for details that are under way."""
        return self._flying

    def _look_again(self) -> None:
        self._reload = True
        self._signal.ring()

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch until stopping; then what is in flight still lands and is stored."""
        writing = asyncio.create_task(self._write(stopping), name="store-mails")
        writing.add_done_callback(lambda _: self._signal.ring())
        try:
            with self._signal.ringing_at(stopping):
                async with asyncio.TaskGroup() as flights:
                    # A writer that died must not be fetched for: its error ends us, below.
                    while not stopping.is_set() and not writing.done():
                        pause = await self._look(flights)
                        if pause > 0.0:
                            began = self._clock.monotonic()
                            await self._signal.wait(self._clock, pause)
                            if self._dry:
                                self.waited += self._clock.monotonic() - began
        finally:
            if not stopping.is_set():
                writing.cancel()  # cut off, not drained: what is not stored is still wanted in the ledger
            self._landed.ring()
            await asyncio.wait({writing})
        writing.result()

    def _say(self, what: str, event: str, error: Unavailable | None = None) -> None:
        """The state of reading or writing, for the log and for whoever asks what is wrong."""
        if error is not None:
            self._states.set(what, "failing", event, reason=error.message)
            self.trouble = error.message
        elif self._states.set(what, "ok", event):
            self.trouble = None

    async def _look(self, flights: asyncio.TaskGroup) -> float:
        """A round, unless the ledger does not answer; the seconds until the next."""
        self._progress = self._clock.monotonic()
        self._dry = False
        try:
            pause = await self._round(flights)
        except Unavailable as error:
            self._say("read", "the ledger cannot be read", error)
            return 2.0
        self._say("read", "the ledger can be read again")
        return pause

    async def _round(self, flights: asyncio.TaskGroup) -> float:
        """Send off what may leave now; answers how long there is nothing to do, unless it rings."""
        if self._paused():
            return 15.0
        await self._ripen()
        await self._refresh()
        storm, now = self._setbacks.storm, self._clock.monotonic()
        free = storm.may_fly(self._slots - self._flying, self._queue.in_flight, now)
        if free <= 0 or len(self._deliveries) >= 2 * BATCH:
            # A landing rings, and so does a commit: what can't be stored must not pile up.
            return min(15.0, max(0.05, storm.probe_at - now)) if storm.on else 15.0
        permits, allow_heavy, pause = await self._permits(free)
        if not permits:
            return pause
        picked: dict[int, tuple[int, Permit]] = {}
        for position, permit in enumerate(permits):
            following = self._queue.next(allow_heavy)
            if following is None:
                for unused in permits[position:]:
                    unused.release()
                break
            source, killmail_id = following
            picked[killmail_id] = (source, permit)
        await self._send(flights, picked)
        return 0.0

    async def _send(self, flights: asyncio.TaskGroup, picked: dict[int, tuple[int, Permit]]) -> None:
        try:
            claimed = await self._ledger.claim_refs(sorted(picked)) if picked else set()
        except BaseException:
            for killmail_id, (_, permit) in picked.items():
                permit.release()
                self._queue.done(killmail_id)
            raise
        for killmail_id, (_, permit) in picked.items():
            ref = self._refs.get(killmail_id)
            if ref is None or killmail_id not in claimed:
                permit.release()
                self._queue.done(killmail_id)
                self._refs.pop(killmail_id, None)
                continue
            self._flying += 1
            flights.create_task(self._fetch(permit, ref), name=f"mail-{killmail_id}")

    async def _permits(self, free: int) -> tuple[list[Permit], bool, float]:
        """(permits, whether heavy sources may use them, seconds to wait if there are none)."""
        pause = await self._until_retry()
        for heavy in (True, False):
            if not (self._queue.heavy_waiting if heavy else self._queue.light_waiting):
                continue
            count = max(1, min(free, len(self._queue)))
            try:
                return await self._esi.detail_permits(count, heavy=heavy), heavy, 0.0
            except MustWait as waiting:
                pause = min(pause, max(0.05, waiting.until - self._clock.now()))
                self._dry = waiting.waits_for is WaitsFor.BUDGET
                self._waits(waiting, heavy)
                if isinstance(waiting, Downtime):
                    break
        return [], False, pause

    def _waits(self, why: MustWait, heavy: bool) -> None:
        """Remember why nothing may be fetched, for whoever asks."""
        until, budget = why.until, why.waits_for is WaitsFor.BUDGET
        if isinstance(why, RateLimited):
            if budget and not why.dry:
                return  # of a moment
            until = why.tokens_at
        only_heavy = heavy and budget and not self._queue.light_waiting
        self.waiting = DetailsWait(why.waits_for, why.message, until, self._clock.monotonic(), only_heavy)

    async def _until_retry(self) -> float:
        if self._queue.waiting:
            return 15.0
        due = await self._ledger.next_retry()
        return 15.0 if due is None else min(15.0, max(0.05, due - self._clock.now()))

    async def _ripen(self) -> None:
        """Mails whose next attempt has come are read again, however much else is waiting."""
        now = self._clock.monotonic()
        if (self._queue.waiting or self._flying) and now - self._ripened_at < RIPEN_EVERY:
            return
        if now - self._revived_at > RELOAD_EVERY and not self._setbacks.storm.on:
            self._revived_at = now
            self._reload |= await self._ledger.revive(REVIVED) > 0
        sources, until = await self._ledger.ripe_sources(self._ripe_until)
        if until < self._ripe_until or (not self._queue.waiting and now - self._reloaded_at > RELOAD_EVERY):
            self._reload = True  # the clock was put back; or it is quiet, and looking costs little
        self._ripened_at, self._ripe_until = now, until
        self._dirty.update(sources)

    async def _refresh(self) -> None:
        """Bring the queue up to what the ledger says, where something has changed."""
        if self._reload:
            await self._load_anew()
        for source in [*self._dirty, *self._queue.hungry()]:
            self._dirty.discard(source)
            try:
                await self._refill(source)
            except BaseException:
                self._dirty.add(source)  # not read: it must be looked at again
                raise

    async def _load_anew(self) -> None:
        self._reload = False
        try:
            waiting = set(await self._ledger.pending_sources())
        except BaseException:
            self._reload = True
            raise
        self._reloaded_at = self._clock.monotonic()
        for source in self._queue.sources() - waiting:
            self._queue.drop_source(source)
        if not self._queue.in_flight and not len(self._queue):
            self._refs.clear()  # of sources that were paused or erased
        self._dirty |= waiting

    async def _refill(self, source: int) -> None:
        # What is in flight is pending in the ledger too: without it in the limit, a fast enough
        # fetcher would read nothing but what it has, and find nothing to do for ever.
        limit = self._queue.room + self._queue.in_flight
        self._landed_meanwhile = set()
        pending = await self._ledger.pending_of(source, limit)
        # The snapshot may be older than what was stored while it was read: not to be fetched twice.
        gone, self._landed_meanwhile = self._landed_meanwhile, None
        refs = [ref for ref in pending.refs if ref.killmail_id not in gone]
        for ref in refs:
            self._refs[ref.killmail_id] = ref
        beyond = max(0, pending.total - len(pending.refs))
        self._queue.refill(
            source, float(max(1, pending.weight)), [ref.killmail_id for ref in refs], beyond=beyond
        )

    async def _fetch(self, permit: Permit, ref: Ref) -> None:
        try:
            answer = await self._esi.killmail(permit, ref.killmail_id, ref.killmail_hash)
            if not looks_whole(answer.raw):
                raise MalformedResponse("it is no JSON object")
        except MustWait:
            # The budget was spent or ESI went down meanwhile: nothing counts, it stays wanted.
            await self._back(ref)
        except EsiError as error:
            await self._failed(ref, error)
        except Exception as error:
            await self._failed(ref, self._setbacks.unforeseen(ref, error))
        else:
            self._deliveries.append(Delivery(ref, answer.raw, self._clock.now()))
            self._landed.ring()
        finally:
            self._flying -= 1
            self._signal.ring()

    def _land(self, killmail_id: int) -> None:
        self._queue.done(killmail_id)
        self._refs.pop(killmail_id, None)
        if self._landed_meanwhile is not None:
            self._landed_meanwhile.add(killmail_id)

    async def _back(self, ref: Ref) -> None:
        self._land(ref.killmail_id)
        self._reload = True
        try:
            await self._ledger.release_refs([ref.killmail_id])
        except Unavailable as error:  # claimed by us it stays, which is no obstacle to ourselves
            self._log.debug("a mail could not be given back", reason=error.message)

    async def _failed(self, ref: Ref, error: KillsyncdError) -> None:
        if not await self._setbacks.failed_by(ref, error):
            self._reload = True  # as it was, or by another hash: it may be wanted now
        self._land(ref.killmail_id)
        self._signal.ring()

    async def _write(self, stopping: asyncio.Event) -> None:
        while True:
            if not self._deliveries:
                if stopping.is_set() and not self._flying:
                    return
                await self._landed.wait(self._clock, 0.5 if stopping.is_set() else None)
                continue
            await self._gather()
            batch, self._deliveries = self._deliveries[:BATCH], self._deliveries[BATCH:]
            unpacked = await self._setbacks.unpack(batch)
            if unpacked.arrivals:
                await self._setbacks.came()
            kept = not unpacked.arrivals or await self._keep(unpacked.arrivals, self._new(unpacked.ids))
            # After the good ones, and side by side: with the database away each takes its time to give up.
            await asyncio.gather(*(self._failed(ref, error) for ref, error in unpacked.broken))
            if not kept:
                if stopping.is_set():
                    return  # they are still wanted in the ledger; the next start fetches them
                good = {each.killmail.killmail_id for each in unpacked.arrivals}
                batch = [each for each in batch if each.ref.killmail_id in good]
                self._deliveries = [*batch, *self._deliveries]
                await self._clock.sleep(2.0)

    async def _gather(self) -> None:
        """Let a batch grow for as long as mails come in crowds; a handful is stored at once."""
        if self._queue.heavy_waiting and len(self._deliveries) < BATCH:
            await self._clock.sleep(LONG_LIST_GATHER)
        before = -CROWD
        while self._flying > 10 and before + CROWD <= len(self._deliveries) < BATCH:
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
            self._say("write", "mails cannot be stored", error)
            return False
        finally:
            self._committing_since = None
        self._say("write", "mails can be stored again")
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
        ref = self._refs.get(killmail_id)
        if ref is not None and not await self._setbacks.refused(ref, refusal):
            self._reload = True  # another hash of it may be wanted now
            return Stored([], [], [])
        return Stored([], [], [(killmail_id, refusal.message)])

    def _settle(self, batch: Sequence[Arrival], stored: Stored) -> None:
        for each in batch:
            self._land(each.killmail.killmail_id)
        self.stored += len(stored.mails)
        for killmail_id, reason in stored.refused:
            self._setbacks.tell_quarantined(killmail_id, reason)
        if stored.mails:
            self._events.tell("feed")
            self._events.tell("names")
        if self._arrived is not None:
            self._arrived(batch, stored)
        self._signal.ring()
