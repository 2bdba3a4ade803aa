"""What this daemon still has to settle in the database, and what it knows of blocks and gates.

Reserving writes at once; settlements, observations, blocks and gates are kept here for a moment and written
with the next reservation or by `flush`. Losing them is safe: then the worst price stays booked.
All times are ESI's unless named otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from killsyncd.core.clock import Clock
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.ratelimit.ports import Alongside, BudgetStore
from killsyncd.esi.ratelimit.windows import (
    LONGEST_LIFE,
    MARGIN,
    OBSERVATION_LIFE,
    Bucket,
    Chunk,
    Observation,
    Reservation,
    ReservationRequest,
    ReservationResult,
    Settlement,
    character_of,
)

FORGET_EVERY = 60.0
"""Seconds between two times that what came back long ago is deleted."""

NOTE_EVERY = 60.0
"""Seconds between two notes of what time it is at ESI."""

Write = Callable[[], Awaitable[None]]


def is_stamp(name: str) -> bool:
    """Whether it is a time stamp, which is overwritten. All others are gates, which are only ever raised.

    So a clock that was wrong does not have the last word for ever.
    """
    return name.startswith(("status-", "esi-time"))


class RateLimitAccounting:
    """Between the requests and the database."""

    def __init__(
        self, store: BudgetStore, time: ServerTime, clock: Clock, *, egress: str, timeout: float
    ) -> None:
        """timeout: seconds after which a request that was sent counts as unanswered."""
        self._store = store
        self._time = time
        self._clock = clock
        self._timeout = timeout
        self._bills: dict[int, Reservation] = {}
        self._seen: dict[Bucket, tuple[int, float, float, float]] = {}
        self._writes: dict[object, Write] = {}
        self._blocked: dict[Bucket, float] = {}
        self._gates: dict[str, float] = {}
        self._first_seen: dict[
            str, float
        ] = {}  # when this process first saw a gate's current value (monotonic)
        self._shut_until = 0.0  # the latest of all blocks and of the two gates below
        self._flushing = asyncio.Lock()
        self._time_stamp = f"esi-time:{egress}"
        self._noted_at = float("-inf")
        self._forgot_at = float("-inf")
        self.every_gate = f"every-route:{egress}"
        """Shut by a 420: no route at all."""
        self.ungrouped_gate = f"ungrouped:{egress}"
        """Shut when few errors are left: routes without a group."""

    async def load(self) -> None:
        """Read what was known before the restart. Raises Unavailable."""
        await self.look()
        for usage in await self._store.usage(self._time.not_after()):
            if usage.blocked_until:
                self._blocked[usage.bucket] = usage.blocked_until
        gates = (self._gates.get(each, 0.0) for each in (self.every_gate, self.ungrouped_gate))
        self._shut_until = max(0.0, *gates, *self._blocked.values())

    async def look(self) -> None:
        """Read gates that other daemons have set since. Raises Unavailable."""
        for gate, until in (await self._store.gates()).items():
            if gate not in self._writes:
                self._keep(gate, until if is_stamp(gate) else max(until, self._gates.get(gate, 0.0)))

    def _keep(self, gate: str, until: float) -> None:
        if self._gates.get(gate) != until:
            self._gates[gate] = until
            self._first_seen[gate] = self._clock.monotonic()

    # Tokens

    @property
    def unanswered_for(self) -> float:
        """Seconds that the price of an unanswered request stays out beyond its window.

        ESI may work on it, and count it, for as long again as we would have waited.
        """
        return 2 * self._timeout

    def returns_at(self, window: float) -> float:
        """When a token that is spent now comes back."""
        return self._time.not_before() + window + MARGIN

    async def reserve(
        self,
        bucket: Bucket,
        *,
        want: int,
        least: int,
        keep: float,
        limit: int,
        window: float,
        life: float,
        gate: str = "",
        look: bool = False,
        alongside: Alongside | None = None,
    ) -> ReservationResult:
        """Take tokens, to be spent within `life` seconds. gate: one more that must be open.

        alongside: a part of the same transaction. The rest as in `ReservationRequest`.
        Raises Unavailable, and what alongside raises.

        A cancelled caller leaves no tokens behind: what was reserved for it is billed as unused.
        """
        bills, seen = self._take()
        ask = ReservationRequest(
            bucket,
            want,
            least,
            keep,
            limit,
            window,
            now=self._time.not_after(),
            spent_at=self._time.not_before(),
            held_for=life + self.unanswered_for,
            bills=tuple(bills.values()),
            observations=seen,
            gates=tuple(dict.fromkeys(each for each in (self.every_gate, gate) if each)),
            forget=self._may_forget(),
            look=look,
        )
        work = asyncio.ensure_future(self._store.reserve(ask, alongside))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(partial(self._unwanted, bucket, bills))
            raise
        except Exception:
            self._bills = bills | self._bills
            raise

    def _may_forget(self) -> bool:
        """Whether it is time again to delete what came back long ago."""
        now = self._clock.monotonic()
        if not self._time.sure or now - self._forgot_at < FORGET_EVERY:
            return False
        self._forgot_at = now
        return True

    def _unwanted(
        self, bucket: Bucket, bills: dict[int, Reservation], work: asyncio.Future[ReservationResult]
    ) -> None:
        if work.cancelled() or work.exception() is not None:
            self._bills = bills | self._bills
        elif work.result().tokens:
            self._bills[work.result().id] = Reservation(work.result().id, bucket, 0, 0.0)

    @contextmanager
    def settling(self) -> Iterator[Settlement]:
        """What waits to be settled, for a transaction of the block's: where that fails it waits on."""
        bills, seen = self._take()
        try:
            yield Settlement(tuple(bills.values()), seen)
        except BaseException:
            self._bills = bills | self._bills  # the same bill twice is the same as once
            raise

    def _take(self) -> tuple[dict[int, Reservation], tuple[Observation, ...]]:
        bills, seen = self._bills, self._fresh_observations()
        self._bills, self._seen = {}, {}
        return bills, seen

    def bill(self, chunk: Chunk) -> None:
        """A reservation is over; the next write settles it."""
        self._bills[chunk.id] = chunk.bill()

    def observe(self, bucket: Bucket, used: int, window: float, sent: float, received: float) -> None:
        """A header said how much of a bucket is used, between these two (monotonic seconds)."""
        self._seen[bucket] = (used, window, sent, received)

    def _fresh_observations(self) -> tuple[Observation, ...]:
        now, low, high = self._clock.monotonic(), self._time.not_after(), self._time.not_before()
        held_for = LONGEST_LIFE + self.unanswered_for
        return tuple(
            Observation(bucket, used, window, low - (now - sent), high - (now - received), held_for)
            for bucket, (used, window, sent, received) in self._seen.items()
            if now - sent <= OBSERVATION_LIFE
        )

    # Blocks and gates

    def block(self, bucket: Bucket, until: float) -> None:
        """Nothing from this bucket before then."""
        if until > self._blocked.get(bucket, 0.0):
            self._blocked[bucket] = until
            self._shut_until = max(self._shut_until, until)
            self._writes[bucket] = partial(self._store.block, bucket, until)

    def shut(self, gate: str, until: float) -> None:
        """Shut a gate until then."""
        if until > self._gates.get(gate, 0.0):
            self._keep(gate, until)
            if gate in (self.every_gate, self.ungrouped_gate):
                self._shut_until = max(self._shut_until, until)
            self._writes[gate] = partial(self._store.shut, gate, until)

    def stamp(self, name: str, at: float) -> None:
        """Keep a moment under this name (see `is_stamp`), in place of the one before."""
        self._keep(name, at)
        self._first_seen[name] = self._clock.monotonic()
        self._writes[name] = partial(self._store.stamp, name, at)

    def gate(self, name: str) -> float:
        """Until when a gate is shut; past moments mean open."""
        return self._gates.get(name, 0.0)

    def known_for(self, name: str) -> float:
        """Seconds since this process first heard of what stands under this name."""
        now = self._clock.monotonic()
        return now - self._first_seen.get(name, now)

    def later(self, key: object, write: Write) -> None:
        """Any other write that can wait a moment; a newer one with the same key takes its place."""
        self._writes[key] = write

    def blocked_until(self, bucket: Bucket, gate: str) -> float:
        """Until when nothing may be sent on this bucket, behind this gate; 0 if it may."""
        now = self._time.not_after()
        if now >= self._shut_until:
            return 0.0  # nearly always
        until = max(
            self._blocked.get(bucket, 0.0), self._gates.get(gate, 0.0), self._gates.get(self.every_gate, 0.0)
        )
        if until > now:
            return until
        self._blocked.pop(bucket, None)
        return 0.0

    def blocks(self) -> dict[str, float]:
        """Groups in which a 429 forbids some bucket just now, and until when at the latest."""
        now, found = self._time.not_after(), dict[str, float]()
        for bucket, until in self._blocked.items():
            if until > now:
                found[bucket.group] = max(until, found.get(bucket.group, 0.0))
        return found

    # Writing

    @property
    def busy(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._bills or self._writes)

    @property
    def only_lists(self) -> bool:
        """Whether something waits, and nothing but prices of requests with a character's token."""
        lists = all(character_of(each.bucket.subject) is not None for each in self._bills.values())
        return bool(self._bills) and lists and not self._writes

    async def flush(self) -> None:
        """Write what waits. Raises Unavailable; then it goes on waiting."""
        async with self._flushing:
            while self._writes:
                key, write = next(iter(self._writes.items()))
                await write()
                if self._writes.get(key) is write:
                    del self._writes[key]
            if not self._bills:
                return
            with self.settling() as settlement:
                await self._store.settle(settlement.bills, settlement.observations)

    @property
    def last_time(self) -> float:
        """ESI's clock as it was last written down, or earlier; 0: never."""
        return self.gate(self._time_stamp)

    def note_time(self) -> None:
        """Write down ESI's time now and then: after a restart it cannot be earlier."""
        if self._time.sure and self._clock.monotonic() - self._noted_at >= NOTE_EVERY:
            self.stamp(self._time_stamp, self._time.not_after())
            self._noted_at = self._clock.monotonic()

    async def tidy(self) -> None:
        """Forget what came back long ago."""
        if not self._time.sure:
            return
        now = self._time.not_after()
        self._blocked = {bucket: until for bucket, until in self._blocked.items() if until > now}
        await self._store.tidy(now)
