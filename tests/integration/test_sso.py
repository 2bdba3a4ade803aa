"""The SSO client over real sockets: what it sends, what it believes, and how it fails."""

from __future__ import annotations

import asyncio
import functools
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from killsyncd.auth.grant import SsoUnavailable
from killsyncd.auth.sso import SsoClient
from killsyncd.auth.sso.metadata import Bounds
from killsyncd.core.errors import ConfigError, GrantDead, TokenRefused, Unavailable
from tests.support.clocks import ManualClock
from tests.support.sso_server import (
    CALLBACK,
    CLIENT_ID,
    SCOPE,
    SECRET,
    SsoServer,
    basic,
    client_of,
    hang_up,
    html,
    never,
    oauth_error,
    running,
)

MakeClient = Callable[..., SsoClient]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server(clock: ManualClock) -> AsyncIterator[SsoServer]:
    async with running(clock) as sso:
        yield sso


@pytest.fixture
async def make(server: SsoServer) -> AsyncIterator[MakeClient]:
    async with aiohttp.ClientSession() as session:
        yield functools.partial(client_of, server, session)


@pytest.fixture
def client(make: MakeClient) -> SsoClient:
    return make()


# -- addresses ---------------------------------------------------------------------------------


async def test_the_login_address_carries_state_and_challenge(client: SsoClient, server: SsoServer) -> None:
    attempt = await client.begin()
    url = urlsplit(attempt.url)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    assert attempt.url.startswith(f"{server.url}/v2/oauth/authorize?")
    assert query == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "scope": SCOPE,
        "state": attempt.state,
        "code_challenge": create_s256_code_challenge(attempt.verifier),
        "code_challenge_method": "S256",
    }
    assert len(attempt.state) >= 43
    assert 43 <= len(attempt.verifier) <= 128
    again = await client.begin()
    assert again.state != attempt.state
    assert again.verifier != attempt.verifier


async def test_metadata_is_asked_for_once_an_hour(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    await client.begin()
    await client.begin()
    assert server.count("metadata") == 1
    await clock.advance(3601)
    await client.begin()
    assert server.count("metadata") == 2


async def test_old_metadata_serves_while_the_sso_is_down(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    await client.begin()
    await clock.advance(3601)

    async def down(_: web.Request) -> web.StreamResponse:
        return html(503)

    server.overrides["metadata"] = down
    assert (await client.begin()).url


async def test_those_who_wait_for_the_endpoints_share_a_failure(make: MakeClient, server: SsoServer) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly_down(_: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return html(502)

    server.overrides["metadata"] = slowly_down
    client = make()
    waiting = [asyncio.create_task(client.begin()) for _ in range(20)]
    await asked.wait()
    go_on.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, SsoUnavailable) and "502" in each.message for each in outcomes)
    assert server.count("metadata") == 1, "not a time-out each, one after another"
    del server.overrides["metadata"]
    await client.begin()


@pytest.mark.parametrize(
    "change",
    [
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": None},
        {"token_endpoint": 7},
        {"jwks_uri": "https://login.eveonline.com/oauth/jwks"},
        {"authorization_endpoint": "ftp://127.0.0.1/authorize"},
        {"revocation_endpoint": "http://user@127.0.0.1/revoke"},
    ],
)
async def test_metadata_that_leads_elsewhere_is_refused(
    client: SsoClient, server: SsoServer, change: dict[str, Any]
) -> None:
    server.metadata = change
    with pytest.raises(SsoUnavailable, match="refused") as refused:
        await client.refresh("refresh-0")
    assert refused.value.answered
    assert server.count("token") == 0


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://login.eveonline.com/v2/oauth/token", True),
        ("https://eu.login.eveonline.com/token", True),
        ("https://images.eveonline.com/token", True),
        ("http://login.eveonline.com/token", False),
        ("https://eveonline.com.evil.example/token", False),
        ("https://evileveonline.com/token", False),
        ("https://login.eveonline.com@evil.example/token", False),
        ("https://127.0.0.1/token", False),
        ("https://login.eveonline.com:x/token", False),
        ("https://[::1/token", False),
        ("", False),
    ],
)
def test_endpoints_stay_in_the_ssos_domain(url: str, allowed: bool) -> None:
    assert Bounds("https://login.eveonline.com").allows(url) is allowed


@pytest.mark.parametrize(
    "base", ["http://login.eveonline.com", "ftp://localhost", "login.eveonline.com", "https://["]
)
async def test_a_base_in_the_clear_is_a_configuration_error(make: MakeClient, base: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        make(base_url=base)


def test_a_parent_that_is_a_top_level_domain_has_no_siblings() -> None:
    assert not Bounds("https://example.com").allows("https://other.com/token")


# -- tokens ------------------------------------------------------------------------------------


async def test_a_public_client_names_itself_in_the_form(client: SsoClient, server: SsoServer) -> None:
    tokens = await client.exchange("the-code", "the-verifier")
    assert server.form() == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": CALLBACK,
        "code_verifier": "the-verifier",
        "client_id": CLIENT_ID,
    }
    assert "Authorization" not in server.headers()
    assert server.headers()["User-Agent"] == "killsyncd/test (tests@example.com)"
    assert tokens.refresh_token == "refresh-1"


