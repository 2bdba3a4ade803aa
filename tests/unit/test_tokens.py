"""Token care: what is stored when, who asks, and what an answer that never came means."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from killsyncd.errors import GrantDead, KeyRefused, NotFound, TokenRefused, Unavailable
from killsyncd.grants import (
    KILLMAIL_SCOPE,
    GrantUnusable,
    Identity,
    NewGrant,
    SsoUnavailable,
    TokenSet,
    renewal_time,
)
from killsyncd.model import UserState
from killsyncd.refreshing import DOUBT_DELAYS
from killsyncd.tokens import TokenKeeper
from killsyncd.vault import Vault, _new_key, token_aad
from tests.clocks import ManualClock
from tests.grant_store import MemoryGrants

USER = "user-1"
CHARACTER = 90000001
MARGIN = 300.0


def gone() -> SsoUnavailable:
    return SsoUnavailable("no answer", "wait", answered=False)


def down() -> SsoUnavailable:
    return SsoUnavailable("cannot be reached", "wait", answered=True)


@dataclass
class ScriptedSso:
    """Rotates strictly: only the refresh token it gave last is good. Tokens are named by a number."""

    clock: ManualClock
    life: float = 1200.0
    current: str = "refresh-0"
    serial: int = 0
    owner: str = "owner-1"
    character: int = CHARACTER
    scopes: frozenset[str] = frozenset({KILLMAIL_SCOPE})
    faults: list[Exception] = field(default_factory=list)
    lose_answers: int = 0
    verify_faults: list[Exception] = field(default_factory=list)
    hold: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    asking: asyncio.Event = field(default_factory=asyncio.Event)

    async def refresh(self, refresh_token: str) -> TokenSet:
        self.asked.append(refresh_token)
        self.asking.set()
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        if refresh_token != self.current:
            raise GrantDead("invalid_grant")
        self.serial += 1
        self.current = f"refresh-{self.serial}"
        if self.lose_answers:
            self.lose_answers -= 1
            raise gone()
        return TokenSet(f"access-{self.serial}", self.current, self.clock.now() + self.life)

    async def verify(self, access_token: str) -> Identity:
        self.verified.append(access_token)
        if self.verify_faults:
            raise self.verify_faults.pop(0)
        return Identity(self.character, "Some Pilot", self.owner, self.scopes, self.clock.now() + 1)

    async def revoke(self, refresh_token: str) -> None:
        self.revoked.append(refresh_token)


class World:
    """One database, one SSO, one pilot who logged in, and as many daemons as a test wants."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryGrants()
        self.vault = Vault([_new_key()])
        self.sso = ScriptedSso(self.clock)
        self.keeper = self.daemon("daemon-1")

    def daemon(self, name: str) -> TokenKeeper:
        return TokenKeeper(
            self.store, self.sso, self.vault, self.clock, name, MARGIN, rng=random.Random(name)
        )

    async def login(self, *, life: float = 1200.0, character: int = CHARACTER, refresh: str = "") -> str:
        now = self.clock.now()
        self.sso.current = refresh or self.sso.current
        grant = NewGrant(
            character_id=character,
            character_name="Some Pilot",
            owner_hash=self.sso.owner,
            scopes=self.sso.scopes,
            state=UserState.OK,
            state_reason=None,
            access_token_enc=self.vault.encrypt("access-login", aad=token_aad(character, "access")),
            refresh_token_enc=self.vault.encrypt(self.sso.current, aad=token_aad(character, "refresh")),
            expires_at=now + life,
            renew_at=renewal_time(now, now + life, MARGIN, random.Random(1)),
        )
        return (await self.store.register(grant)).user_id

    def stored_refresh_token(self) -> str:
        blob = self.store.rows[USER].refresh_token_enc
        assert blob is not None
        return self.vault.decrypt_text(blob, aad=token_aad(CHARACTER, "refresh"))

    @property
    def state(self) -> UserState:
        return self.store.rows[USER].state


@pytest.fixture
async def world() -> World:
    world = World()
    await world.login()
    return world


@pytest.fixture
async def due(world: World) -> World:
    """The login's token has ended."""
    await world.clock.advance(1200)
    return world


# -- the good days -----------------------------------------------------------------------------


