"""Token care in bad times: refusals, an SSO that is down, tokens that do not verify."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from killsyncd.auth.encryption import Vault
from killsyncd.auth.grant import KILLMAIL_SCOPE, GrantUnusable, SsoUnavailable
from killsyncd.auth.key_file import new_key
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.errors import KeyRefused, TokenExpired, TokenRefused, Unavailable
from killsyncd.core.model import UserState
from killsyncd.service import problem_kinds
from tests.support.token_world import CHARACTER, MARGIN, USER, TokenWorld, down, gone


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


# -- answers that come too late ------------------------------------------------------------------


async def test_invalid_grant_for_a_token_that_a_login_replaced_meanwhile(due: TokenWorld) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    await due.login(refresh="refresh-of-the-new-login")
    due.sso.hold.set()
    await due.clock.advance(1)
    assert await waiting == "access-login"
    assert due.state is UserState.OK


@pytest.mark.parametrize("fault", [None, down()])
async def test_an_answer_for_a_grant_that_was_logged_out_is_taken_back(
    due: TokenWorld, fault: Exception | None
) -> None:
    due.sso.hold, due.sso.revoke_fault = asyncio.Event(), fault
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    version = due.store.rows[USER].version
    await due.store.mark(
        USER, version=version, state=UserState.NEEDS_LOGIN, reason="logged out", drop_tokens=True
    )
    due.sso.hold.set()
    await due.clock.advance(1)
    with pytest.raises(GrantUnusable, match="logged out"):
        await waiting
    if fault is None:
        assert (due.sso.revoked, due.store.revocations) == (["refresh-1"], [])
        return
    [(character, token)] = due.store.revocations
    due.sso.revoke_fault = None
    await due.manager.revoke(character, token)
    assert due.sso.revoked == ["refresh-1"], "the revoker takes it back later"


async def test_a_state_that_changes_during_a_refresh_does_not_lose_the_new_token(due: TokenWorld) -> None:
    """Another daemon believes a list's refusal meanwhile. The SSO has rotated: the stored token is dead."""
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    version = due.store.rows[USER].version
    await due.store.mark(USER, version=version, state=UserState.SCOPE_MISSING, reason="refused")
    due.sso.hold.set()
    await due.clock.advance(1)
    assert await waiting == "access-1"
    kept = due.store.rows[USER].refresh_token_enc
    assert kept is not None
    assert due.manager._refreshing._refresh_token(due.store.rows[USER]) == due.sso.current == "refresh-1"


async def test_a_daemon_taken_for_dead_does_not_kill_the_grant(due: TokenWorld) -> None:
    """Paused for long, it lost its lease; another daemon refreshed and the SSO rotated."""
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.manager.access_token(USER))
    await due.sso.asking.wait()
    await due.store.release(USER, holder="daemon-1")
    hold, due.sso.hold = due.sso.hold, None
    assert await due.daemon("daemon-2").access_token(USER) == "access-1"
    hold.set()
    await due.clock.advance(1)
    assert await slow == "access-1"
    assert due.state is UserState.OK


# -- an SSO that is down --------------------------------------------------------------------------


async def test_nobody_is_disabled_and_the_old_token_serves_to_its_end(world: TokenWorld) -> None:
    await world.clock.advance(1000)
    world.sso.faults = [gone() for _ in range(1000)]
    assert await world.manager.access_token(USER) == "access-login"
    assert world.sso.asked == ["refresh-0"]
    assert await world.manager.access_token(USER) == "access-login"
    await world.clock.advance(200)
    for _ in range(100):
        with pytest.raises(SsoUnavailable) as caught:
            await world.manager.access_token(USER)
        assert caught.value.retry_after is None or caught.value.retry_after > 0
        await world.clock.advance(30)
    assert world.state is UserState.OK
    assert len(world.sso.asked) < 50
    world.sso.faults = []
    await world.clock.advance(300)
    assert await world.manager.access_token(USER) == "access-1"
    assert world.manager.problems() == []


async def test_an_answer_without_a_token_is_the_ssos_trouble_and_loses_nothing(due: TokenWorld) -> None:
    """The refresh token that came with it replaced ours: it is stored before anything else."""
    useless = SsoUnavailable("no token", "check sso.base_url", answered=True)
    due.sso.without_token = useless
    with pytest.raises(SsoUnavailable, match="no token"):
        await due.manager.access_token(USER)
    assert due.state is UserState.OK
    assert due.stored_refresh_token() == "refresh-1"
    row = due.store.rows[USER]
    assert (row.access_token_enc, row.unanswered_attempts, row.failures) == (None, 0, 1)
    [problem] = due.manager.problems()
    assert (problem.code, problem.remedy) == ("sso_unavailable", "check sso.base_url")
    assert due.manager.pause() > 0, "nobody else's refresh token is tried on it"
    due.sso.without_token = None
    await due.clock.advance(60)
    assert await due.manager.access_token(USER) == "access-2"
    assert due.manager.problems() == []


