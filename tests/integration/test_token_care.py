"""From login to a month later: logins, token care and refresher over SQLite, against the simulator's SSO."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from killsyncd.auth.encryption import Vault
from killsyncd.auth.grant import KILLMAIL_SCOPE, GrantUnusable, SsoUnavailable
from killsyncd.auth.login import LoggedIn, Logins
from killsyncd.auth.login_state import LoginOrigin, LoginReturn
from killsyncd.auth.refresher import Refresher
from killsyncd.auth.sso import SsoClient
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.errors import LoginRefused
from killsyncd.core.model import UserState
from killsyncd.simulator import CLIENT_ID, Simulator, SimulatorConfig
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.grants import GrantRepository, PendingLogins
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.clocks import ManualClock

CALLBACK = "http://127.0.0.1:7420/auth/callback"
SECRET = "of the application"


class WallClock(ManualClock):
    """A manual clock that the simulator can read too."""

    def wall(self) -> float:
        return self.now()


class House:
    """A daemon's token care, wired as the daemon wires it."""

    def __init__(
        self, clock: WallClock, simulator: Simulator, store: SqliteStore, web: aiohttp.ClientSession
    ) -> None:
        self.clock, self.simulator, self.store, self.web = clock, simulator, store, web
        self.grants = GrantRepository(store)
        self.vault: Vault
        self.member: Membership

    async def start(self, key: Path, **changes: Any) -> None:
        self.vault = Vault.open(key) if key.exists() else Vault.create(key)
        self.member = await Membership.join(self.store, self.clock, egress="default", version="test")
        settings: dict[str, Any] = {
            "base_url": self.simulator.base_url,
            "client_id": CLIENT_ID,
            "client_secret": None,
            "callback_url": CALLBACK,
            "scopes": [KILLMAIL_SCOPE],
            "user_agent": "killsyncd/test (tests@example.com)",
            "clock": self.clock,
        }
        self.sso = SsoClient(self.web, **{**settings, **changes})
        self.manager = TokenManager(self.grants, self.sso, self.vault, self.clock, self.member.id, 300.0)
        self.refresher = Refresher(self.manager, self.grants, self.clock)
        self.logins = Logins(PendingLogins(self.store), self.grants, self.sso, self.vault, self.clock, 300.0)

    async def browse(self, url: str, **choice: str) -> dict[str, str]:
        """The pilot's browser at the SSO: picks a character, comes back with the redirect's query."""
        async with self.web.get(url, params=choice, allow_redirects=False) as response:
            assert response.status == 302
            location = response.headers["Location"]
        assert location.startswith(CALLBACK)
        return dict(parse_qsl(urlsplit(location).query))

    async def login(self, **choice: str) -> LoggedIn:
        begun = await self.logins.begin(LoginOrigin.BROWSER)
        query = await self.browse(begun.url, **choice)
        return await self.logins.finish_query(LoginReturn.CALLBACK, query, begun.cookie)

    def character(self, n: int = 0) -> str:
        return str(self.simulator.pilots()[n]["character_id"])

    async def state(self, user_id: str) -> UserState:
        row = await self.grants.load(user_id)
        assert row is not None
        return row.state

    async def due(self, user_id: str) -> None:
        """Let time pass until the token is over."""
        row = await self.grants.load(user_id)
        assert row is not None
        await self.clock.advance(max(0.0, row.expires_at - self.clock.now()))


