"""ESI's budgets against a small ESI of their own, in any order of what can happen to them (Hypothesis).

The model is ESI's side: it charges each request when it arrives and returns the tokens one window later.
The database must never count less than ESI does, or it grants what would be refused; and it must come down
to what ESI counts once nothing is under way any more, or pilots wait for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from killsyncd.esi.ratelimit.windows import (
    MARGIN,
    Bucket,
    Observation,
    Reservation,
    ReservationRequest,
    price,
    when_free,
)
from killsyncd.storage.repositories.budgets import BudgetRepository
from tests.support.state_machine import SEVERAL, DatabaseMachine

LIMIT, WINDOW = 30, 900.0
LIFE, UNANSWERED = 10.0, 40.0
HELD_FOR = LIFE + UNANSWERED
BUCKETS = (Bucket("char-killmail", "app:a:1"), Bucket("killmail", "egress:default"))
STATUSES = (200, 304, 404, 429, 503)


@dataclass
class Open:
    """A reservation of a daemon that lives: so many tokens, of which requests have used some."""

    bucket: Bucket
    tokens: int
    granted_at: float
    used: int = 0
    returns_at: float = 0.0


class Budgets(DatabaseMachine):
    """What daemons do with their budgets, and what ESI counts meanwhile. Time is the machine's own."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = BudgetRepository(self.world.store)
        self.now = 1_000_000.0
        self.open: dict[int, Open] = {}
        self.charged: dict[Bucket, list[tuple[float, int]]] = {each: [] for each in BUCKETS}
        """Of our requests, by ESI's count: when the tokens return, and how many."""
        self.foreign: dict[Bucket, list[tuple[float, int]]] = {each: [] for each in BUCKETS}
        """Of others' requests, by the same count."""
        self.dead: dict[Bucket, float] = {}
        """When a daemon died last with a reservation of this bucket that it had not settled."""

    def esi_counts(self, bucket: Bucket) -> int:
        return self.ours(bucket) + sum(n for back, n in self.foreign[bucket] if back > self.now)

    def ours(self, bucket: Bucket) -> int:
        return sum(n for back, n in self.charged[bucket] if back > self.now)

    def counted(self, bucket: Bucket) -> int:
        found = {each.bucket: each.used for each in self.run(self.rows.usage(self.now))}
        return found.get(bucket, 0)

    def ask(self, bucket: Bucket, want: int, **more: Any) -> ReservationRequest:
        asked: dict[str, Any] = {
            "least": 5,
            "keep": 0.0,
            "limit": LIMIT,
            "window": WINDOW,
            "now": self.now,
            "spent_at": self.now,
            "held_for": HELD_FOR,
            "forget": True,
        }
        return ReservationRequest(bucket, want, **{**asked, **more})

    @rule(
        bucket=st.sampled_from(BUCKETS),
        want=st.sampled_from([5, 10, 30]),
        keep=st.sampled_from([0.0, 0.15]),
        look=st.booleans(),
    )
    def reserve(self, bucket: Bucket, want: int, keep: float, look: bool) -> None:
        before = self.counted(bucket)
        asked = self.ask(bucket, want, keep=keep, look=look)
        granted = self.run(self.rows.reserve(asked))
        if granted.tokens:
            assert before + granted.tokens <= LIMIT
            assert granted.used == before + granted.tokens
            self.open[granted.id] = Open(bucket, granted.tokens, self.now)
            return
        spends = next(each.spends for each in self.run(self.rows.usage(self.now)) if each.bucket == bucket)
        assert self.now < granted.next_at == when_free(asked, spends)

    @precondition(lambda self: any(each.tokens - each.used >= 5 for each in self.open.values()))
    @rule(data=st.data(), status=st.sampled_from(STATUSES))
    def send(self, data: st.DataObject, status: int) -> None:
        """A request is answered at once. Nothing is sent by a reservation that is too old."""
        free = {n: each for n, each in self.open.items() if each.tokens - each.used >= 5}
        number = data.draw(st.sampled_from(sorted(free)))
        chunk = free[number]
        if self.now > chunk.granted_at + LIFE:
            return
        cost = price(status)
        if cost:
            # ESI refuses none of our requests, since we never send what it would refuse.
            assert self.ours(chunk.bucket) + cost <= LIMIT
            self.charged[chunk.bucket].append((self.now + WINDOW, cost))
            chunk.used += cost
            chunk.returns_at = self.now + WINDOW + MARGIN

    @precondition(lambda self: bool(self.open))
    @rule(data=st.data(), twice=st.booleans())
    def settle(self, data: st.DataObject, twice: bool) -> None:
        """The same bill twice is the same as once: a write in doubt is repeated."""
        number = data.draw(st.sampled_from(sorted(self.open)))
        chunk = self.open.pop(number)
        bill = Reservation(number, chunk.bucket, chunk.used, chunk.returns_at)
        for _ in range(1 + twice):
            self.run(self.rows.settle([bill], []))

    @precondition(lambda self: bool(self.open))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A daemon goes without settling: until ESI's count says less, all of it stays booked."""
        number = data.draw(st.sampled_from(sorted(self.open)))
        chunk = self.open.pop(number)
        self.dead[chunk.bucket] = self.now

    @rule(bucket=st.sampled_from(BUCKETS), tokens=st.sampled_from([1, 5]))
    def somebody_else(self, bucket: Bucket, tokens: int) -> None:
        """Another program of the same application spends, and a header tells of it.

        While something of ours is booked and not settled it may hide behind that, until the next header:
        ESI's count and ours are compared as wholes.
        """
        ours = any(each.bucket == bucket for each in self.open.values())
        if ours or self.now < self.dead.get(bucket, 0.0) + WINDOW + HELD_FOR + 2 * MARGIN:
            return
        self.foreign[bucket].append((self.now + WINDOW, tokens))
        self.observe(bucket)
        # What has just come back is kept for a moment longer, and others' tokens may hide behind that, too.
        self.time_goes_by(2 * MARGIN)
        self.observe(bucket)
        assert self.counted(bucket) >= self.esi_counts(bucket)

    @rule(bucket=st.sampled_from(BUCKETS))
    def observe(self, bucket: Bucket) -> None:
        """A header says what ESI counts."""
        used = self.esi_counts(bucket)
        self.run(self.rows.settle([], [self.seen(bucket, used)]))

    def seen(self, bucket: Bucket, used: int) -> Observation:
        return Observation(bucket, used, WINDOW, self.now, self.now, HELD_FOR)

    @rule(seconds=st.sampled_from([0.5, 11.0, 61.0, 450.0, 902.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        for number, each in list(self.open.items()):
            if self.now > each.granted_at + HELD_FOR:  # settled at the latest then
                self.open.pop(number)
                self.run(self.rows.settle([Reservation(number, each.bucket, each.used, each.returns_at)], []))

    @rule()
    def tidy(self) -> None:
        self.run(self.rows.tidy(self.now))

    @rule(bucket=st.sampled_from(BUCKETS))
    def nothing_is_booked_for_ever(self, bucket: Bucket) -> None:
        """When nothing is under way, one look at ESI's headers leaves what ESI counts, and no more.

        But for others' tokens: when they come back is not known, so they do not count against ours.
        """
        if self.foreign[bucket]:
            return
        for number, each in list(self.open.items()):
            self.open.pop(number)
            self.run(self.rows.settle([Reservation(number, each.bucket, each.used, each.returns_at)], []))
        self.now += HELD_FOR + 1.0
        self.observe(bucket)
        # What returns within the margin is gone at ESI and not yet with us.
        late = sum(n for at, n in self.charged[bucket] if self.now - 2 * MARGIN - 10.0 <= at <= self.now)
        slack = HELD_FOR + 10.0
        recent = sum(n for at, n in self.charged[bucket] if abs(at - self.now) <= slack)
        assert self.counted(bucket) <= self.esi_counts(bucket) + late + recent

    @invariant()
    def never_less_than_esi_counts(self) -> None:
        for bucket in BUCKETS:
            assert self.counted(bucket) >= self.ours(bucket)


TestBudgets = pytest.mark.slow(Budgets.TestCase)
TestBudgets.settings = SEVERAL
