"""Token care: what is stored when, who asks, and what an answer that never came means."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from killsyncd.auth.grant import Identity, SsoUnavailable, TokenSet, renewal_time
from killsyncd.core.errors import NotFound, Unavailable
from killsyncd.core.model import UserState
from tests.support.token_world import CHARACTER, MARGIN, USER, TokenWorld, down


@pytest.fixture
async def world() -> TokenWorld:
    world = TokenWorld()
    await world.login()
    return world


@pytest.fixture
async def due(world: TokenWorld) -> TokenWorld:
    """The login's token has ended."""
    await world.clock.advance(1200)
    return world


# -- the good days -----------------------------------------------------------------------------


async def test_a_fresh_token_costs_no_question(world: TokenWorld) -> None:
    assert await world.manager.access_token(USER) == "access-login"
    assert await world.manager.access_token(USER) == "access-login"
    assert world.sso.asked == []
    assert world.sso.verified == ["access-login"], "each version is verified once"


async def test_the_order_is_lease_attempt_ask_store_verify(due: TokenWorld) -> None:
    due.store.calls.clear()
    seen: list[list[str]] = []
    refresh, verify = due.sso.refresh, due.sso.verify

    async def watched_refresh(refresh_token: str) -> TokenSet:
        row = due.store.rows[USER]
        assert (row.unanswered_attempts, row.holder) == (1, "daemon-1")
        seen.append(list(due.store.calls))
        return await refresh(refresh_token)

    async def watched_verify(access_token: str) -> Identity:
        assert due.stored_refresh_token() == "refresh-1", "used before it was stored"
        return await verify(access_token)

    due.sso.refresh, due.sso.verify = watched_refresh, watched_verify  # type: ignore[method-assign]
    assert await due.manager.access_token(USER) == "access-1"
    assert seen[0][-1] == "begin_attempt"
    row = due.store.rows[USER]
    assert (row.unanswered_attempts, row.failures, row.holder) == (0, 0, None)


async def test_a_month_without_a_login(world: TokenWorld) -> None:
    for _ in range(31 * 72):
        await world.clock.advance(1200)
        token = await world.manager.access_token(USER)
        assert token == f"access-{world.sso.serial}"
    assert world.state is UserState.OK


async def test_tokens_of_forty_seconds(world: TokenWorld) -> None:
    world.sso.life = 40
    asked_at = []
    await world.clock.advance(1200)
    for _ in range(600):
        await world.clock.advance(1)
        before = world.sso.serial
        await world.manager.access_token(USER)
        if world.sso.serial > before:
            asked_at.append(world.clock.now())
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked_at)]
    assert all(26 <= gap <= 31 for gap in gaps), "renewed when less than a third is left, and not sooner"


async def test_a_token_that_is_over_at_once_is_not_asked_for_in_a_loop(due: TokenWorld) -> None:
    due.sso.life = 1
    assert await due.manager.access_token(USER) == "access-1"
    assert len(due.sso.asked) == 1


@pytest.mark.parametrize(("life", "lead"), [(1200, 300), (600, 200), (40, 40 / 3)])
def test_renewal_leaves_the_margin_but_never_more_than_a_third(life: float, lead: float) -> None:
    for seed in range(50):
        renew_at = renewal_time(0, life, MARGIN, random.Random(seed))
        assert life - lead <= renew_at <= life - 0.8 * lead


async def test_unknown_users_are_said(world: TokenWorld) -> None:
    with pytest.raises(NotFound):
        await world.manager.access_token("nobody")


# -- one at a time -----------------------------------------------------------------------------


async def test_many_who_need_a_token_cause_one_refresh(due: TokenWorld) -> None:
    tokens = await asyncio.gather(*(due.manager.access_token(USER) for _ in range(50)))
    assert set(tokens) == {"access-1"}
    assert due.sso.asked == ["refresh-0"]


async def test_many_daemons_cause_one_refresh(due: TokenWorld) -> None:
    daemons = [due.manager, due.daemon("daemon-2"), due.daemon("daemon-3")]
    waiting = asyncio.gather(*(manager.access_token(USER) for manager in daemons for _ in range(5)))
    while not waiting.done():
        await due.clock.advance(0.1)
    assert set(await waiting) == {"access-1"}
    assert due.sso.asked == ["refresh-0"]


async def test_a_lease_that_never_ends_is_not_waited_for_for_ever(due: TokenWorld) -> None:
    row = due.store.rows[USER]
    await due.store.begin_attempt(USER, holder="daemon-2", version=row.version)
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.clock.advance(61)
    with pytest.raises(SsoUnavailable, match="daemon-2"):
        await waiting
    assert due.sso.asked == []


async def test_users_do_not_wait_for_each_other(due: TokenWorld) -> None:
    other = await due.login(character=90000002, refresh="refresh-0")
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    due.sso.character = 90000002
    assert await due.manager.access_token(other) == "access-login"
    due.sso.character = CHARACTER
    due.sso.hold.set()
    await slow


