"""The fetcher: brings home the mails that the ledger wants, each once, fairly, and stores them.

Tokens first, then the claim: nothing is held while ESI's window is dry. What
arrives is stored by one writer, which takes whatever has come while its last
commit was under way, so batches grow with the pace by themselves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from killsyncd.answers import DetailAnswer, Downtime, EsiError, EsiStatus, Malformed, Waiting
from killsyncd.arrivals import Arrival, Stored
from killsyncd.backoff import full_jitter
from killsyncd.clock import Clock
from killsyncd.errors import KillsyncdError, RowRefused, Unavailable
from killsyncd.events import Events, Signal
from killsyncd.fair import FairQueue
from killsyncd.killmail import entity_ids
from killsyncd.logs import StateLog, get_logger
from killsyncd.model import PendingOf, Ref

BATCH = 200
"""Mails stored in one transaction at most."""

GATHER = 0.02
"""Seconds the writer waits for company when many mails are in flight."""

REFUSALS = 4
"""A wrong id and hash pair is tried so often: peers saw 422 under load for pairs that were right."""

MALFORMED = 6
"""An unreadable mail is tried so often before a person has to look."""

KNOWN_NAMES = 200_000


class DetailLedger(Protocol):
    """The ledger, as the fetcher needs it."""

    async def pending_sources(self) -> list[int]: ...
    async def pending_of(self, source_id: int, limit: int) -> PendingOf: ...
    async def next_retry(self) -> float | None: ...
    async def claim_refs(self, ids: Sequence[int]) -> set[int]: ...
    async def release_refs(self, ids: Sequence[int]) -> None: ...
    async def ref_failed(
        self, ref: Ref, *, reason: str, not_before: float, attempts: int, refusals: int, quarantine: bool
    ) -> bool: ...


class MailStore(Protocol):
    """Where mails end."""

    async def store(self, arrivals: Sequence[Arrival], names: Sequence[int]) -> Stored:
        """Store what is wanted; one transaction."""


class Permission(Protocol):
    """Leave to send one request, with the tokens for it."""

    def release(self) -> None:
        """It is not used: the tokens go back."""


Permit = TypeVar("Permit", bound=Permission)


class DetailDoor(Protocol[Permit]):
    """ESI's door, as far as details go."""

    async def detail_permits(self, count: int = 1, *, heavy: bool = False) -> list[Permit]:
        """One to `count` permits, without waiting for the window.

        Raises Waiting: RateLimited with the time when tokens come back (for heavy callers: above
        the share that is kept for the others), Downtime.
        """

    async def killmail(self, permit: Permit, killmail_id: int, killmail_hash: str) -> DetailAnswer:
        """Fetch one mail, using up the permit. Raises EsiError and what is below it."""