async def test_a_confidential_client_proves_itself_by_basic(make: MakeClient, server: SsoServer) -> None:
    await make(client_secret=SECRET).refresh("refresh-0")
    assert server.form() == {"grant_type": "refresh_token", "refresh_token": "refresh-0"}
    assert server.headers()["Authorization"] == basic(CLIENT_ID, SECRET)


async def test_a_secret_with_signs_of_its_own_is_form_encoded(make: MakeClient, server: SsoServer) -> None:
    await make(client_secret="s+1/é:% =&").refresh("refresh-0")
    assert server.headers()["Authorization"] == basic(CLIENT_ID, "s%2B1%2F%C3%A9%3A%25%20%3D%26")


async def test_expiry_is_counted_on_our_clock(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    server.life = 40
    clock.set_wall(clock.now() + 7200)  # ours is two hours ahead of the SSO's: no matter
    server.claims["exp"] = int(clock.now() - 7200 + 40)
    assert (await client.refresh("refresh-0")).expires_at == clock.now() + 40


@pytest.mark.parametrize(("expires_in", "life"), [("40", 40), (None, 1199), ("soon", 1199), (-1, 1199)])
async def test_odd_expiry(
    client: SsoClient, server: SsoServer, clock: ManualClock, expires_in: object, life: float
) -> None:
    server.token_answers = [web.json_response(server.tokens(expires_in=expires_in))]
    assert (await client.refresh("refresh-0")).expires_at == pytest.approx(clock.now() + life, abs=1)


async def test_without_a_new_refresh_token_the_old_one_stays(client: SsoClient, server: SsoServer) -> None:
    server.token_answers = [web.json_response(server.tokens(refresh_token=None))]
    assert (await client.refresh("refresh-0")).refresh_token == "refresh-0"


async def test_a_login_without_a_refresh_token_is_refused(client: SsoClient, server: SsoServer) -> None:
    server.token_answers = [web.json_response(server.tokens(refresh_token=None))]
    with pytest.raises(TokenRefused, match="refresh token"):
        await client.exchange("code", "verifier")


async def test_only_invalid_grant_is_death(client: SsoClient, server: SsoServer) -> None:
    server.token_answers = [oauth_error("invalid_grant")]
    with pytest.raises(GrantDead):
        await client.refresh("refresh-0")


@pytest.mark.parametrize(
    ("answer", "answered", "everybody"),
    [
        (oauth_error("invalid_client", 401), True, True),
        (oauth_error("invalid_client", 400), True, True),
        (oauth_error("unauthorized_client"), True, True),
        (oauth_error("unsupported_grant_type"), True, True),
        (oauth_error("invalid_request"), True, False),
        (oauth_error("invalid_grant", 401), True, True),
        (oauth_error("invalid_grant", 500), False, True),
        (oauth_error("server_error", 500), False, True),
        (html(400), True, True),
        (html(403), True, True),
        (html(408), False, True),
        (html(502), False, True),
        (html(503), False, True),
        (html(200), False, True),
        (web.Response(status=302, headers={"Location": "/v2/oauth/token"}), True, True),
        (web.json_response([]), False, True),
        (web.json_response({"access_token": 7}), False, True),
        (web.json_response({"access_token": ""}), False, True),
        (web.json_response({"access_token": "opaque", "expires_in": 1199}), False, True),
        (web.json_response({"access_token": "opaque", "refresh_token": "refresh-0"}), False, True),
        (web.json_response({"access_token": "two\nlines"}), False, True),
        (web.Response(text="{" * 100_000), False, True),
        (web.Response(text='"' + "x" * 1_000_000), False, True),
        (web.Response(), False, True),
    ],
)
async def test_everything_else_disables_nobody(
    client: SsoClient, server: SsoServer, answer: web.Response, answered: bool, everybody: bool
) -> None:
    server.token_answers = [_again(answer)]
    with pytest.raises(SsoUnavailable) as caught:
        await client.refresh("refresh-0")
    assert (caught.value.answered, caught.value.everybody) == (answered, everybody)
    assert caught.value.hint
    assert server.count("token") == 1, "a redirect was followed, or a POST was tried again"


def _again(answer: web.Response) -> Callable[[web.Request], Any]:
    """A fresh copy, since parametrized responses outlive their event loop."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    return handler


async def test_a_200_without_a_token_keeps_the_refresh_token_that_came(
    client: SsoClient, server: SsoServer
) -> None:
    """The one that was sent may be void by now."""
    server.token_answers = [
        _again(web.json_response({"access_token": "opaque", "refresh_token": "refresh-1"}))
    ]
    tokens = await client.refresh("refresh-0")
    assert (tokens.access_token, tokens.refresh_token) == ("", "refresh-1")
    assert tokens.complaint is not None
    assert (tokens.complaint.answered, tokens.complaint.everybody) == (True, True)
    assert "sso.base_url" in tokens.complaint.hint


@pytest.mark.parametrize("code", ["unauthorized_client", "unsupported_grant_type"])
async def test_what_the_application_does_wrong_is_for_its_operator(
    client: SsoClient, server: SsoServer, code: str
) -> None:
    server.token_answers = [oauth_error(code)]
    with pytest.raises(SsoUnavailable, match=code) as caught:
        await client.refresh("refresh-0")
    assert "developers.eveonline.com" in caught.value.hint


async def test_invalid_client_says_what_to_check(client: SsoClient, server: SsoServer) -> None:
    server.token_answers = [oauth_error("invalid_client", 401)]
    with pytest.raises(SsoUnavailable) as caught:
        await client.refresh("refresh-0")
    assert "sso.client_id" in caught.value.hint
    assert "client_secret_file" in caught.value.hint


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("99999", 3600.0), ("soon", None), ("-3", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
async def test_retry_after_is_passed_on(
    client: SsoClient, server: SsoServer, header: str, seconds: float | None
) -> None:
    server.token_answers = [oauth_error("slow_down", 429, **{"Retry-After": header})]
    with pytest.raises(SsoUnavailable) as caught:
        await client.refresh("refresh-0")
    assert caught.value.retry_after == seconds


async def test_a_lost_answer_is_told_from_a_request_that_never_left(
    make: MakeClient, server: SsoServer, unused_tcp_port: int
) -> None:
    server.token_answers = [hang_up]
    with pytest.raises(SsoUnavailable) as lost:
        await make().refresh("refresh-0")
    assert not lost.value.answered

    server.metadata["token_endpoint"] = f"http://127.0.0.1:{unused_tcp_port}/token"
    with pytest.raises(SsoUnavailable) as never_left:
        await make().refresh("refresh-0")
    assert never_left.value.answered


async def test_a_time_out_is_unanswered(make: MakeClient, server: SsoServer) -> None:
    client = make(timeout=0.2)
    await client.begin()
    server.token_answers = [never]
    with pytest.raises(SsoUnavailable, match="in time") as caught:
        await client.refresh("refresh-0")
    assert not caught.value.answered


async def test_no_exception_shows_a_secret(make: MakeClient, server: SsoServer) -> None:
    client = make(client_secret=SECRET)
    secrets = (
        "canary-refresh",
        "canary-code",
        "canary-verifier",
        SECRET,
        "error_description",
        "about refresh",
    )
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.refresh("canary-refresh"),
        lambda: client.exchange("canary-code", "canary-verifier"),
    ]
    for answer in (oauth_error("invalid_grant"), oauth_error("invalid_client"), html(502), hang_up):
        for call in calls:
            server.token_answers = [_again(answer) if isinstance(answer, web.Response) else answer]
            with pytest.raises((GrantDead, Unavailable)) as caught:
                await call()
            shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            assert not [secret for secret in secrets if secret in shown]
    tokens = await client.refresh(next(iter(server.refresh_tokens)))
    attempt = await client.begin()
    for secret in (tokens.access_token, tokens.refresh_token, attempt.state, attempt.verifier, SECRET):
        assert secret not in repr(tokens) + repr(attempt) + repr(client)


async def test_revocation(client: SsoClient, server: SsoServer) -> None:
    await client.revoke("refresh-0")
    assert server.form() == {
        "token": "refresh-0",
        "token_type_hint": "refresh_token",
        "client_id": CLIENT_ID,
    }


async def test_a_token_that_the_sso_does_not_know_is_not_revoked_yet(
    client: SsoClient, server: SsoServer
) -> None:
    """It may be wrong: the revoker asks again before it believes that."""

    async def gone(_: web.Request) -> web.StreamResponse:
        return oauth_error("invalid_grant")

    server.overrides["revoke"] = gone
    with pytest.raises(GrantDead):
        await client.revoke("refresh-0")


async def test_a_revocation_that_fails_is_said(client: SsoClient, server: SsoServer) -> None:
    async def down(_: web.Request) -> web.StreamResponse:
        return html(502)

    server.overrides["revoke"] = down
    with pytest.raises(SsoUnavailable):
        await client.revoke("refresh-0")
    server.metadata["revocation_endpoint"] = None


async def test_an_sso_without_revocation_names_the_page(client: SsoClient, server: SsoServer) -> None:
    server.metadata["revocation_endpoint"] = None
    with pytest.raises(SsoUnavailable) as caught:
        await client.revoke("refresh-0")
    assert "authorized-apps" in caught.value.hint
