"""One "no" of the SSO or of ESI is no verdict: what is asked again, when, and what is believed in the end."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.auth.grant import KILLMAIL_SCOPE, GrantUnusable, ListRefused, SsoUnavailable
from killsyncd.auth.refusals import (
    ALONE_BELIEVED_AFTER,
    DAY,
    FORGOTTEN_AFTER,
    HOUR,
    LIST_BELIEVED_AFTER,
    LIST_PAUSES,
    LOGIN_PAUSES,
    next_login_question,
)
from killsyncd.core.errors import GrantDead
from killsyncd.core.model import UserState
from tests.support.token_world import LIST, USER, TokenWorld, down, gone

OTHER = 99
"""Somebody else's list."""


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


def refuse(world: TokenWorld, times: int) -> None:
    world.sso.faults = [GrantDead("invalid_grant") for _ in range(times)]


async def asked_when_due(world: TokenWorld) -> float:
    """Let the refresher's question come when it may: seconds that it waited."""
    waited = max(0.0, world.store.rows[USER].not_before - world.clock.now())
    await world.clock.advance(waited)
    assert await world.store.due(world.clock.now(), 10) == [USER]
    try:
        await world.manager.renew(USER)
    except (SsoUnavailable, GrantUnusable):
        pass
    return waited


# -- the SSO says invalid_grant ------------------------------------------------------------------


async def test_one_invalid_grant_changes_nothing_and_is_asked_again_a_minute_later(due: TokenWorld) -> None:
    refuse(due, 1)
    with pytest.raises(SsoUnavailable, match="invalid_grant") as caught:
        await due.manager.access_token(USER)
    assert "killsyncd login" in caught.value.hint
    assert due.state is UserState.OK
    assert due.stored_refresh_token() == "refresh-0"
    assert due.manager.problems() == [], "the SSO is well; this is one pilot's"
    await due.clock.advance(59)
    with pytest.raises(SsoUnavailable, match="the next is in"):
        await due.manager.access_token(USER)
    assert len(due.sso.asked) == 1, "asked before its time"
    await due.clock.advance(10)
    assert await due.manager.access_token(USER) == "access-1"
    row = due.store.rows[USER]
    assert (row.refusals, row.refused_since, row.failures, row.not_before) == (0, None, 0, 0.0)


async def test_a_second_one_asks_for_a_login_and_keeps_the_token(due: TokenWorld) -> None:
    refuse(due, 2)
    await asked_when_due(due)
    assert await asked_when_due(due) >= 60
    row = due.store.rows[USER]
    assert row.state is UserState.NEEDS_LOGIN
    assert row.state_reason is not None
    assert "asked again by itself at 20" in row.state_reason, "what happens next is said"
    assert due.stored_refresh_token() == "refresh-0"
    with pytest.raises(GrantUnusable) as caught:
        await due.manager.access_token(USER)
    assert "killsyncd login" in caught.value.hint
    assert len(due.sso.asked) == 2


@pytest.mark.parametrize("refused", range(2, 9))
async def test_whoever_is_taken_back_within_a_week_goes_on_by_himself(due: TokenWorld, refused: int) -> None:
    refuse(due, refused)
    for _ in range(refused):
        await asked_when_due(due)
    assert due.state is UserState.NEEDS_LOGIN
    await asked_when_due(due)
    assert due.state is UserState.OK
    assert due.store.rows[USER].state_reason is None
    assert await due.manager.access_token(USER) == "access-1"


async def test_a_grant_that_is_refused_for_a_week_is_forgotten(due: TokenWorld) -> None:
    refuse(due, 100)
    waits = []
    while due.store.rows[USER].refresh_token_enc is not None:
        waits.append(await asked_when_due(due))
    assert waits[1:7] == [pytest.approx(pause, rel=0.11) for pause in LOGIN_PAUSES]
    assert 7 * DAY <= sum(waits) < 10 * DAY
    row = due.store.rows[USER]
    assert (row.state, row.access_token_enc, row.holder) == (UserState.NEEDS_LOGIN, None, None)
    assert row.state_reason is not None
    assert f"{len(waits)} times" in row.state_reason
    assert await due.store.due(due.clock.now() + DAY, 10) == []
    asked = len(due.sso.asked)
    with pytest.raises(GrantUnusable):
        await due.manager.renew(USER)
    assert len(due.sso.asked) == asked


async def test_a_daemon_that_was_off_for_a_month_forgets_nothing_at_its_first_refusal(
    due: TokenWorld,
) -> None:
    refuse(due, 1)
    await asked_when_due(due)
    await due.clock.advance(30 * DAY)
    refuse(due, 3)
    for _ in range(3):
        await asked_when_due(due)
    assert due.stored_refresh_token() == "refresh-0"
    await asked_when_due(due)
    assert due.state is UserState.OK


def test_the_questions_in_the_end() -> None:
    assert next_login_question(1, 0.0) == 60.0
    assert next_login_question(40, FORGOTTEN_AFTER - 1) == 2 * DAY
    assert next_login_question(40, FORGOTTEN_AFTER) is None
    assert next_login_question(2, 90 * DAY) is not None