async def test_force_refresh_asks_only_for_the_stored_token(world: TokenWorld) -> None:
    assert await world.manager.force_refresh(USER, "one of yesterday") == "access-login"
    assert world.sso.asked == []
    assert await world.manager.force_refresh(USER, "access-login") == "access-1"
    assert await world.manager.force_refresh(USER, "access-login") == "access-1"
    assert world.sso.asked == ["refresh-0"]


async def test_eight_who_met_the_same_401_cause_one_refresh(world: TokenWorld) -> None:
    tokens = await asyncio.gather(*(world.manager.force_refresh(USER, "access-login") for _ in range(8)))
    assert set(tokens) == {"access-1"}
    assert world.sso.asked == ["refresh-0"]


async def test_a_rejected_token_is_not_handed_out_while_the_sso_is_down(world: TokenWorld) -> None:
    world.sso.faults = [down()]
    with pytest.raises(SsoUnavailable):
        await world.manager.force_refresh(USER, "access-login")


# -- cancellation and crashes --------------------------------------------------------------------


async def test_cancelling_whoever_waits_does_not_lose_the_new_token(due: TokenWorld) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    due.sso.hold.set()
    await due.manager.aclose()
    assert due.stored_refresh_token() == "refresh-1"


async def test_closing_waits_for_what_runs_and_begins_nothing(due: TokenWorld) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    closing = asyncio.create_task(due.manager.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    due.sso.hold.set()
    await closing
    assert await waiting == "access-1"
    await due.clock.advance(1200)
    with pytest.raises(Unavailable, match="stopping"):
        await due.manager.access_token(USER)


async def test_the_drain_sees_a_refresh_out(due: TokenWorld) -> None:
    due.sso.hold, stopping = asyncio.Event(), asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    draining = asyncio.create_task(due.manager.run(stopping))
    stopping.set()
    await due.clock.settle()
    assert not draining.done()
    due.sso.hold.set()
    await draining
    assert await waiting == "access-1"


async def test_closing_cuts_short_what_the_sso_never_answers(
    due: TokenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killsyncd.core.tasks.PATIENCE", 0.01)
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    await due.manager.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    row = due.store.rows[USER]
    assert (row.holder, row.unanswered_attempts) == (None, 1), "the next daemon knows what it must doubt"
    assert due.stored_refresh_token() == "refresh-0"


async def test_the_drain_does_not_wait_for_another_daemons_lease(due: TokenWorld) -> None:
    """It would take the whole drain, and bring nothing that is not in the database anyway."""
    stopping = asyncio.Event()
    await due.store.begin_attempt(USER, holder="daemon-2", version=due.store.rows[USER].version)
    waiting = asyncio.create_task(due.manager.access_token(USER))
    draining = asyncio.create_task(due.manager.run(stopping))
    await due.clock.sleeping()
    stopping.set()
    await due.clock.advance(1)
    await draining
    with pytest.raises(Unavailable, match="stopping"):
        await waiting


async def test_closing_does_not_wait_for_another_daemons_lease(due: TokenWorld) -> None:
    await due.store.begin_attempt(USER, holder="daemon-2", version=due.store.rows[USER].version)
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.clock.sleeping()
    closing = asyncio.create_task(due.manager.aclose())
    await due.clock.advance(1)
    await closing
    with pytest.raises(Unavailable, match="stopping"):
        await waiting


async def test_a_database_that_stumbles_is_asked_again_to_store(due: TokenWorld) -> None:
    stumbles = iter(range(4))

    def before(name: str) -> None:
        if name == "store_tokens" and next(stumbles, None) is not None:
            raise OSError("disk I/O error")

    due.store.before = before
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.clock.advance(10)
    assert await waiting == "access-1"
    assert due.sso.asked == ["refresh-0"]


async def test_a_commit_whose_answer_was_lost_is_found(due: TokenWorld) -> None:
    """The first store went through, and the second is told that the version is another one."""
    store_tokens = due.store.store_tokens
    failed = False

    async def ambiguous(*args: object, **kwargs: object) -> object:
        nonlocal failed
        row = await store_tokens(*args, **kwargs)  # type: ignore[arg-type]
        if not failed:
            failed = True
            raise ConnectionResetError
        return row

    due.store.store_tokens = ambiguous  # type: ignore[method-assign, assignment]
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.clock.advance(2)
    assert await waiting == "access-1"
    assert due.sso.revoked == []


async def test_after_a_crash_between_answer_and_store_nobody_is_dead_at_once(due: TokenWorld) -> None:
    due.store.before = lambda name: (_ for _ in ()).throw(OSError()) if name == "store_tokens" else None
    lost = asyncio.create_task(due.manager.access_token(USER))
    await due.clock.advance(60)
    with pytest.raises(OSError):  # noqa: PT011
        await lost
    row = due.store.rows[USER]
    assert (row.unanswered_attempts, row.holder) == (1, None), "the lease is given back, the doubt stays"

    due.store.before = None
    restarted = due.daemon("daemon-2")
    with pytest.raises(SsoUnavailable, match="lost"):
        await restarted.access_token(USER)
    assert due.state is UserState.OK
