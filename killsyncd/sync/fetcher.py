"""The fetcher: brings home the killmails that are pending in the ledger, each once, fairly.

Permits first, then the claim: nothing is held while ESI's window is empty. What comes is handed to the
`MailWriter`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import DetailsWait, Ref, WaitsFor
from killsyncd.esi.client import EsiClient
from killsyncd.esi.ratelimit.permits import Permit
from killsyncd.esi.responses import Downtime, EsiError, MustWait, RateLimited
from killsyncd.sync.batch import Delivery
from killsyncd.sync.failure_policy import FailurePolicy, glance
from killsyncd.sync.mail_writer import MailWriter
from killsyncd.sync.pending_mails import PendingMails
from killsyncd.sync.ports import DetailLedger, MailStore


class Fetcher:
    """Fetches, and has what comes stored. in_flight: requests for details at once."""

    def __init__(
        self,
        *,
        ledger: DetailLedger,
        store: MailStore,
        esi: EsiClient,
        events: Events,
        clock: Clock,
        in_flight: int,
        rng: random.Random,
        paused: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._esi = esi
        self._clock = clock
        self._slots = in_flight
        self._paused = paused
        self._pending = PendingMails(ledger, clock)
        self._queue = self._pending.queue
        self._signal = self._pending.changed
        self._failures = FailurePolicy(ledger, self._pending, events, clock, rng)
        self._writer = MailWriter(
            store=store,
            pending=self._pending,
            failures=self._failures,
            events=events,
            clock=clock,
            flying=lambda: self._flying,
        )
        self._flying = 0
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self._read_trouble: str | None = None
        self.waiting: DetailsWait | None = None
        """Why mails last had to wait for ESI; None: they never had."""
        self.waited = 0.0
        """Seconds in which mails could have been fetched but for ESI's rate limit."""
        self._dry = False
        self._progress = clock.monotonic()
        for channel in ("refs", "switches"):
            events.on(channel, self._look_again)

    def listed(self, source_id: int) -> None:
        """A page of this source listed mails that are not stored yet."""
        self._pending.listed(source_id)

    @property
    def progress(self) -> float:
        """Monotonic time of the last step; a commit that never ends is a standstill, too."""
        since = self._writer.committing_since
        return self._progress if since is None else min(self._progress, since)

    @property
    def trouble(self) -> str | None:
        """Why mails cannot be stored, or the ledger not be read, just now."""
        return self._read_trouble or self._writer.trouble

    @property
    def stored(self) -> int:
        """Mails stored since the start."""
        return self._writer.stored

    @property
    def failed(self) -> int:
        """Mails that did not come, each time."""
        return self._failures.failures

    @property
    def quarantined(self) -> int:
        """Mails that a person has to look at, since the start."""
        return self._failures.quarantined

    @property
    def storm(self) -> str | None:
        """Why hardly anything is asked for just now although mails are pending; None while all is well."""
        return self._failures.storm_report()

    @property
    def in_flight(self) -> int:
        """Requests for details that are under way."""
        return self._flying

    def _look_again(self) -> None:
        self._pending.read_again()
        self._signal.ring()

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch until stopping; then what is in flight still comes and is stored."""
        writing = asyncio.create_task(self._writer.run(stopping), name="store-mails")
        writing.add_done_callback(lambda _: self._signal.ring())
        try:
            with self._signal.ringing_at(stopping):
                async with asyncio.TaskGroup() as requests:
                    # A writer that died must not be fetched for: its error ends us, below.
                    while not stopping.is_set() and not writing.done():
                        pause = await self._look(requests)
                        if pause > 0.0:
                            began = self._clock.monotonic()
                            await self._signal.wait(self._clock, pause)
                            if self._dry:
                                self.waited += self._clock.monotonic() - began
        finally:
            if not stopping.is_set():
                writing.cancel()  # cut off, not drained: what is not stored is still pending in the ledger
            self._writer.wake()
            await asyncio.wait({writing})
        writing.result()

    async def _look(self, requests: asyncio.TaskGroup) -> float:
        """A round, unless the ledger does not answer; the seconds until the next."""
        self._progress = self._clock.monotonic()
        self._dry = False
        try:
            pause = await self._round(requests)
        except Unavailable as error:
            self._read_trouble = error.message
            self._states.set("read", "failing", "the ledger cannot be read", reason=error.message)
            return 2.0
        self._read_trouble = None
        self._states.set("read", "ok", "the ledger can be read again")
        return pause

    async def _round(self, requests: asyncio.TaskGroup) -> float:
        """Send off what may leave now; answers how many seconds to wait, unless woken."""
        if self._paused():
            return 15.0
        storm = self._failures.storm
        await self._pending.refresh(flying=self._flying, may_revive=not storm.on)
        now = self._clock.monotonic()
        free = storm.may_fly(self._slots - self._flying, self._queue.in_flight, now)
        if free <= 0 or self._writer.full:
            # An answer wakes us, and so does a commit: what can't be stored must not pile up.
            return min(15.0, max(0.05, storm.probe_at - now)) if storm.on else 15.0
        permits, allow_heavy, pause = await self._permits(free)
        if not permits:
            return pause
        picked: dict[int, Permit] = {}
        for position, permit in enumerate(permits):
            following = self._queue.next(allow_heavy)
            if following is None:
                for unused in permits[position:]:
                    unused.release()
                break
            _, killmail_id = following
            picked[killmail_id] = permit
        await self._send(requests, picked)
        return 0.0

    async def _send(self, requests: asyncio.TaskGroup, picked: dict[int, Permit]) -> None:
        try:
            claimed = await self._ledger.claim_refs(sorted(picked)) if picked else set()
        except BaseException:
            for killmail_id, permit in picked.items():
                permit.release()
                self._queue.done(killmail_id)
            raise
        for killmail_id, permit in picked.items():
            ref = self._pending.ref(killmail_id)
            if ref is None or killmail_id not in claimed:
                permit.release()
                self._pending.gone(killmail_id)
                continue
            self._flying += 1
            requests.create_task(self._fetch(permit, ref), name=f"mail-{killmail_id}")

    async def _permits(self, free: int) -> tuple[list[Permit], bool, float]:
        """(permits, whether heavy sources may use them, seconds to wait if there are none)."""
        pause = await self._pending.until_retry()
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

    async def _fetch(self, permit: Permit, ref: Ref) -> None:
        try:
            answer = await self._esi.killmail(permit, ref.killmail_id, ref.killmail_hash)
            glance(answer.raw, ref.killmail_id)
        except MustWait:
            # The budget was spent or ESI went down meanwhile: nothing counts, it stays pending.
            await self._give_back(ref)
        except EsiError as error:
            await self._failures.failed(ref, error)
        except Unavailable:
            # The database did not reserve tokens in time: no fault of the mail's.
            await self._give_back(ref)
        except Exception as error:
            await self._failures.failed(ref, self._failures.unforeseen(ref, error))
        else:
            self._writer.add(Delivery(ref, answer.raw, self._clock.now()))
        finally:
            self._flying -= 1
            self._signal.ring()

    async def _give_back(self, ref: Ref) -> None:
        self._pending.landed(ref.killmail_id)
        self._pending.read_again()
        try:
            await self._ledger.release_refs([ref.killmail_id])
        except Unavailable as error:  # claimed by us it stays, which is no obstacle to ourselves
            self._log.debug("a mail could not be given back", reason=error.message)