@pytest.mark.parametrize("fault", [gone(), down()], ids=["lost", "never sent"])
async def test_after_a_lost_answer_a_refusal_counts_the_same(due: TokenWorld, fault: SsoUnavailable) -> None:
    """Doubt for 80 minutes helped nobody: the pilot is told after a minute, and the SSO asked on."""
    due.sso.faults = [fault, *(GrantDead("invalid_grant") for _ in range(2))]
    with pytest.raises(SsoUnavailable):
        await due.manager.access_token(USER)
    await due.clock.advance(30)
    await asked_when_due(due)
    assert due.state is UserState.OK
    await asked_when_due(due)
    assert due.state is UserState.NEEDS_LOGIN
    lost = "answer was lost" in (due.store.rows[USER].state_reason or "")
    assert lost is not fault.answered
    await asked_when_due(due)
    assert due.state is UserState.OK


async def test_an_sso_that_is_down_meanwhile_uses_up_no_question(due: TokenWorld) -> None:
    refuse(due, 2)
    await asked_when_due(due)
    await asked_when_due(due)
    due.sso.faults = [down()]
    await asked_when_due(due)
    assert due.store.rows[USER].refusals == 2
    await due.clock.advance(60)
    await due.manager.renew(USER)
    assert due.state is UserState.OK


async def test_a_lease_lost_while_asking_is_no_verdict_either(due: TokenWorld) -> None:
    """The other daemon has asked with the same token and not stored yet: the refusal may be its doing."""
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    await due.store.release(USER, holder="daemon-1")
    await due.store.begin_attempt(USER, holder="daemon-2", version=due.store.rows[USER].version)
    refuse(due, 1)
    due.sso.hold.set()
    with pytest.raises(SsoUnavailable, match="lost"):
        await slow
    assert due.state is UserState.OK
    assert due.store.rows[USER].holder == "daemon-2"


# -- ESI says 403 to the list --------------------------------------------------------------------


async def refused_list(world: TokenWorld) -> ListRefused | GrantUnusable:
    token = await world.manager.access_token(USER)
    with pytest.raises((ListRefused, GrantUnusable)) as caught:
        await world.manager.list_refused(USER, LIST, token, "unexpected end of JSON input")
    return caught.value


async def refused_with_pauses(world: TokenWorld, times: int) -> None:
    """Refused so many times in a row, each asked when it should be; others' lists come."""
    for _ in range(times):
        refusal = await refused_list(world)
        assert isinstance(refusal, ListRefused)
        world.store.accepted[OTHER] = world.clock.now() + 1
        await world.clock.advance(refusal.retry_after)


async def test_a_403_for_a_token_with_the_scope_is_doubted_four_times(world: TokenWorld) -> None:
    for pause in LIST_PAUSES[: LIST_BELIEVED_AFTER - 1]:
        world.store.accepted[OTHER] = world.clock.now() + 1
        refusal = await refused_list(world)
        assert isinstance(refusal, ListRefused)
        assert refusal.retry_after == pause
        assert "unexpected end of JSON input" in refusal.message
        assert world.state is UserState.OK
        await world.clock.advance(pause)
    assert isinstance(await refused_list(world), GrantUnusable)
    assert world.state is UserState.SCOPE_MISSING
    assert "hourly" in (world.store.rows[USER].state_reason or "")


async def test_an_outage_that_refuses_everybody_is_nobodys_missing_scope(world: TokenWorld) -> None:
    """Four refused pilots and no list that came: that is ESI, for as long as it lasts."""
    users = [(USER, LIST)]
    for n in range(1, 4):
        users.append((await world.login(character=91000000 + n), LIST + n))
    began = world.clock.now()
    while world.clock.now() < began + DAY:
        waits = []
        for user_id, source_id in users:
            world.sso.character = world.store.rows[user_id].character_id
            world.sso.current = world.stored_refresh_token(user_id)
            token = await world.manager.access_token(user_id)
            with pytest.raises(ListRefused) as caught:
                await world.manager.list_refused(user_id, source_id, token, "Forbidden")
            waits.append(caught.value.retry_after)
        await world.clock.advance(max(waits))
    assert {row.state for row in world.store.rows.values()} == {UserState.OK}
    assert waits == [HOUR] * 4, "five tokens an hour each"


async def test_a_pilot_who_is_alone_is_believed_after_six_hours(world: TokenWorld) -> None:
    began = world.clock.now()
    while isinstance(refusal := await refused_list(world), ListRefused):
        await world.clock.advance(refusal.retry_after)
    assert world.state is UserState.SCOPE_MISSING
    assert ALONE_BELIEVED_AFTER <= world.clock.now() - began < ALONE_BELIEVED_AFTER + 2 * HOUR


