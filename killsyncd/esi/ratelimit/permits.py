"""Permits to send one request each: the tokens it may cost at worst are reserved, durably, before it goes.

A list reserves for itself, details come from the pool. Every request in flight holds the worst price and
gives back what it did not cost; an unanswered one gives nothing back. What this process does not live to
settle stays spent.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from killsyncd.core.clock import Clock
from killsyncd.core.model import WaitsFor
from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.decoding import read_date, read_number
from killsyncd.esi.http import HttpResponse
from killsyncd.esi.ratelimit.accounting import RateLimitAccounting
from killsyncd.esi.ratelimit.detail_pool import DetailPool, limited
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.ratelimit.windows import (
    LONGEST_LIFE,
    MARGIN,
    Bucket,
    Chunk,
    RouteLimit,
    address_subject,
    character_subject,
    price,
    worst_price,
)
from killsyncd.esi.routes import DETAIL, ERROR_GROUP, ERROR_WINDOW, ERRORS_A_MINUTE
from killsyncd.esi.signal import Condition

RETRY_WITHOUT_HEADER = 60.0
LONGEST_RETRY = 3600.0
FEW_ERRORS_LEFT = 20


class Permit:
    """One request may be sent. It holds its worst price until it is answered or released.

    Use each once: pass it to `EsiClient.killmail`, or `release` it unused.
    """

    __slots__ = ("_office", "alone", "character_id", "chunk", "heavy", "holds", "open", "route", "window")

    def __init__(
        self,
        office: PermitOffice,
        chunk: Chunk,
        *,
        route: str,
        holds: int,
        window: float,
        heavy: bool = False,
        character_id: int | None = None,
        alone: bool = False,
    ) -> None:
        """chunk: where `holds` is held already. alone: nobody else asks this route until it is answered."""
        self._office = office
        self.chunk = chunk
        self.route = route
        self.holds = holds
        self.window = window
        self.heavy = heavy
        self.character_id = character_id
        self.alone = alone
        self.open = True

    def release(self) -> None:
        """It was not used: the tokens go back. Safe to call again."""
        self._office.end(self, 0)


class PermitOffice:
    """All buckets of this daemon."""

    def __init__(
        self,
        accounting: RateLimitAccounting,
        limits: RouteLimits,
        time: ServerTime,
        clock: Clock,
        changes: Condition,
        rng: random.Random,
        *,
        client_id: str,
        egress: str,
    ) -> None:
        """changes: notified when tokens came back or a block was set."""
        self._accounting = accounting
        self._limits = limits
        self._time = time
        self._clock = clock
        self._changes = changes
        self._rng = rng
        self._client_id = client_id
        self._egress = egress
        self._alone: set[str] = set()
        self._address: dict[str, Bucket] = {}
        self.pool = DetailPool(accounting, time, clock, changes)

    def bucket(self, route: str, character_id: int | None) -> Bucket:
        """Whose tokens a request on this route costs; character_id with that character's token."""
        group = self._limits.of(route).group or ERROR_GROUP
        if character_id is None or group is ERROR_GROUP:
            bucket = self._address.get(group)
            if bucket is None:
                bucket = self._address[group] = Bucket(group, address_subject(self._egress))
            return bucket
        return Bucket(group, character_subject(self._client_id, character_id))

    def _gate(self, route: str) -> str:
        return (
            self._accounting.ungrouped_gate
            if self._limits.of(route).group is None
            else self._accounting.every_gate
        )

    def check(self, route: str, bucket: Bucket) -> None:
        """Raises RateLimited while a 429, a 420 or a low error count forbids this bucket."""
        until = self._accounting.blocked_until(bucket, self._gate(route))
        if until:
            everybody = self._accounting.gate(self._accounting.every_gate) >= until
            group = ERROR_GROUP if everybody else bucket.group
            waits_for = WaitsFor.ERROR_LIMIT if everybody else WaitsFor.BLOCKED
            raise limited(self._time, group, until, "ESI asked us to wait", waits_for=waits_for)

    def check_left(self, permit: Permit, flying: int) -> None:
        """Raises RateLimited where ESI's latest count leaves nothing for a detail beside those in flight.

        What was reserved before may be more than there is: the limit was lowered, or somebody else spends.
        """
        if permit.route == DETAIL:
            self._raise_if_nothing_left(permit.chunk.bucket, flying)

    def _raise_if_nothing_left(self, bucket: Bucket, flying: int) -> None:
        if self.pool.left(self._limits.of(DETAIL).tokens) < price(200) * (flying + 1):
            until = self._time.not_after() + MARGIN
            raise limited(self._time, bucket.group, until, "no tokens left", dry=True)

    # One request

    async def single(
        self,
        route: str,
        character_id: int | None,
        alongside: Alongside | None = None,
        *,
        keep: float = 0.0,
    ) -> Permit:
        """A permit for one request, from the database. alongside: a part of the same transaction.

        keep: the part of the limit (0..1) to leave alone.
        Raises RateLimited, Unavailable, and what alongside raises.
        """
        bucket = self.bucket(route, character_id)
        self.check(route, bucket)
        while self._must_wait_its_turn(route):
            await self._changes.wait()
            self.check(route, bucket)
        limit, window, holds = self._terms(route)
        alone = not self._sure(route)
        if alone:
            self._alone.add(route)
        try:
            grant = await self._accounting.reserve(
                bucket,
                want=holds,
                least=holds,
                keep=keep,
                limit=limit,
                window=window,
                life=LONGEST_LIFE,
                gate=self._gate(route),
                alongside=alongside,
            )
            if not grant.tokens:
                raise limited(self._time, bucket.group, grant.next_at, "no tokens left", dry=True)
        except BaseException:
            if alone:
                self._no_longer_alone(route)
            raise
        now = self._clock.monotonic()
        chunk = Chunk(grant, bucket, granted_at=now, send_by=now + LONGEST_LIFE, last_part=False)
        chunk.hold(holds)
        return Permit(
            self, chunk, route=route, holds=holds, window=window, character_id=character_id, alone=alone
        )

    def _terms(self, route: str) -> tuple[int, float, int]:
        """(limit, window, what a request holds)."""
        known = self._limits.of(route)
        if known.group is None:
            return ERRORS_A_MINUTE, ERROR_WINDOW, 1
        return known.tokens, known.window, worst_price(known.tokens)

    # The first request of a route goes alone: ESI's clock and limits may differ from what we think.

    def _must_wait_its_turn(self, route: str) -> bool:
        return not self._sure(route) and route in self._alone

    def _sure(self, route: str) -> bool:
        return self._limits.heard(route) and self._time.sure

    def _no_longer_alone(self, route: str) -> None:
        self._alone.discard(route)
        self._changes.notify()

    # Details

    async def details(self, count: int, *, heavy: bool) -> list[Permit]:
        """One to `count` permits for details; heavy: leave the window's last part alone.

        In memory while a chunk lasts, else one transaction. Raises RateLimited, Unavailable.
        """
        bucket = self.bucket(DETAIL, None)
        self.check(DETAIL, bucket)
        self._raise_if_waiting_for_first()
        known, alone = self._limits.of(DETAIL), not self._sure(DETAIL)
        if alone:
            count = 1
        # Not handed out only to be turned away when it is to be sent, over and over.
        flying = self.pool.handed_out(worst_price(known.tokens))
        self._raise_if_nothing_left(bucket, flying)
        count = min(count, max(1, self.pool.left(known.tokens) // price(200) - flying))
        held = self.pool.take(count, heavy, known)
        if not held:
            await self.pool.refill(bucket, count, heavy, known, sure=not alone)
            self._raise_if_waiting_for_first()
            held = self.pool.take(count, heavy, known)
            if not held:  # others were quicker
                raise limited(self._time, bucket.group, self._time.not_after() + 0.05, "no tokens left")
        elif len(held) < count:
            self.pool.refill_ahead(bucket, count, heavy, known)
        if alone:
            self._alone.add(DETAIL)
        holds = worst_price(known.tokens)
        return [
            Permit(self, chunk, route=DETAIL, holds=holds, window=known.window, heavy=heavy, alone=alone)
            for chunk in held
        ]

    def _raise_if_waiting_for_first(self) -> None:
        if self._must_wait_its_turn(DETAIL):
            raise limited(
                self._time, "killmail", self._time.not_after() + 1.0, "waiting for the first answer"
            )

    # The end of a request

    def end(self, permit: Permit, cost: int, *, late: float = 0.0) -> None:
        """The request is over and cost so much. late: seconds by which ESI may take it later than now."""
        if not permit.open:
            return
        permit.open = False
        if permit.alone:
            self._alone.discard(permit.route)
        permit.chunk.give_back(permit.holds, cost, self._accounting.returns_at(permit.window) + late)
        if self.pool.over(permit.chunk, permit.holds):
            self.pool.settle(permit.chunk)
        self._changes.notify()

    def unanswered(self, permit: Permit) -> None:
        """No answer: whatever it cost at worst is spent, perhaps only later."""
        self.end(permit, permit.holds, late=self._accounting.unanswered_for)

    def answered(self, permit: Permit, answer: HttpResponse) -> None:
        """Settle at the true price, and take in what the headers say."""
        route, bucket = permit.route, permit.chunk.bucket
        grouped = self._limits.of(route).group is not None
        self._limits.read(route, answer.status, answer.headers)
        after = self._limits.of(route)
        if grouped:
            permit.window = after.window  # of which this answer may be the first to tell
        errors = bucket.group == ERROR_GROUP
        cost = int(answer.status >= 400) if errors else price(answer.status)
        newest = self.pool.newest
        self.end(permit, cost)
        if grouped:
            self._observe(permit, after, answer, newest)
        self._read_errors(answer)
        if answer.status == 420:
            seconds = read_number(answer.headers, "X-ESI-Error-Limit-Reset", most=120)
            self._accounting.shut(
                self._accounting.every_gate, self._until(60 if seconds is None else seconds)
            )
        elif answer.status == 429:
            self._accounting.block(bucket, self._retry_at(answer.headers))
            if route == DETAIL:
                self.pool.retire()

    def _observe(self, permit: Permit, after: RouteLimit, answer: HttpResponse, newest: float) -> None:
        """Compare ESI's count with ours: more means that somebody else spends from this bucket."""
        # Not X-Ratelimit-Used: that is what this one request cost.
        remaining = read_number(answer.headers, "X-Ratelimit-Remaining", most=10**12)
        if remaining is None:
            return
        used = max(0, after.tokens - remaining)
        bucket = permit.chunk.bucket
        if after.group is not None and after.group != bucket.group:
            bucket = Bucket(after.group, bucket.subject)  # CCP has moved the route
        self._accounting.observe(bucket, used, after.window, answer.sent, answer.received)
        if permit.route != DETAIL:
            return
        self.pool.hear(used, answer.sent)
        if answer.sent > newest and self.pool.holds_more_than(remaining):
            # Less is left than we have in hand: hand it back, and let the database count anew.
            self.pool.retire()

    def _read_errors(self, answer: HttpResponse) -> None:
        left = read_number(answer.headers, "X-ESI-Error-Limit-Remain", most=10**6)
        if left is not None and left <= FEW_ERRORS_LEFT:
            seconds = read_number(answer.headers, "X-ESI-Error-Limit-Reset", most=120)
            self._accounting.shut(
                self._accounting.ungrouped_gate, self._until(60 if seconds is None else seconds)
            )

    def _retry_at(self, headers: Mapping[str, str]) -> float:
        # ESI sends seconds; a proxy before it may send the date that HTTP also allows.
        seconds = read_number(headers, "Retry-After", most=int(LONGEST_RETRY))
        if seconds is not None:
            return self._until(seconds)
        date = read_date(headers, "Retry-After")
        if date is not None:
            return self._until(min(date - self._time.not_before(), LONGEST_RETRY))
        return self._until(RETRY_WITHOUT_HEADER) + self._rng.uniform(0.0, 15.0)

    def _until(self, seconds: float) -> float:
        return self._time.not_before() + max(1.0, seconds) + 1.0
