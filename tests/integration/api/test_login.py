"""Logins through the web and GraphQL, against the simulator's SSO."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from killsyncd.api.graphql.limits import Limits
from killsyncd.auth.encryption import Vault
from killsyncd.auth.grant import KILLMAIL_SCOPE, TokenSet
from killsyncd.auth.login import Logins
from killsyncd.auth.login_state import LoginReturn
from killsyncd.auth.sso import SsoClient
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import Unavailable
from killsyncd.simulator import CLIENT_ID, Simulator, SimulatorConfig
from killsyncd.storage.repositories.grants import GrantRepository, PendingLogins
from killsyncd.storage.sqlite.store import SqliteStore
from tests.integration.api.conftest import TOKEN, Running, Start
from tests.integration.api.test_sockets import connect

CALLBACK = "http://127.0.0.1:7420/auth/callback"


@dataclass
class LoginWorld:
    """The API with logins, and the SSO."""

    api: Running
    simulator: Simulator

    async def get(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        async with self.api.client.get(
            f"{self.api.server.address}{path}", allow_redirects=False, **options
        ) as response:
            await response.read()
            return response

    async def begin(self) -> tuple[str, dict[str, str]]:
        """Press the button: the SSO's address, and the browser's cookie."""
        response = await self.get("/auth/login")
        assert response.status == 302
        (cookie,) = response.cookies.values()
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["max-age"] == "600"
        return response.headers["Location"], {"Cookie": f"{cookie.key}={cookie.value}"}

    async def agree(self, url: str, **choice: str) -> dict[str, str]:
        """The pilot at the SSO; answers the query of the redirect."""
        choice.setdefault("_sim_character", str(self.simulator.pilots()[0]["character_id"]))
        async with self.api.client.get(url, params=choice, allow_redirects=False) as response:
            location = response.headers["Location"]
        assert location.startswith(CALLBACK)
        return dict(parse_qsl(urlsplit(location).query))


@pytest.fixture
async def door(start: Start, store: SqliteStore, tmp_path: Path) -> AsyncIterator[LoginWorld]:
    clock = SystemClock()
    async with (
        Simulator(SimulatorConfig(pilots=2, history=0)) as simulator,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as web,
    ):
        sso = SsoClient(
            web,
            base_url=simulator.base_url,
            client_id=CLIENT_ID,
            client_secret=None,
            callback_url=CALLBACK,
            scopes=[KILLMAIL_SCOPE],
            user_agent="killsyncd/test (tests@example.com)",
            clock=clock,
        )
        vault = Vault.create(tmp_path / "killsyncd.key")
        logins = Logins(PendingLogins(store), GrantRepository(store), sso, vault, clock, 300.0)
        yield LoginWorld(await start(logins=logins, callback_url=CALLBACK), simulator)
        await logins.aclose()


async def test_a_pilot_logs_in_with_the_button(door: LoginWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="killsyncd")
    url, cookie = await door.begin()
    query = await door.agree(url)
    response = await door.get("/auth/callback", params=query, headers=cookie)
    text = await response.text()
    assert response.status == 200, text
    (user,) = await door.api.world.operations.users()
    assert f"{user.character_name} is logged in" in text
    assert "FIRST SYNC" in text
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert next(iter(response.cookies.values()))["max-age"] == "0"
    for secret in (query["code"], query["state"], cookie["Cookie"].partition("=")[2]):
        assert secret not in text
        assert secret not in caplog.text
    data = await door.api.ask("{ workerStatus { byPriority { priority count } } }")
    assert data["workerStatus"][0]["byPriority"] == [{"priority": 8, "count": 1}]
    # Good once.
    again = await door.get("/auth/callback", params=query, headers=cookie)
    assert again.status == 400
    assert "used already" in await again.text()


async def test_another_browser_cannot_finish_a_login(door: LoginWorld) -> None:
    url, cookie = await door.begin()
    query = await door.agree(url)
    for headers in ({}, {"Cookie": cookie["Cookie"][:-3] + "xxx"}):
        response = await door.get("/auth/callback", params=query, headers=headers)
        assert response.status == 400
        assert "begun in another browser" in await response.text()
    # Nothing was used up by trying.
    assert (await door.get("/auth/callback", params=query, headers=cookie)).status == 200


async def test_two_tabs_do_not_disturb_each_other(door: LoginWorld) -> None:
    (url_one, cookie_one), (url_two, cookie_two) = await door.begin(), await door.begin()
    both = {"Cookie": f"{cookie_one['Cookie']}; {cookie_two['Cookie']}"}
    pilots = [str(each["character_id"]) for each in door.simulator.pilots()]
    for url, pilot in ((url_one, pilots[0]), (url_two, pilots[1])):
        query = await door.agree(url, _sim_character=pilot)
        assert (await door.get("/auth/callback", params=query, headers=both)).status == 200
    assert len(await door.api.world.operations.users()) == 2


async def test_the_login_begins_at_the_callbacks_host(door: LoginWorld) -> None:
    """Cookies set for localhost do not come back to 127.0.0.1."""
    response = await door.get("/auth/login", headers={"Host": "localhost:7420"})
    assert response.status == 302
    assert response.headers["Location"] == "http://127.0.0.1:7420/auth/login?here=1"
    assert not response.cookies
    # Once there, or behind a proxy that changes the Host: no second turn.
    response = await door.get("/auth/login?here=1", headers={"Host": "localhost:7420"})
    assert response.headers["Location"].startswith(door.simulator.base_url)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"code": "x"},
        {"state": "x"},
        {"code": "x", "state": "y"},
        {"code": "x" * 5000, "state": "y"},
        {"error": "access_denied", "state": "y"},
        {"error": "<script>alert(1)</script>", "state": "<b>"},
    ],
)
async def test_what_no_login_brought_back(door: LoginWorld, query: dict[str, str]) -> None:
    response = await door.get("/auth/callback", params=query)
    text = await response.text()
    assert response.status == 400
    assert "This login did not work" in text
    assert "<script>" not in text
    assert "<b>" not in text


async def test_a_pilot_who_refuses(door: LoginWorld) -> None:
    url, cookie = await door.begin()
    query = {"error": "access_denied", "state": dict(parse_qsl(urlsplit(url).query))["state"]}
    response = await door.get("/auth/callback", params=query, headers=cookie)
    assert response.status == 400
    assert "did not agree" in await response.text()


async def test_an_sso_that_is_down(door: LoginWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object, **__: object) -> None:
        raise Unavailable("the SSO does not answer", "try again in a minute")

    monkeypatch.setattr(door.api.world.operations, "begin_login", down)
    response = await door.get("/auth/login")
    assert response.status == 503
    assert "The SSO does not answer" in await response.text()
    error = await door.api.refused("mutation { login { url } }")
    assert error["extensions"]["code"] == "UNAVAILABLE"


async def test_head_uses_no_login_up(door: LoginWorld) -> None:
    """Some programs look at an address before they open it."""
    url, cookie = await door.begin()
    query = await door.agree(url)
    address = f"{door.api.server.address}/auth/callback"
    async with door.api.client.head(address, params=query, headers=cookie) as response:
        assert response.status == 405
    assert (await door.get("/auth/callback", params=query, headers=cookie)).status == 200


async def test_graphql_logs_in_at_its_own_door(door: LoginWorld, tmp_path: Path) -> None:
    begun = (await door.api.ask("mutation { login { url state } }"))["login"]
    query = await door.agree(begun["url"])
    assert query["state"] == begun["state"]
    # The state is no good at the browser's door.
    response = await door.get("/auth/callback", params=query)
    assert response.status == 400
    assert "begun elsewhere" in await response.text()
    mutation = """mutation($code: String!, $state: String!) {
        authenticateWithCode(code: $code, state: $state) {
            user { characterName state } queued message } }"""
    payload = (await door.api.ask(mutation, query))["authenticateWithCode"]
    assert payload["queued"] is True
    assert payload["user"]["state"] == "OK"
    error = await door.api.refused(mutation, query)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "used already" in error["message"]
    # And the browser's is no good here.
    url, _ = await door.begin()
    error = await door.api.refused(mutation, await door.agree(url))
    assert "begun elsewhere" in error["message"]
    with sqlite3.connect(tmp_path / "killsyncd.db") as database:
        dump = "\n".join(str(row) for row in database.execute("SELECT * FROM login_states"))
    assert begun["state"] not in dump


async def test_the_login_is_open_where_data_needs_a_token(start: Start) -> None:
    api = await start(token=TOKEN)
    async with api.client.get(f"{api.server.address}/auth/callback?code=x&state=y") as response:
        assert response.status != 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 302),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 302),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 302),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 302),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_another_sites_pictures_begin_no_login(
    door: LoginWorld, headers: dict[str, str], status: int
) -> None:
    url = f"{door.api.server.address}/auth/login"
    async with door.api.client.get(url, headers=headers, allow_redirects=False) as response:
        assert response.status == status


FINISH = """mutation($code: String!, $state: String!) {
    authenticateWithCode(code: $code, state: $state) { queued user { characterName } } }"""


class SlowSso:
    """What the SSO is asked for a code, answered when the test says so."""

    def __init__(self, door: LoginWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        assert door.api.world.logins is not None
        sso = door.api.world.logins._sso
        exchange = sso.exchange

        async def slow(code: str, verifier: str) -> TokenSet:
            self.asked.set()
            await self.answers.wait()
            return await exchange(code, verifier)

        monkeypatch.setattr(sso, "exchange", slow)


async def queued(door: LoginWorld) -> list[dict[str, int]]:
    """What is queued, by priority."""
    data = await door.api.ask("{ workerStatus { byPriority { priority count } } }")
    found: list[dict[str, int]] = data["workerStatus"][0]["byPriority"]
    return found


async def test_a_login_takes_as_long_as_the_sso_does_whatever_a_query_may_take(
    door: LoginWorld, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mutation that is cut short leaves a grant without a sync."""
    begun = (await door.api.ask("mutation { login { url state } }"))["login"]
    answer = await door.agree(begun["url"])
    sso = SlowSso(door, monkeypatch)
    hurried = await start(limits=Limits(seconds=0.0))
    asking = asyncio.create_task(hurried.ask(FINISH, answer))
    await sso.asked.wait()
    await asyncio.sleep(0.1)
    assert not asking.done()
    sso.answers.set()
    assert (await asking)["authenticateWithCode"]["queued"] is True
    assert await queued(door) == [{"priority": 8, "count": 1}]