async def test_asking_again_and_again_learns_nothing_new(world: TokenWorld) -> None:
    """`ctl queue --force` and restarts: twenty refusals in a minute are one."""
    for n in range(20):
        if n % 5 == 0:
            world.manager = world.daemon("daemon-1")
        world.store.accepted[OTHER] = world.clock.now()
        assert isinstance(await refused_list(world), ListRefused)
        await world.clock.advance(2)
    assert world.store.refusals[USER, LIST].count == 1
    assert world.state is UserState.OK


async def test_a_refusal_written_while_the_clock_was_ahead_holds_up_nothing(world: TokenWorld) -> None:
    await refused_list(world)
    world.clock.set_wall(world.clock.now() - DAY)
    refusal = await refused_list(world)
    assert isinstance(refusal, ListRefused)
    assert refusal.retry_after == LIST_PAUSES[0]


async def test_the_list_that_comes_ends_the_row(world: TokenWorld) -> None:
    for _ in range(3):
        await refused_with_pauses(world, 4)
        await world.manager.list_accepted(USER, LIST)
        assert not world.store.refusals
    calls = world.store.calls.count("list_accepted")
    await world.manager.list_accepted(USER, LIST)
    assert world.store.calls.count("list_accepted") == calls, "nothing is written where nothing was refused"


async def test_the_row_of_refusals_outlives_a_restart(world: TokenWorld) -> None:
    await refused_with_pauses(world, 4)
    world.manager = world.daemon("daemon-1")
    assert await world.manager.access_token(USER)
    await world.manager.list_accepted(USER, LIST)
    assert not world.store.refusals


async def test_who_is_called_missing_is_asked_again_hourly(world: TokenWorld) -> None:
    await refused_with_pauses(world, 4)
    await refused_list(world)
    for _ in range(3):
        assert world.state is UserState.SCOPE_MISSING
        world.store.accepted[OTHER] = world.clock.now() + 1
        await world.clock.advance(HOUR / 2)
        assert await world.store.due(world.clock.now(), 10) == []
        assert await asked_when_due(world) == pytest.approx(HOUR / 2, abs=120)
        assert world.state is UserState.OK, "the list is to be asked for once more"
        assert isinstance(await refused_list(world), GrantUnusable), "one more refusal says it again"
    await asked_when_due(world)
    await world.manager.list_accepted(USER, LIST)
    assert isinstance(await refused_list(world), ListRefused), "it begins anew"


async def test_a_403_for_a_token_without_the_scope_is_believed_at_once(world: TokenWorld) -> None:
    """The pilot took the scope away since the token was made: the next one says so."""
    await world.manager.access_token(USER)
    world.sso.scopes = frozenset({"publicData"})
    refusal = await refused_list(world)
    assert isinstance(refusal, GrantUnusable)
    assert KILLMAIL_SCOPE in refusal.message
    assert world.state is UserState.SCOPE_MISSING
    assert world.store.rows[USER].refresh_token_enc is not None


async def test_a_scope_that_comes_back_is_seen_by_itself(world: TokenWorld) -> None:
    await world.manager.access_token(USER)
    world.sso.scopes = frozenset({"publicData"})
    await refused_list(world)
    for _ in range(25):
        await asked_when_due(world)
        assert world.state is UserState.SCOPE_MISSING
    asked = len(world.sso.asked)
    assert asked >= 25, "the refresh token is used on, or it would die after 30 days"
    world.sso.scopes = frozenset({KILLMAIL_SCOPE})
    await asked_when_due(world)
    assert world.state is UserState.OK


async def test_who_was_disabled_by_a_single_403_comes_back_with_the_upgrade(world: TokenWorld) -> None:
    """As the release before left it: marked, with tokens, and nothing that says when to ask again."""
    row = world.store.rows[USER]
    await world.store.mark(
        USER, version=row.version, state=UserState.SCOPE_MISSING, reason="ESI refuses the list"
    )
    await world.clock.advance(5 * DAY)
    assert await asked_when_due(world) == 0.0
    assert world.state is UserState.OK
    assert world.store.rows[USER].state_reason is None


async def test_a_refusal_of_an_older_token_is_no_refusal(world: TokenWorld) -> None:
    """The pilot logged in again while the old token's answer was on its way."""
    with pytest.raises(ListRefused):
        await world.manager.list_refused(USER, LIST, "access-before-the-login", "Forbidden")
    assert world.state is UserState.OK
    assert not world.store.refusals


async def test_a_403_while_the_sso_is_down_is_counted_all_the_same(world: TokenWorld) -> None:
    world.sso.faults = [down()]
    assert isinstance(await refused_list(world), ListRefused)
    assert world.store.refusals[USER, LIST].count == 1


# -- a clock that was wrong ----------------------------------------------------------------------


async def test_what_was_written_while_the_clock_was_a_month_ahead_does_not_wait_for_it(
    due: TokenWorld,
) -> None:
    due.clock.set_wall(due.clock.now() + 30 * DAY)
    refuse(due, 2)
    await asked_when_due(due)
    await asked_when_due(due)
    due.clock.set_wall(due.clock.now() - 30 * DAY)
    assert await due.store.due(due.clock.now(), 10) == [USER]
    await due.manager.renew(USER)
    assert due.state is UserState.OK
