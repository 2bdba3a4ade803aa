"""The origins: which login may end where, once, and what its database shows."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import BY_ITSELF, KILLMAIL_SCOPE, Identity, LoginAttempt, SsoUnavailable, TokenSet
from killsyncd.auth.key_file import new_key
from killsyncd.auth.login import Logins, PendingLogin, cookie_name
from killsyncd.auth.login_state import LoginOrigin, LoginReturn, LoginState
from killsyncd.core.errors import GrantDead, LoginRefused, TokenRefused, Unavailable
from killsyncd.core.model import UserState
from tests.support.clocks import ManualClock
from tests.support.grant_store import MemoryGrants, MemoryLogins

CHARACTER = 90000001
CALLBACK = "http://127.0.0.1:7420/auth/callback"


@dataclass
class Sso:
    """Gives tokens for the code `code` and the verifier that it handed out."""

    clock: ManualClock
    serial: int = 0
    scopes: frozenset[str] = frozenset({KILLMAIL_SCOPE})
    exchanged: list[tuple[str, str]] = field(default_factory=list)
    fault: Exception | None = None
    verify_fault: Exception | None = None
    begin_fault: Exception | None = None
    hold: asyncio.Event | None = None

    async def begin(self) -> LoginAttempt:
        if self.begin_fault:
            raise self.begin_fault
        self.serial += 1
        state = f"state-{self.serial}"
        return LoginAttempt(f"https://sso/authorize?state={state}", state, f"verifier-{self.serial}")

    async def exchange(self, code: str, verifier: str) -> TokenSet:
        self.exchanged.append((code, verifier))
        if self.hold is not None:
            await self.hold.wait()
        if self.fault:
            raise self.fault
        return TokenSet("access-1", "refresh-1", self.clock.now() + 1200)

    async def verify(self, access_token: str) -> Identity:
        if self.verify_fault:
            raise self.verify_fault
        return Identity(CHARACTER, "Some Pilot", "owner-1", self.scopes, self.clock.now() + 1200)


class LoginWorld:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.grants = MemoryGrants()
        self.pending = MemoryLogins()
        self.vault = Vault([new_key()])
        self.sso = Sso(self.clock)
        self.logins = self.daemon()

    def daemon(self) -> Logins:
        return Logins(
            self.pending, self.grants, self.sso, self.vault, self.clock, 300.0, rng=random.Random(1)
        )


@pytest.fixture
def world() -> LoginWorld:
    return LoginWorld()


def redirect(begun: PendingLogin, **fields: str) -> str:
    return f"{CALLBACK}?{urlencode({'code': 'the-code', 'state': begun.state, **fields})}"


async def test_a_login_ends_with_a_stored_grant(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    assert (await world.logins.status(begun.login_id)).state is LoginState.PENDING
    done = await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state, begun.cookie)
    assert world.sso.exchanged == [("the-code", "verifier-1")]
    assert (done.user_id, done.character_id, done.created) == ("user-1", CHARACTER, True)
    assert (done.state, done.message) == (UserState.OK, "Some Pilot is logged in")
    row = world.grants.rows["user-1"]
    assert row.refresh_token_enc is not None
    assert row.access_token_enc is not None
    assert world.vault.decrypt(row.refresh_token_enc, aad=token_aad(CHARACTER, "refresh")) == b"refresh-1"
    assert world.vault.decrypt(row.access_token_enc, aad=token_aad(CHARACTER, "access")) == b"access-1"
    status = await world.logins.status(begun.login_id)
    assert (status.state, status.user_id) == (LoginState.DONE, "user-1")


async def test_logging_in_again_keeps_the_user(world: LoginWorld) -> None:
    for created in (True, False):
        begun = await world.logins.begin(LoginOrigin.CLI)
        done = await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
        assert (done.user_id, done.created) == ("user-1", created)


@pytest.mark.parametrize(
    ("origin", "place"),
    [
        (LoginOrigin.BROWSER, LoginReturn.CALLBACK),
        (LoginOrigin.CLI, LoginReturn.CALLBACK),
        (LoginOrigin.CLI, LoginReturn.PASTE),
        (LoginOrigin.GRAPHQL, LoginReturn.GRAPHQL),
    ],
)
async def test_the_right_origins(world: LoginWorld, origin: LoginOrigin, place: LoginReturn) -> None:
    begun = await world.logins.begin(origin)
    assert (begun.cookie is not None) == (origin is LoginOrigin.BROWSER)
    await world.logins.finish(place, "the-code", begun.state, begun.cookie)


@pytest.mark.parametrize(
    ("origin", "place"),
    [
        (LoginOrigin.BROWSER, LoginReturn.PASTE),
        (LoginOrigin.BROWSER, LoginReturn.GRAPHQL),
        (LoginOrigin.CLI, LoginReturn.GRAPHQL),
        (LoginOrigin.GRAPHQL, LoginReturn.CALLBACK),
        (LoginOrigin.GRAPHQL, LoginReturn.PASTE),
    ],
)
async def test_the_wrong_origins_are_refused_and_spoil_nothing(
    world: LoginWorld, origin: LoginOrigin, place: LoginReturn
) -> None:
    begun = await world.logins.begin(origin)
    with pytest.raises(LoginRefused, match="begun elsewhere"):
        await world.logins.finish(place, "the-code", begun.state, begun.cookie)
    assert world.sso.exchanged == []
    right = {
        LoginOrigin.BROWSER: LoginReturn.CALLBACK,
        LoginOrigin.CLI: LoginReturn.PASTE,
        LoginOrigin.GRAPHQL: LoginReturn.GRAPHQL,
    }[origin]
    await world.logins.finish(right, "the-code", begun.state, begun.cookie)


@pytest.mark.parametrize("cookie", [None, "", "another"])
async def test_a_browsers_login_needs_its_cookie(world: LoginWorld, cookie: str | None) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    with pytest.raises(LoginRefused, match="another browser"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state, cookie)
    assert world.sso.exchanged == []
    await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state, begun.cookie)


async def test_one_browsers_cookie_does_not_open_another_login(world: LoginWorld) -> None:
    mine, theirs = (
        await world.logins.begin(LoginOrigin.BROWSER),
        await world.logins.begin(LoginOrigin.BROWSER),
    )
    assert cookie_name(mine.state) != cookie_name(theirs.state)
    with pytest.raises(LoginRefused):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", theirs.state, mine.cookie)


async def test_a_state_is_good_once(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    with pytest.raises(LoginRefused, match="used already"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    assert len(world.sso.exchanged) == 1


async def test_of_many_at_once_one_gets_through(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    tries = [
        daemon.finish(LoginReturn.CALLBACK, "the-code", begun.state) for daemon in (world.daemon(),) * 10
    ]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(outcome, LoginRefused) for outcome in outcomes) == 1
    assert len(world.sso.exchanged) == 1


async def test_a_state_is_good_for_ten_minutes(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    await world.clock.advance(600)
    with pytest.raises(LoginRefused, match="ten minutes"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    assert (await world.logins.status(begun.login_id)).state is LoginState.EXPIRED


async def test_any_daemon_finishes_a_login_also_after_a_restart(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    done = await world.daemon().finish(LoginReturn.CALLBACK, "the-code", begun.state, begun.cookie)
    assert done.created
    assert (await world.logins.status(begun.login_id)).state is LoginState.DONE


@pytest.mark.parametrize(("code", "state"), [("", "s"), ("c", ""), ("c" * 5000, "s"), ("c", "s" * 5000)])
async def test_nonsense(world: LoginWorld, code: str, state: str) -> None:
    with pytest.raises(LoginRefused):
        await world.logins.finish(LoginReturn.CALLBACK, code, state)


async def test_an_unknown_state(world: LoginWorld) -> None:
    with pytest.raises(LoginRefused, match="not known"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", "made up \udc80")
    assert (await world.logins.status("made up")).state is LoginState.UNKNOWN


async def test_a_stolen_database_finishes_no_login(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    [row] = world.pending.rows.values()
    shown = f"{row} {row.verifier_enc!r} {row.cookie_hash}"
    for secret in (begun.state, begun.cookie, "verifier-1"):
        assert secret is not None
        assert secret not in shown
    await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state, begun.cookie)
    [row] = world.pending.rows.values()
    assert row.verifier_enc == b""
    assert begun.state not in repr(begun)


async def test_old_logins_are_forgotten(world: LoginWorld) -> None:
    old = await world.logins.begin(LoginOrigin.CLI)
    await world.clock.advance(600 + 3601)
    await world.logins.begin(LoginOrigin.CLI)
    assert (await world.logins.status(old.login_id)).state is LoginState.UNKNOWN
    assert len(world.pending.rows) == 1


async def test_the_database_cannot_be_filled_with_logins(world: LoginWorld) -> None:
    for _ in range(5000):
        await world.logins.begin(LoginOrigin.BROWSER)
    with pytest.raises(Unavailable, match="too many"):
        await world.logins.begin(LoginOrigin.BROWSER)
    await world.clock.advance(601)
    await world.logins.begin(LoginOrigin.BROWSER)


# -- failures ------------------------------------------------------------------------------------


async def test_a_flooded_door_shuts_no_other(world: LoginWorld) -> None:
    for _ in range(5000):
        await world.logins.begin(LoginOrigin.BROWSER)
    with pytest.raises(Unavailable):
        await world.logins.begin(LoginOrigin.BROWSER)
    for door in (LoginOrigin.CLI, LoginOrigin.GRAPHQL):
        assert (await world.logins.begin(door)).url


async def test_logins_that_were_finished_do_not_count(world: LoginWorld) -> None:
    for _ in range(5000):
        begun = await world.logins.begin(LoginOrigin.CLI)
    await world.logins.finish(LoginReturn.CALLBACK, "code", begun.state)
    assert (await world.logins.begin(LoginOrigin.CLI)).url
    with pytest.raises(Unavailable):
        await world.logins.begin(LoginOrigin.CLI)


async def test_access_denied_is_told_as_what_it_is(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    query = {"error": "access_denied", "state": begun.state}
    with pytest.raises(LoginRefused, match="did not agree"):
        await world.logins.finish_query(LoginReturn.CALLBACK, query)
    status = await world.logins.status(begun.login_id)
    assert status.state is LoginState.FAILED
    assert "did not agree" in status.message
    with pytest.raises(LoginRefused, match="used already"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)


async def test_a_stranger_cannot_fail_a_browsers_login(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    with pytest.raises(LoginRefused, match="another browser"):
        await world.logins.finish_query(
            LoginReturn.CALLBACK, {"error": "access_denied", "state": begun.state}
        )
    assert (await world.logins.status(begun.login_id)).state is LoginState.PENDING


async def test_an_errors_name_is_shown_only_if_it_is_one(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    query = {"error": "<script>alert(1)</script>", "state": begun.state}
    with pytest.raises(LoginRefused, match="unnamed"):
        await world.logins.finish_query(LoginReturn.CALLBACK, query)


@pytest.mark.parametrize(
    ("fault", "raised", "told"),
    [
        (GrantDead("invalid_grant"), LoginRefused, "does not take this code"),
        (TokenRefused("no refresh token", "enable it"), LoginRefused, "no refresh token"),
        (SsoUnavailable("no answer", answered=False), Unavailable, "no answer"),
        (RuntimeError("a bug with the-code in it"), RuntimeError, "an error in killsyncd"),
    ],
)
async def test_what_goes_wrong_at_the_sso_is_recorded(
    world: LoginWorld, fault: Exception, raised: type[Exception], told: str
) -> None:
    world.sso.fault = fault
    begun = await world.logins.begin(LoginOrigin.CLI)
    with pytest.raises(raised):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    status = await world.logins.status(begun.login_id)
    assert status.state is LoginState.FAILED
    assert told in status.message
    assert world.grants.rows == {}


async def test_a_login_does_not_promise_to_try_again_by_itself(world: LoginWorld) -> None:
    down = SsoUnavailable("no answer", f"{BY_ITSELF} EVE's state: elsewhere", answered=False)
    begun = await world.logins.begin(LoginOrigin.CLI)
    world.sso.fault = down
    with pytest.raises(Unavailable) as finishing:
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    world.sso.begin_fault = down
    with pytest.raises(Unavailable) as beginning:
        await world.logins.begin(LoginOrigin.BROWSER)
    for caught in (finishing, beginning):
        assert BY_ITSELF not in caught.value.hint
        assert "Begin again" in caught.value.hint
        assert "EVE's state" in caught.value.hint


async def test_a_token_that_does_not_verify_registers_nobody(world: LoginWorld) -> None:
    world.sso.verify_fault = TokenRefused("`aud` is another application", "check")
    begun = await world.logins.begin(LoginOrigin.CLI)
    with pytest.raises(LoginRefused, match="aud"):
        await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    assert world.grants.rows == {}


async def test_a_missing_scope_is_registered_and_said(world: LoginWorld) -> None:
    world.sso.scopes = frozenset()
    begun = await world.logins.begin(LoginOrigin.CLI)
    done = await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)
    assert done.state is UserState.SCOPE_MISSING
    assert KILLMAIL_SCOPE in done.message
    assert world.grants.rows["user-1"].state is UserState.SCOPE_MISSING


async def test_a_browser_that_goes_away_does_not_stop_its_login(world: LoginWorld) -> None:
    world.sso.hold = asyncio.Event()
    begun = await world.logins.begin(LoginOrigin.CLI)
    waiting = asyncio.create_task(world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state))
    await world.clock.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await world.logins.status(begun.login_id)).state is LoginState.PENDING
    world.sso.hold.set()
    await world.logins.aclose()
    assert (await world.logins.status(begun.login_id)).state is LoginState.DONE


async def test_the_drain_sees_a_login_out_and_closing_cuts_it_short(
    world: LoginWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killsyncd.core.tasks.PATIENCE", 0.01)
    world.sso.hold, stopping = asyncio.Event(), asyncio.Event()
    begun = await world.logins.begin(LoginOrigin.CLI)
    waiting = asyncio.create_task(world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state))
    await world.clock.settle()
    draining = asyncio.create_task(world.logins.run(stopping))
    stopping.set()
    await world.clock.settle()
    assert not draining.done()
    draining.cancel()
    await world.logins.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert world.grants.rows == {}


async def test_a_login_stands_even_if_its_outcome_cannot_be_recorded(world: LoginWorld) -> None:
    def before(name: str) -> None:
        if name == "finish":
            raise OSError("disk full")

    world.pending.before = before
    begun = await world.logins.begin(LoginOrigin.CLI)
    assert (await world.logins.finish(LoginReturn.CALLBACK, "the-code", begun.state)).created


# -- pasting ---------------------------------------------------------------------------------------


async def test_pasting_the_address(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    done = await world.logins.finish_redirect(f"  {redirect(begun)}\n")
    assert done.created


@pytest.mark.parametrize("form", ["?code=the-code&state={}", "code=the-code&state={}", "{}\n"])
async def test_pasting_parts_of_it(world: LoginWorld, form: str) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    pasted = (
        form.format(begun.state) if "state" in form else redirect(begun)[:40] + "\n" + redirect(begun)[40:]
    )
    assert (await world.logins.finish_redirect(pasted)).created


@pytest.mark.parametrize(
    "pasted",
    ["", "https://", "https://example.com/", "the-code", f"{CALLBACK}?code=x", "http://[", "x" * 99999],
)
async def test_pasting_something_else(world: LoginWorld, pasted: str) -> None:
    with pytest.raises(LoginRefused, match="not the address"):
        await world.logins.finish_redirect(pasted)


async def test_pasting_a_refusal(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.CLI)
    with pytest.raises(LoginRefused, match="did not agree"):
        await world.logins.finish_redirect(f"{CALLBACK}?error=access_denied&state={begun.state}")


async def test_pasting_a_browsers_address(world: LoginWorld) -> None:
    begun = await world.logins.begin(LoginOrigin.BROWSER)
    with pytest.raises(LoginRefused, match="begun elsewhere"):
        await world.logins.finish_redirect(redirect(begun))