async def test_a_fresh_token_costs_no_question(world: World) -> None:
    assert await world.keeper.access_token(USER) == "access-login"
    assert await world.keeper.access_token(USER) == "access-login"
    assert world.sso.asked == []
    assert world.sso.verified == ["access-login"], "each version is verified once"


async def test_the_order_is_lease_attempt_ask_store_verify(due: World) -> None:
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
    assert await due.keeper.access_token(USER) == "access-1"
    assert seen[0][-1] == "begin_attempt"
    row = due.store.rows[USER]
    assert (row.unanswered_attempts, row.failures, row.holder) == (0, 0, None)


async def test_a_month_without_a_login(world: World) -> None:
    for _ in range(31 * 72):
        await world.clock.advance(1200)
        token = await world.keeper.access_token(USER)
        assert token == f"access-{world.sso.serial}"
    assert world.state is UserState.OK


async def test_tokens_of_forty_seconds(world: World) -> None:
    world.sso.life = 40
    asked_at = []
    await world.clock.advance(1200)
    for _ in range(600):
        await world.clock.advance(1)
        before = world.sso.serial
        await world.keeper.access_token(USER)
        if world.sso.serial > before:
            asked_at.append(world.clock.now())
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked_at)]
    assert all(26 <= gap <= 31 for gap in gaps), "renewed when less than a third is left, and not sooner"


async def test_a_token_that_is_over_at_once_is_not_asked_for_in_a_loop(due: World) -> None:
    due.sso.life = 1
    assert await due.keeper.access_token(USER) == "access-1"
    assert len(due.sso.asked) == 1


@pytest.mark.parametrize(("life", "lead"), [(1200, 300), (600, 200), (40, 40 / 3)])
def test_renewal_leaves_the_margin_but_never_more_than_a_third(life: float, lead: float) -> None:
    for seed in range(50):
        renew_at = renewal_time(0, life, MARGIN, random.Random(seed))
        assert life - lead <= renew_at <= life - 0.8 * lead


async def test_unknown_users_are_said(world: World) -> None:
    with pytest.raises(NotFound):
        await world.keeper.access_token("nobody")


# -- one at a time -----------------------------------------------------------------------------


async def test_many_who_need_a_token_cause_one_refresh(due: World) -> None:
    tokens = await asyncio.gather(*(due.keeper.access_token(USER) for _ in range(50)))
    assert set(tokens) == {"access-1"}
    assert due.sso.asked == ["refresh-0"]


async def test_many_daemons_cause_one_refresh(due: World) -> None:
    daemons = [due.keeper, due.daemon("daemon-2"), due.daemon("daemon-3")]
    waiting = asyncio.gather(*(keeper.access_token(USER) for keeper in daemons for _ in range(5)))
    while not waiting.done():
        await due.clock.advance(0.1)
    assert set(await waiting) == {"access-1"}
    assert due.sso.asked == ["refresh-0"]


async def test_a_lease_that_never_ends_is_not_waited_for_for_ever(due: World) -> None:
    row = due.store.rows[USER]
    await due.store.begin_attempt(USER, holder="daemon-2", version=row.version)
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.clock.advance(61)
    with pytest.raises(SsoUnavailable, match="daemon-2"):
        await waiting
    assert due.sso.asked == []


async def test_users_do_not_wait_for_each_other(due: World) -> None:
    other = await due.login(character=90000002, refresh="refresh-0")
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    due.sso.character = 90000002
    assert await due.keeper.access_token(other) == "access-login"
    due.sso.character = CHARACTER
    due.sso.hold.set()
    await slow


async def test_force_refresh_asks_only_for_the_stored_token(world: World) -> None:
    assert await world.keeper.force_refresh(USER, "one of yesterday") == "access-login"
    assert world.sso.asked == []
    assert await world.keeper.force_refresh(USER, "access-login") == "access-1"
    assert await world.keeper.force_refresh(USER, "access-login") == "access-1"
    assert world.sso.asked == ["refresh-0"]


async def test_eight_who_met_the_same_401_cause_one_refresh(world: World) -> None:
    tokens = await asyncio.gather(*(world.keeper.force_refresh(USER, "access-login") for _ in range(8)))
    assert set(tokens) == {"access-1"}
    assert world.sso.asked == ["refresh-0"]


async def test_a_rejected_token_is_not_handed_out_while_the_sso_is_down(world: World) -> None:
    world.sso.faults = [down()]
    with pytest.raises(SsoUnavailable):
        await world.keeper.force_refresh(USER, "access-login")