async def test_ten_thousand_do_not_hammer_a_dead_sso(world: TokenWorld) -> None:
    users = [await world.login(character=91000000 + n, refresh="refresh-0") for n in range(1000)]
    await world.clock.advance(1200)
    world.sso.faults = [down() for _ in range(10_000)]
    for _ in range(10):
        await world.clock.advance(60)
        for user_id in users:
            with pytest.raises(SsoUnavailable):
                await world.manager.access_token(user_id)
        assert world.manager.pause() > 0
    assert len(world.sso.asked) <= 10
    [problem] = world.manager.problems()
    assert problem.code == "sso_unavailable"


async def test_pilots_refreshed_at_once_see_one_outage(world: TokenWorld) -> None:
    users = [await world.login(character=91000000 + n, refresh="refresh-0") for n in range(16)]
    await world.clock.advance(1200)
    world.sso.faults = [down() for _ in range(16)]
    world.store.before = lambda call: world.clock.tick(0.01)  # each write takes its time
    await asyncio.gather(*map(world.manager.access_token, users), return_exceptions=True)
    assert 0 < world.manager.pause() <= 2, "a bad moment is over in a moment"


async def test_after_an_outage_nobody_waits_long_on_top_of_the_circuit(due: TokenWorld) -> None:
    for _ in range(12):
        due.sso.faults = [down()]
        with pytest.raises(SsoUnavailable):
            await due.manager.access_token(USER)
        row = due.store.rows[USER]
        assert row.not_before - due.clock.now() <= 30
        await due.clock.advance(max(row.not_before - due.clock.now(), due.manager.pause()))
    assert await due.manager.access_token(USER) == "access-1"


async def test_retry_after_is_kept_by_all(due: TokenWorld) -> None:
    other = await due.login(character=90000002, life=0, refresh="refresh-0")
    due.sso.faults = [SsoUnavailable("slow down", answered=True, retry_after=500)]
    with pytest.raises(SsoUnavailable):
        await due.manager.access_token(USER)
    await due.clock.advance(499)
    for user_id in (USER, other):
        with pytest.raises(SsoUnavailable):
            await due.manager.access_token(user_id)
    assert len(due.sso.asked) == 1
    await due.clock.advance(2)
    assert await due.manager.access_token(USER) == "access-1"


async def test_one_pilots_trouble_does_not_hold_up_the_others(due: TokenWorld) -> None:
    due.sso.faults = [SsoUnavailable("invalid_request", answered=True, everybody=False)]
    with pytest.raises(SsoUnavailable):
        await due.manager.access_token(USER)
    assert due.manager.pause() == 0
    assert due.manager.problems() == []


async def test_a_back_off_from_a_wrong_clock_does_not_hold_for_years(due: TokenWorld) -> None:
    due.sso.faults = [down()]
    with pytest.raises(SsoUnavailable):
        await due.manager.access_token(USER)
    await due.clock.advance(120)
    due.clock.set_wall(due.clock.now() - 90 * 86400)
    due.store.rows[USER] = due.store._put(due.store.rows[USER], expires_at=0.0, renew_at=0.0)
    assert await due.manager.access_token(USER) == "access-1"


# -- verification --------------------------------------------------------------------------------


async def test_a_new_name_is_taken_over_with_the_next_token(due: TokenWorld) -> None:
    due.sso.name = "Another Name"
    assert await due.manager.access_token(USER) == "access-1"
    assert due.store.rows[USER].character_name == "Another Name"
    assert due.store.calls.count("rename") == 1
    await due.clock.advance(1200)
    await due.manager.access_token(USER)
    assert due.store.calls.count("rename") == 1


async def test_a_sold_character_stops_and_loses_its_tokens(due: TokenWorld) -> None:
    due.sso.owner = "owner-2"
    with pytest.raises(GrantUnusable) as caught:
        await due.manager.access_token(USER)
    assert caught.value.state is UserState.OWNER_CHANGED
    row = due.store.rows[USER]
    assert row.state is UserState.OWNER_CHANGED
    assert (row.access_token_enc, row.refresh_token_enc) == (None, None)


async def test_an_owner_whom_nobody_knew_is_no_other_owner(due: TokenWorld) -> None:
    """A database of another origin may lack it: the tokens were dropped for that."""
    due.store._put(due.store.rows[USER], owner_hash="")
    assert await due.manager.access_token(USER) == "access-1"
    assert due.store.rows[USER].owner_hash == "owner-1"
    await due.clock.advance(1200)
    due.sso.owner = "owner-2"
    with pytest.raises(GrantUnusable):
        await due.manager.access_token(USER)
    assert due.state is UserState.OWNER_CHANGED