@pytest.fixture(params=[None, SECRET], ids=["public", "confidential"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    clock = WallClock()
    config = SimulatorConfig(pilots=3, history=0, client_secret=request.param)
    async with Simulator(config, clock) as simulator, aiohttp.ClientSession() as web:
        store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
        try:
            await migrate(store)
            house = House(clock, simulator, store, web)
            await house.start(tmp_path / "killsyncd.key", client_secret=request.param)
            yield house
            await house.manager.aclose()
        finally:
            await store.close()
        assert simulator.breaches() == []


async def test_a_pilot_logs_in_and_is_renewed_ever_after(house: House, tmp_path: Path) -> None:
    done = await house.login(_sim_character=house.character())
    assert (done.created, done.state, str(done.character_id)) == (True, UserState.OK, house.character())
    tokens = set()
    for _ in range(20):
        await house.due(done.user_id)
        tokens.add(await house.manager.access_token(done.user_id))
    assert len(tokens) == 20
    await house.store.read(_nothing)
    for file in tmp_path.glob("killsyncd.db*"):
        raw = file.read_bytes()
        assert not [token for token in tokens if token.encode() in raw]


def _nothing() -> Any:
    yield from ()


async def test_the_refresher_keeps_tokens_of_forty_seconds_alive_for_ten_minutes(house: House) -> None:
    house.simulator.settings(token_life=40.0)
    users = [(await house.login(_sim_character=house.character(n))).user_id for n in range(3)]
    stop = asyncio.Event()
    task = asyncio.create_task(house.refresher.run(ready=lambda: None, stop=stop))
    end = house.clock.now() + 600
    while house.clock.now() < end:
        await house.clock.sleeping()  # the round is over
        house.clock.tick(min(house.clock.next_wake or 0.0, 5.0))
        for user_id in users:
            row = await house.grants.load(user_id)
            assert row is not None
            assert row.expires_at > house.clock.now(), "a token ended before it was renewed"
    stop.set()
    await task
    assert {await house.state(user_id) for user_id in users} == {UserState.OK}


async def test_a_restart_forgets_nothing(house: House, tmp_path: Path) -> None:
    done = await house.login(_sim_character=house.character())
    begun = await house.logins.begin(LoginOrigin.CLI)
    await house.start(tmp_path / "killsyncd.key", client_secret=house.simulator.config.client_secret)
    query = await house.browse(begun.url, _sim_character=house.character(1))
    assert (await house.logins.finish_query(LoginReturn.CALLBACK, query)).created
    await house.due(done.user_id)
    assert await house.manager.access_token(done.user_id)


async def test_a_lost_answer_and_then_a_strict_sso(house: House) -> None:
    """The simulator replaced the token and its answer was cut off: the old one is refused, in doubt."""
    done = await house.login(_sim_character=house.character())
    await house.due(done.user_id)
    house.simulator.script("reset", "sso.token", processed=True, count=1)
    with pytest.raises(SsoUnavailable) as lost:
        await house.manager.access_token(done.user_id)
    assert not lost.value.answered
    await house.clock.advance(30)
    with pytest.raises(SsoUnavailable, match="lost"):
        await house.manager.access_token(done.user_id)
    assert await house.state(done.user_id) is UserState.OK
    again = await house.login(_sim_character=house.character())
    assert (again.user_id, again.created) == (done.user_id, False)
    assert await house.manager.access_token(done.user_id)


async def test_a_revoked_grant_needs_a_login(house: House) -> None:
    done = await house.login(_sim_character=house.character())
    await house.due(done.user_id)
    house.simulator.revoke(done.character_id)
    with pytest.raises(SsoUnavailable, match="invalid_grant"):
        await house.manager.access_token(done.user_id)
    assert await house.state(done.user_id) is UserState.OK, "one answer is no verdict"
    await house.clock.advance(70)
    with pytest.raises(GrantUnusable):
        await house.manager.access_token(done.user_id)
    assert await house.state(done.user_id) is UserState.NEEDS_LOGIN


async def test_an_invalid_grant_that_was_a_passing_fault_costs_nobody_the_login(house: House) -> None:
    """Public reports have it lasting for hours, for everybody."""
    users = [(await house.login(_sim_character=house.character(n))).user_id for n in range(3)]
    for user_id in users:
        await house.due(user_id)
    house.simulator.script("oauth", "sso.token", body="invalid_grant", status=400)
    stop = asyncio.Event()
    task = asyncio.create_task(house.refresher.run(ready=lambda: None, stop=stop))

    async def pass_until(end: float) -> None:
        while house.clock.now() < end:
            await house.clock.sleeping()  # the round is over
            house.clock.tick(house.clock.next_wake or 0.0)

    begun = house.clock.now()
    await pass_until(begun + 3 * 3600)
    assert {await house.state(user_id) for user_id in users} == {UserState.NEEDS_LOGIN}
    house.simulator.clear_faults()
    await pass_until(begun + 8 * 3600)
    assert {await house.state(user_id) for user_id in users} == {UserState.OK}
    for user_id in users:
        assert await house.manager.access_token(user_id)
    stop.set()
    await house.clock.sleeping()
    await task


async def test_a_sold_character_stops(house: House) -> None:
    done = await house.login(_sim_character=house.character())
    await house.due(done.user_id)
    house.simulator.sell(done.character_id)
    for _ in range(2):  # the SSO may have taken the grant back with the sale
        with pytest.raises((GrantUnusable, SsoUnavailable)):
            await house.manager.access_token(done.user_id)
        await house.clock.advance(70)
    assert await house.state(done.user_id) in (UserState.OWNER_CHANGED, UserState.NEEDS_LOGIN)


async def test_a_login_without_the_scope(house: House) -> None:
    done = await house.login(_sim_character=house.character(), _sim_scopes="none")
    assert done.state is UserState.SCOPE_MISSING
    assert KILLMAIL_SCOPE in done.message


async def test_a_pilot_who_says_no(house: House) -> None:
    begun = await house.logins.begin(LoginOrigin.CLI)
    query = await house.browse(begun.url, _sim_deny="1")
    with pytest.raises(LoginRefused, match="did not agree"):
        await house.logins.finish_query(LoginReturn.CALLBACK, query)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 502},
        {"kind": "html", "status": 200},
        {"kind": "malformed"},
        {"kind": "truncate"},
        {"kind": "reset"},
        {"kind": "oauth", "body": "invalid_client", "status": 401},
        {"kind": "oauth", "body": "unauthorized_client", "status": 400},
        {"kind": "oauth", "body": "unsupported_grant_type", "status": 400},
        {"kind": "body", "body": '{"access_token": "opaque", "expires_in": 1199}'},
        {"kind": "status", "status": 429, "retry_after": 30},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
async def test_a_bad_hour_of_the_sso_disables_nobody(house: House, fault: dict[str, Any]) -> None:
    done = await house.login(_sim_character=house.character())
    await house.due(done.user_id)
    # Where it does replace the token and only the answer goes wrong, the tests of lost answers apply.
    house.simulator.settings(rotation="never")
    house.simulator.script(route="sso.token", **fault)
    for _ in range(60):
        with pytest.raises(SsoUnavailable):
            await house.manager.access_token(done.user_id)
        await house.clock.advance(60)
    assert await house.state(done.user_id) is UserState.OK
    [problem] = house.manager.problems()
    assert problem.code == "sso_unavailable", "one problem, of nobody in particular"
    assert (problem.character_id, bool(problem.remedy)) == (None, True)
    house.simulator.clear_faults()
    await house.clock.advance(301)
    assert await house.manager.access_token(done.user_id)
    assert house.manager.problems() == []


async def test_signing_keys_are_rotated(house: House) -> None:
    done = await house.login(_sim_character=house.character())
    await house.due(done.user_id)
    house.simulator.rotate_keys(keep_old=False)
    assert await house.manager.access_token(done.user_id)


async def test_logging_out_revokes_at_the_sso(house: House) -> None:
    done = await house.login(_sim_character=house.character())
    row = await house.grants.load(done.user_id)
    assert row is not None
    assert row.refresh_token_enc is not None
    await house.manager.revoke(done.character_id, row.refresh_token_enc)
    await house.due(done.user_id)
    with pytest.raises(SsoUnavailable, match="invalid_grant"):
        await house.manager.access_token(done.user_id)