# -- cancellation and crashes --------------------------------------------------------------------


async def test_cancelling_whoever_waits_does_not_lose_the_new_token(due: World) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    due.sso.hold.set()
    await due.keeper.aclose()
    assert due.stored_refresh_token() == "refresh-1"


async def test_closing_waits_for_what_runs_and_begins_nothing(due: World) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    closing = asyncio.create_task(due.keeper.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    due.sso.hold.set()
    await closing
    assert await waiting == "access-1"
    await due.clock.advance(1200)
    with pytest.raises(Unavailable, match="stopping"):
        await due.keeper.access_token(USER)


async def test_a_database_that_stumbles_is_asked_again_to_store(due: World) -> None:
    stumbles = iter(range(4))

    def before(name: str) -> None:
        if name == "store_tokens" and next(stumbles, None) is not None:
            raise OSError("disk I/O error")

    due.store.before = before
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.clock.advance(10)
    assert await waiting == "access-1"
    assert due.sso.asked == ["refresh-0"]


async def test_a_commit_whose_answer_was_lost_is_found(due: World) -> None:
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
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.clock.advance(2)
    assert await waiting == "access-1"
    assert due.sso.revoked == []


async def test_after_a_crash_between_answer_and_store_nobody_is_dead_at_once(due: World) -> None:
    due.store.before = lambda name: (_ for _ in ()).throw(OSError()) if name == "store_tokens" else None
    lost = asyncio.create_task(due.keeper.access_token(USER))
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


# -- invalid_grant -------------------------------------------------------------------------------


async def test_invalid_grant_is_death_where_nothing_was_lost(due: World) -> None:
    due.sso.faults = [GrantDead("invalid_grant")]
    with pytest.raises(GrantUnusable) as caught:
        await due.keeper.access_token(USER)
    assert caught.value.state is UserState.NEEDS_LOGIN
    assert "killsyncd login" in caught.value.hint
    row = due.store.rows[USER]
    assert row.state is UserState.NEEDS_LOGIN
    assert (row.access_token_enc, row.refresh_token_enc, row.holder) == (None, None, None)
    with pytest.raises(GrantUnusable):
        await due.keeper.access_token(USER)
    assert len(due.sso.asked) == 1, "the dead are left alone"


async def test_a_lost_answer_makes_invalid_grant_doubtful(due: World) -> None:
    due.sso.lose_answers = 1
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    assert due.store.rows[USER].unanswered_attempts == 1
    await due.clock.advance(30)
    for delay in DOUBT_DELAYS:
        with pytest.raises(SsoUnavailable, match="lost") as caught:
            await due.keeper.access_token(USER)
        assert caught.value.retry_after == delay
        assert due.state is UserState.OK
        assert due.store.rows[USER].unanswered_attempts == 1
        asked = len(due.sso.asked)
        await due.clock.advance(delay - 1)
        with pytest.raises(SsoUnavailable, match="the next is in"):
            await due.keeper.access_token(USER)
        assert len(due.sso.asked) == asked, "asked before its time"
        await due.clock.advance(2)
    with pytest.raises(GrantUnusable, match=r"5 times.*answer was lost"):
        await due.keeper.access_token(USER)
    assert due.state is UserState.NEEDS_LOGIN


async def test_an_sso_that_did_not_rotate_after_all_ends_the_doubt(due: World) -> None:
    due.sso.faults = [gone(), GrantDead("invalid_grant")]
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    await due.clock.advance(30)
    with pytest.raises(SsoUnavailable, match="lost"):
        await due.keeper.access_token(USER)
    await due.clock.advance(61)
    assert await due.keeper.access_token(USER) == "access-1"
    row = due.store.rows[USER]
    assert (row.unanswered_attempts, row.doubtful_refusals, row.failures) == (0, 0, 0)


async def test_a_request_that_never_left_leaves_no_doubt(due: World) -> None:
    due.sso.faults = [down(), GrantDead("invalid_grant")]
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    assert due.store.rows[USER].unanswered_attempts == 0
    await due.clock.advance(30)
    with pytest.raises(GrantUnusable):
        await due.keeper.access_token(USER)


async def test_invalid_grant_for_a_token_that_a_login_replaced_meanwhile(due: World) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    await due.login(refresh="refresh-of-the-new-login")
    due.sso.hold.set()
    await due.clock.advance(1)
    assert await waiting == "access-login"
    assert due.state is UserState.OK


async def test_an_answer_for_a_grant_that_was_logged_out_is_taken_back(due: World) -> None:
    due.sso.hold = asyncio.Event()
    waiting = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    version = due.store.rows[USER].version
    await due.store.mark(
        USER, version=version, state=UserState.NEEDS_LOGIN, reason="logged out", drop_tokens=True
    )
    due.sso.hold.set()
    await due.clock.advance(1)
    with pytest.raises(GrantUnusable, match="logged out"):
        await waiting
    assert due.sso.revoked == ["refresh-1"]


async def test_a_daemon_taken_for_dead_does_not_kill_the_grant(due: World) -> None:
    """Paused for long, it lost its lease; another daemon refreshed and the SSO rotated."""
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    await due.store.release(USER, holder="daemon-1")
    hold, due.sso.hold = due.sso.hold, None
    assert await due.daemon("daemon-2").access_token(USER) == "access-1"
    hold.set()
    await due.clock.advance(1)
    assert await slow == "access-1"
    assert due.state is UserState.OK


async def test_a_lease_lost_while_asking_makes_invalid_grant_doubtful(due: World) -> None:
    """The other daemon has asked with the same token and not stored yet: the refusal may be its doing."""
    due.sso.hold = asyncio.Event()
    slow = asyncio.create_task(due.keeper.access_token(USER))
    await due.sso.asking.wait()
    await due.store.release(USER, holder="daemon-1")
    await due.store.begin_attempt(USER, holder="daemon-2", version=due.store.rows[USER].version)
    due.sso.faults = [GrantDead("invalid_grant")]
    due.sso.hold.set()
    with pytest.raises(SsoUnavailable, match="lost"):
        await slow
    assert due.state is UserState.OK
    assert due.store.rows[USER].holder == "daemon-2"


# -- an SSO that is down --------------------------------------------------------------------------


async def test_nobody_is_disabled_and_the_old_token_serves_to_its_end(world: World) -> None:
    await world.clock.advance(1000)
    world.sso.faults = [gone() for _ in range(1000)]
    assert await world.keeper.access_token(USER) == "access-login"
    assert world.sso.asked == ["refresh-0"]
    assert await world.keeper.access_token(USER) == "access-login"
    await world.clock.advance(200)
    for _ in range(100):
        with pytest.raises(SsoUnavailable) as caught:
            await world.keeper.access_token(USER)
        assert caught.value.retry_after is None or caught.value.retry_after > 0
        await world.clock.advance(30)
    assert world.state is UserState.OK
    assert len(world.sso.asked) < 50
    world.sso.faults = []
    await world.clock.advance(300)
    assert await world.keeper.access_token(USER) == "access-1"
    assert world.keeper.problems() == []


async def test_ten_thousand_do_not_hammer_a_dead_sso(world: World) -> None:
    users = [await world.login(character=91000000 + n, refresh="refresh-0") for n in range(1000)]
    await world.clock.advance(1200)
    world.sso.faults = [down() for _ in range(10_000)]
    for _ in range(10):
        await world.clock.advance(60)
        for user_id in users:
            with pytest.raises(SsoUnavailable):
                await world.keeper.access_token(user_id)
        assert world.keeper.pause() > 0
    assert len(world.sso.asked) <= 10
    [problem] = world.keeper.problems()
    assert problem.code == "sso_unavailable"


async def test_retry_after_is_kept_by_all(due: World) -> None:
    other = await due.login(character=90000002, life=0, refresh="refresh-0")
    due.sso.faults = [SsoUnavailable("slow down", answered=True, retry_after=500)]
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    await due.clock.advance(499)
    for user_id in (USER, other):
        with pytest.raises(SsoUnavailable):
            await due.keeper.access_token(user_id)
    assert len(due.sso.asked) == 1
    await due.clock.advance(2)
    assert await due.keeper.access_token(USER) == "access-1"


async def test_one_pilots_trouble_does_not_hold_up_the_others(due: World) -> None:
    due.sso.faults = [SsoUnavailable("invalid_request", answered=True, everybody=False)]
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    assert due.keeper.pause() == 0
    assert due.keeper.problems() == []


async def test_a_back_off_from_a_wrong_clock_does_not_hold_for_years(due: World) -> None:
    due.sso.faults = [down()]
    with pytest.raises(SsoUnavailable):
        await due.keeper.access_token(USER)
    await due.clock.advance(120)
    due.clock.set_wall(due.clock.now() - 90 * 86400)
    due.store.rows[USER] = due.store._put(due.store.rows[USER], expires_at=0.0, renew_at=0.0)
    assert await due.keeper.access_token(USER) == "access-1"


# -- verification --------------------------------------------------------------------------------


async def test_a_sold_character_stops_and_loses_its_tokens(due: World) -> None:
    due.sso.owner = "owner-2"
    with pytest.raises(GrantUnusable) as caught:
        await due.keeper.access_token(USER)
    assert caught.value.state is UserState.OWNER_CHANGED
    row = due.store.rows[USER]
    assert row.state is UserState.OWNER_CHANGED
    assert (row.access_token_enc, row.refresh_token_enc) == (None, None)


async def test_a_missing_scope_stops_but_keeps_the_tokens_for_a_logout(due: World) -> None:
    due.sso.scopes = frozenset({"publicData"})
    with pytest.raises(GrantUnusable, match=KILLMAIL_SCOPE) as caught:
        await due.keeper.access_token(USER)
    assert caught.value.state is UserState.SCOPE_MISSING
    assert due.stored_refresh_token() == "refresh-1"


async def test_a_token_that_does_not_verify_is_not_used_and_kills_nobody(due: World) -> None:
    due.sso.verify_faults = [TokenRefused("bad signature", "check the clock") for _ in range(2)]
    for _ in range(2):
        with pytest.raises(TokenRefused):
            await due.keeper.access_token(USER)
    assert due.state is UserState.OK
    assert due.stored_refresh_token() == "refresh-1"
    [problem] = due.keeper.problems()
    assert (problem.code, problem.remedy) == ("token_refused", "check the clock")
    assert await due.keeper.access_token(USER) == "access-1"
    assert due.keeper.problems() == []


async def test_another_characters_token_is_not_used(due: World) -> None:
    due.sso.character = 90000009
    with pytest.raises(TokenRefused, match="another character"):
        await due.keeper.access_token(USER)
    assert due.state is UserState.OK


async def test_without_keys_the_token_is_used_and_verified_later(due: World) -> None:
    due.sso.verify_faults = [down(), down()]
    due.sso.owner = "owner-2"
    assert await due.keeper.access_token(USER) == "access-1"
    assert await due.keeper.access_token(USER) == "access-1"
    with pytest.raises(GrantUnusable):
        await due.keeper.access_token(USER)
    assert due.state is UserState.OWNER_CHANGED


async def test_another_daemons_tokens_are_verified_here_too(due: World) -> None:
    await due.daemon("daemon-2").access_token(USER)
    due.sso.verified.clear()
    await due.keeper.access_token(USER)
    assert due.sso.verified == ["access-1"]


async def test_a_foreign_key_disables_nobody(due: World) -> None:
    due.keeper = TokenKeeper(due.store, due.sso, Vault([_new_key()]), due.clock, "daemon-1", MARGIN)
    with pytest.raises(KeyRefused):
        await due.keeper.access_token(USER)
    assert due.state is UserState.OK
    assert due.sso.asked == []
    assert due.store.rows[USER].unanswered_attempts == 0


# -- secrets -------------------------------------------------------------------------------------


async def test_no_log_line_and_no_row_shows_a_token(
    due: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    due.sso.faults = [gone()]
    provoke: list[Callable[[], object]] = [lambda: due.keeper.access_token(USER)] * 4
    for call in provoke:
        due.sso.owner = "owner-2" if due.sso.faults == [] else due.sso.owner
        with pytest.raises((Unavailable, GrantUnusable)) as caught:
            await call()  # type: ignore[misc]
        assert "refresh-" not in repr(caught.value) + str(caught.value)
        await due.clock.advance(30)
    shown = caplog.text + repr(due.store.rows) + "".join(repr(record.__dict__) for record in caplog.records)
    assert "refresh-" not in shown
    assert "access-" not in shown


async def test_revoking_opens_the_ciphertext(world: World) -> None:
    blob = world.store.rows[USER].refresh_token_enc
    assert blob is not None
    await world.keeper.revoke(CHARACTER, blob)
    assert world.sso.revoked == ["refresh-0"]
    with pytest.raises(KeyRefused):
        await world.keeper.revoke(90000002, blob)