async def test_a_missing_scope_stops_but_keeps_the_tokens_for_a_logout(due: TokenWorld) -> None:
    due.sso.scopes = frozenset({"publicData"})
    with pytest.raises(GrantUnusable, match=KILLMAIL_SCOPE) as caught:
        await due.manager.access_token(USER)
    assert caught.value.state is UserState.SCOPE_MISSING
    assert due.stored_refresh_token() == "refresh-1"


async def test_a_token_that_does_not_verify_is_not_used_and_kills_nobody(due: TokenWorld) -> None:
    due.sso.verify_faults = [TokenRefused("bad signature", "check the clock") for _ in range(2)]
    for _ in range(2):
        with pytest.raises(TokenRefused):
            await due.manager.access_token(USER)
    assert due.state is UserState.OK
    assert due.stored_refresh_token() == "refresh-1"
    [problem] = due.manager.problems()
    assert (problem.code, problem.remedy) == ("token_refused", "check the clock")
    assert await due.manager.access_token(USER) == "access-1"
    assert due.manager.problems() == []


async def test_another_characters_token_is_not_used(due: TokenWorld) -> None:
    due.sso.character = 90000009
    with pytest.raises(TokenRefused, match="another character"):
        await due.manager.access_token(USER)
    assert due.state is UserState.OK


async def test_without_keys_the_token_is_used_and_verified_later(due: TokenWorld) -> None:
    due.sso.verify_faults = [down(), down()]
    due.sso.owner = "owner-2"
    assert await due.manager.access_token(USER) == "access-1"
    assert await due.manager.access_token(USER) == "access-1"
    with pytest.raises(GrantUnusable):
        await due.manager.access_token(USER)
    assert due.state is UserState.OWNER_CHANGED


async def test_another_daemons_tokens_are_verified_here_too(due: TokenWorld) -> None:
    await due.daemon("daemon-2").access_token(USER)
    due.sso.verified.clear()
    await due.manager.access_token(USER)
    assert due.sso.verified == ["access-1"]


async def test_a_foreign_key_disables_nobody(due: TokenWorld) -> None:
    due.manager = TokenManager(due.store, due.sso, Vault([new_key()]), due.clock, "daemon-1", MARGIN)
    with pytest.raises(KeyRefused):
        await due.manager.access_token(USER)
    assert due.state is UserState.OK
    assert due.sso.asked == []
    assert due.store.rows[USER].unanswered_attempts == 0


# -- secrets -------------------------------------------------------------------------------------


async def test_no_log_line_and_no_row_shows_a_token(
    due: TokenWorld, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    due.sso.faults = [gone()]
    provoke: list[Callable[[], object]] = [lambda: due.manager.access_token(USER)] * 4
    for call in provoke:
        due.sso.owner = "owner-2" if due.sso.faults == [] else due.sso.owner
        with pytest.raises((Unavailable, GrantUnusable)) as caught:
            await call()  # type: ignore[misc]
        assert "refresh-" not in repr(caught.value) + str(caught.value)
        await due.clock.advance(30)
    shown = caplog.text + repr(due.store.rows) + "".join(repr(record.__dict__) for record in caplog.records)
    assert "refresh-" not in shown
    assert "access-" not in shown


async def test_a_stored_token_that_has_ended_by_the_ssos_clock_is_renewed(world: TokenWorld) -> None:
    """By our own clock, which is slow, it has some minutes left."""
    world.sso.verify_faults = [TokenExpired("it expired an hour ago", "")]
    assert await world.manager.access_token(USER) == "access-1"
    assert world.sso.asked == ["refresh-0"]
    assert world.manager.problems() == []


async def test_tokens_that_nobody_can_use_stop_and_one_pilots_do_not(world: TokenWorld) -> None:
    other = await world.login(character=CHARACTER + 1, refresh="refresh-0")
    world.sso.verify_faults = [TokenRefused("`aud` is another application", "check")]
    with pytest.raises(TokenRefused):
        await world.manager.access_token(USER)
    (problem,) = world.manager.problems()
    assert problem.code == "token_refused"
    assert problem_kinds.stops(problem)
    world.sso.character = CHARACTER + 1
    await world.manager.access_token(other)
    assert world.manager.problems() == [], "somebody else's is believed: it is one pilot's trouble"
    world.sso.character = CHARACTER
    await world.manager.access_token(USER)
    assert world.manager.problems() == []


async def test_revoking_opens_the_ciphertext(world: TokenWorld) -> None:
    blob = world.store.rows[USER].refresh_token_enc
    assert blob is not None
    await world.manager.revoke(CHARACTER, blob)
    assert world.sso.revoked == ["refresh-0"]
    with pytest.raises(KeyRefused):
        await world.manager.revoke(90000002, blob)
