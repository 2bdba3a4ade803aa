"""The revoker: until the SSO confirms, ever more rarely, and never two at one revocation."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from killsyncd.auth.grant import PendingRevocation, SsoUnavailable
from killsyncd.auth.revoker import LONGEST_BACKOFF, LOOK_AGAIN, Revoker
from killsyncd.core.errors import GrantDead, KeyRefused, Unavailable
from killsyncd.core.events import Events
from tests.support.clocks import ManualClock


class Rows:
    """Revocations in memory; the real ones are in the contract suite."""

    def __init__(self, clock: ManualClock, *revocations: PendingRevocation) -> None:
        self.clock = clock
        self.there = {each.id: each for each in revocations}
        self.down = False

    async def get(self, revocation_id: int) -> PendingRevocation | None:
        return self.there.get(revocation_id)

    async def due(self, limit: int) -> list[PendingRevocation]:
        if self.down:
            raise Unavailable("the database is away")
        return [each for each in self.there.values() if each.not_before <= self.clock.now()][:limit]

    async def next_due(self) -> float | None:
        return min((each.not_before for each in self.there.values()), default=None)

    async def done(self, revocation_id: int) -> None:
        del self.there[revocation_id]

    async def failed(self, revocation_id: int, not_before: float, *, refused: bool) -> None:
        before = self.there[revocation_id]
        self.there[revocation_id] = replace(
            before,
            attempts=before.attempts + 1,
            refusals=before.refusals + 1 if refused else 0,
            not_before=not_before,
        )


class Sso:
    def __init__(self) -> None:
        self.answers: list[Exception | None] = []
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def revoke(self, character_id: int, refresh_token_enc: bytes) -> None:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


def down() -> SsoUnavailable:
    return SsoUnavailable("no answer", answered=False)


def made(*ids: int) -> tuple[ManualClock, Rows, Sso, Events, Revoker]:
    clock, events, sso = ManualClock(), Events(), Sso()
    rows = Rows(clock, *(PendingRevocation(each, each, b"", 0, 0.0) for each in ids))
    return (
        clock,
        rows,
        sso,
        events,
        Revoker(rows=rows, tokens=sso, events=events, clock=clock, rng=random.Random(1)),
    )


async def test_a_confirmed_revocation_takes_the_row_away() -> None:
    _, rows, sso, _, revoker = made(1)
    assert await revoker.revoke_now(1)
    assert (rows.there, sso.asked) == ({}, 1)
    assert await revoker.revoke_now(1)  # done already
    assert sso.asked == 1


async def test_what_fails_is_tried_again_with_growing_pauses() -> None:
    clock, rows, sso, _, revoker = made(1)
    sso.answers = [down(), down(), KeyRefused("not our key"), None]
    stopping = asyncio.Event()
    task = asyncio.create_task(revoker.run(stopping))
    await clock.sleeping()
    waits = []
    while rows.there:
        waits.append(rows.there[1].not_before - clock.now())
        await clock.advance(min(LOOK_AGAIN, waits[-1]) + 1.0)
    assert sso.asked == 4
    assert len({round(each) for each in waits}) == len(waits)
    assert waits[0] < waits[1] < waits[2] <= LONGEST_BACKOFF
    stopping.set()
    await task


async def test_a_token_that_the_sso_does_not_know_is_asked_about_three_times() -> None:
    """Believed at once, one wrong answer would leave the grant at the SSO for ever."""
    clock, rows, sso, _, revoker = made(1)
    sso.answers = [GrantDead("unknown") for _ in range(3)]
    for _ in range(2):
        assert not await revoker.revoke_now(1)
        assert rows.there[1].not_before - clock.now() >= 60.0
        await clock.advance(rows.there[1].not_before - clock.now())
    assert await revoker.revoke_now(1)
    assert (sso.asked, rows.there) == (3, {})


async def test_a_token_that_the_sso_knew_after_all_is_revoked() -> None:
    clock, rows, sso, _, revoker = made(1)
    sso.answers = [GrantDead("unknown"), down(), GrantDead("unknown"), GrantDead("unknown"), None]
    for _ in range(4):
        assert not await revoker.revoke_now(1)
        await clock.advance(rows.there[1].not_before - clock.now())
    assert await revoker.revoke_now(1)
    assert (sso.asked, rows.there) == (5, {})


async def test_the_ssos_own_wish_to_wait_counts() -> None:
    clock, rows, sso, _, revoker = made(1)
    sso.answers = [SsoUnavailable("busy", answered=True, retry_after=7200.0)]
    assert not await revoker.revoke_now(1)
    assert rows.there[1].not_before == clock.now() + 7200.0
    assert not await revoker.revoke_now(1)  # not before its time
    assert sso.asked == 1


async def test_a_logout_and_the_round_do_not_ask_twice() -> None:
    clock, rows, sso, events, revoker = made(1)
    sso.hold = asyncio.Event()
    stopping = asyncio.Event()
    now = asyncio.create_task(revoker.revoke_now(1))
    task = asyncio.create_task(revoker.run(stopping))
    await clock.settle()
    events.tell("grants")
    sso.hold.set()
    assert await now
    await clock.sleeping()
    assert (sso.asked, rows.there) == (1, {})
    stopping.set()
    await task


async def test_a_database_that_is_away_is_waited_for() -> None:
    clock, rows, sso, _, revoker = made(1)
    rows.down = True
    stopping = asyncio.Event()
    task = asyncio.create_task(revoker.run(stopping))
    await clock.sleeping()
    assert sso.asked == 0
    rows.down = False
    await clock.advance(20.0)
    assert rows.there == {}
    stopping.set()
    await task