class Fetcher(Generic[Permit]):
    """Fetches and stores; see the module."""

    def __init__(
        self,
        *,
        ledger: DetailLedger,
        store: MailStore,
        door: DetailDoor[Permit],
        events: Events,
        clock: Clock,
        in_flight: int,
        rng: random.Random,
        paused: Callable[[], bool],
        arrived: Callable[[Sequence[Arrival], Stored], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._door: DetailDoor[Permit] = door
        self._events = events
        self._clock = clock
        self._slots = in_flight
        self._rng = rng
        self._paused = paused
        self._arrived = arrived
        self._queue = FairQueue()
        self._refs: dict[int, Ref] = {}
        self._dirty: set[int] = set()
        self._reload = True
        self._signal = Signal()
        self._landed = Signal()
        self._arrivals: list[Arrival] = []
        self._landed_meanwhile: set[int] | None = None
        self._known_names: set[int] = set()
        self._flying = 0
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self.stored = 0
        self.failed = 0
        self.quarantined = 0
        self.progress = clock.monotonic()
        for channel in ("refs", "switches"):
            events.on(channel, self._look_again)

    def listed(self, source_id: int) -> None:
        """A page of this source brought mails that are not stored yet."""
        self._dirty.add(source_id)
        self._signal.ring()

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
        try:
            async with asyncio.TaskGroup() as flights:
                while not stopping.is_set():
                    self.progress = self._clock.monotonic()
                    try:
                        pause = await self._round(flights)
                    except Unavailable as error:
                        self._states.set(
                            "store", "failing", "the ledger cannot be read", reason=error.message
                        )
                        pause = 2.0
                    else:
                        self._states.set("store", "ok", "the ledger can be read again")
                    if pause > 0.0:
                        await self._rest(stopping, pause)
        finally:
            if not stopping.is_set():
                writing.cancel()  # cut off, not drained: what is not stored is still wanted in the ledger
            self._landed.ring()
            await asyncio.wait({writing})
        writing.result()

    async def _rest(self, stopping: asyncio.Event, seconds: float) -> None:
        rest = asyncio.ensure_future(self._signal.wait(self._clock, seconds))
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({rest, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (rest, stopped):
                each.cancel()
            await asyncio.wait({rest, stopped})

    async def _round(self, flights: asyncio.TaskGroup) -> float:
        """Send off what may leave now; answers how long there is nothing to do, unless it rings."""
        if self._paused():
            return 15.0
        await self._refresh()
        free = self._slots - self._flying
        if free <= 0:
            return 15.0  # a landing rings
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
                return await self._door.detail_permits(count, heavy=heavy), heavy, 0.0
            except Waiting as waiting:
                pause = min(pause, max(0.05, waiting.until - self._clock.now()))
                if isinstance(waiting, Downtime):
                    break
        return [], False, pause

    async def _until_retry(self) -> float:
        if self._queue.heavy_waiting or self._queue.light_waiting:
            return 15.0
        due = await self._ledger.next_retry()
        if due is None:
            return 15.0
        self._reload = True  # whoever it is that becomes due is read again after the rest
        return min(15.0, max(0.05, due - self._clock.now()))

    async def _refresh(self) -> None:
        """Bring the queue up to what the ledger says, where something has changed."""
        if self._reload:
            self._reload = False
            waiting = set(await self._ledger.pending_sources())
            for source in self._queue.sources() - waiting:
                self._queue.drop_source(source)
            self._dirty |= waiting
        for source in [*self._dirty, *self._queue.hungry()]:
            self._dirty.discard(source)
            await self._refill(source)

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
            answer = await self._door.killmail(permit, ref.killmail_id, ref.killmail_hash)
        except Waiting:
            # The budget was spent or ESI went down meanwhile: nothing counts, it stays wanted.
            await self._back(ref)
        except EsiError as error:
            await self._failed(ref, error)
            self._land(ref.killmail_id)
        except Exception as error:
            self._log.exception("a mail failed in a way nobody foresaw", error, killmail_id=ref.killmail_id)
            await self._failed(ref, KillsyncdError(f"internal error: {type(error).__name__}"))
            self._land(ref.killmail_id)
        else:
            self._arrivals.append(Arrival(answer.killmail, ref.killmail_hash, answer.raw, self._clock.now()))
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
        try:
            await self._ledger.release_refs([ref.killmail_id])
        finally:
            self._reload = True

    async def _failed(self, ref: Ref, error: KillsyncdError) -> None:
        """Write down when to try again, or quarantine with a reason a person can read."""
        self.failed += 1
        refused = isinstance(error, EsiStatus) and 400 <= error.status < 500
        malformed = isinstance(error, Malformed)
        attempts = ref.attempts + 1
        refusals = ref.refusals + int(refused or malformed)
        quarantine = refusals >= (REFUSALS if refused else MALFORMED) and (refused or malformed)
        if refused or malformed:
            wait = full_jitter(refusals, first=4.0, cap=60.0, rng=self._rng)
        else:
            wait = full_jitter(attempts, first=5.0, cap=600.0, rng=self._rng)
        report = self._log.warning if quarantine else self._log.debug
        report(
            "mail quarantined" if quarantine else "mail failed, will try again",
            killmail_id=ref.killmail_id,
            reason=error.message,
            attempts=attempts,
        )
        self.quarantined += int(quarantine)
        try:
            await self._ledger.ref_failed(
                ref,
                reason=error.message,
                not_before=self._clock.now() + wait,
                attempts=attempts,
                refusals=refusals,
                quarantine=quarantine,
            )
        except Unavailable as trouble:
            self._log.error("could not write down a failure", reason=trouble.message)
        if quarantine:
            self._events.tell("quarantine")

    # Storing

    async def _write(self, stopping: asyncio.Event) -> None:
        while True:
            if not self._arrivals:
                if stopping.is_set() and not self._flying:
                    return
                await self._landed.wait(self._clock, 0.5 if stopping.is_set() else None)
                continue
            if self._flying > 10 and len(self._arrivals) < BATCH // 4:
                await self._clock.sleep(GATHER)
            batch, self._arrivals = self._arrivals[:BATCH], self._arrivals[BATCH:]
            try:
                stored = await self._commit(batch)
            except Unavailable as error:
                self._states.set("write", "failing", "mails cannot be stored", reason=error.message)
                if stopping.is_set():
                    return  # they are still wanted in the ledger; the next start fetches them
                self._arrivals = [*batch, *self._arrivals]
                await self._clock.sleep(2.0)
                continue
            self._states.set("write", "ok", "mails can be stored again")
            self._settle(batch, stored)

    async def _commit(self, batch: Sequence[Arrival]) -> Stored:
        names = self._new_names(batch)
        try:
            stored = await self._store.store(batch, names)
        except RowRefused:
            if len(batch) == 1:
                raise
            # Two daemons met on the same mail: one by one, whoever was second finds it stored.
            parts = [await self._commit([each]) for each in batch]
            stored = Stored(
                [mail for part in parts for mail in part.mails],
                [each for part in parts for each in part.known],
                [each for part in parts for each in part.refused],
            )
        self._known_names.update(names)
        return stored

    def _new_names(self, batch: Iterable[Arrival]) -> list[int]:
        if len(self._known_names) > KNOWN_NAMES:
            self._known_names.clear()
        found: set[int] = set()
        for each in batch:
            found |= entity_ids(each.killmail)
        return list(found - self._known_names)

    def _settle(self, batch: Sequence[Arrival], stored: Stored) -> None:
        for each in batch:
            self._land(each.killmail.killmail_id)
        self.stored += len(stored.mails)
        self.quarantined += len(stored.refused)
        for killmail_id, reason in stored.refused:
            self._log.warning("mail quarantined", killmail_id=killmail_id, reason=reason)
        if stored.mails:
            self._events.tell("feed")
            self._events.tell("names")
        if self._arrived is not None:
            self._arrived(batch, stored)
        self._signal.ring()