@pytest.mark.parametrize("way", ["socket", "operation"])
async def test_a_login_that_its_client_has_left_is_finished_and_queued(
    door: LoginWorld, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    begun = (await door.api.ask("mutation { login { url state } }"))["login"]
    answer = await door.agree(begun["url"])
    sso = SlowSso(door, monkeypatch)
    operations = door.api.world.operations
    if way == "socket":
        async with connect(door.api) as socket:
            await socket.subscribe(FINISH, **answer)
            await sso.asked.wait()
        while door.api.server.sockets:
            await asyncio.sleep(0.005)
    else:
        asking = asyncio.create_task(operations.finish_login(LoginReturn.GRAPHQL, answer))
        await sso.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    stopping = asyncio.Event()
    stopping.set()
    drained = asyncio.create_task(operations.run(stopping))
    await asyncio.sleep(0)
    assert not drained.done(), "a daemon that stops sees it out"
    sso.answers.set()
    await drained
    assert await queued(door) == [{"priority": 8, "count": 1}]
    assert len(await operations.users()) == 1


async def test_what_is_queued_is_told_to_consumers_though_the_client_has_left(
    door: LoginWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = door.api.world
    await world.pilot()
    told, begun, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    world.events.on("wants", told.set)
    queue = world.operations._users.queue

    async def slow(*args: Any, **options: Any) -> Any:
        rows = await queue(*args, **options)
        begun.set()
        await go_on.wait()
        return rows

    monkeypatch.setattr(world.operations._users, "queue", slow)
    asking = asyncio.create_task(world.operations.queue())
    await begun.wait()
    asking.cancel()
    go_on.set()
    await asyncio.wait_for(told.wait(), 20)
