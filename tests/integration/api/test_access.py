"""The contract's table of who may what, row by row."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from killsyncd.api.auth import CSRF_HEADER, Access
from killsyncd.config import Secret
from killsyncd.core.clock import SystemClock
from tests.integration.api.conftest import TOKEN, Running, Start
from tests.support.clocks import ManualClock

ASK = {"query": "{ __typename }"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROTOCOLS = ("graphql-transport-ws",)


async def status_of(api: Running, method: str, path: str, **options: Any) -> int:
    async with api.client.request(
        method, f"{api.server.address}{path}", allow_redirects=False, **options
    ) as response:
        await response.read()
        return response.status


async def log_in(api: Running) -> tuple[dict[str, str], dict[str, str]]:
    """The dashboard's cookie, and its CSRF header."""
    async with api.client.post(f"{api.server.address}/session", json={"token": TOKEN}) as response:
        assert response.status == 200
        (cookie,) = response.cookies.values()
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert TOKEN not in cookie.value
        body = await response.json()
    return {"Cookie": f"{cookie.key}={cookie.value}"}, {CSRF_HEADER: body["csrf"]}


async def test_loopback_without_a_token_is_open(api: Running) -> None:
    assert await status_of(api, "POST", "/graphql", json=ASK) == 200
    assert await status_of(api, "GET", "/graphql?query={__typename}") == 200
    assert await status_of(api, "GET", "/metrics") == 200
    async with api.client.get(f"{api.server.address}/session") as response:
        assert await response.json() == {
            "required": False,
            "authenticated": True,
            "csrf": None,
            "images": False,
        }


@pytest.mark.parametrize(("method", "path"), [("POST", "/graphql"), ("GET", "/graphql"), ("GET", "/metrics")])
async def test_data_needs_the_token_where_there_is_one(start: Start, method: str, path: str) -> None:
    api = await start(token=TOKEN)
    options: dict[str, Any] = {"json": ASK} if method == "POST" else {}
    if path == "/graphql" and method == "GET":
        options["params"] = ASK

    async def ask(**headers: str) -> int:
        return await status_of(api, method, path, headers=headers, **options)

    assert await ask() == 401
    assert await ask(**BEARER) == 200
    assert await ask(Authorization=f"bearer {TOKEN}") == 200
    assert await ask(Authorization=f"Bearer {TOKEN}x") == 401
    assert await ask(Authorization="Bearer") == 401
    assert await ask(Authorization=TOKEN) == 401
    assert await ask(Authorization=f"Basic {TOKEN}") == 401
    cookie, csrf = await log_in(api)
    assert await ask(**cookie, **csrf) == 200
    assert await ask(**cookie) == 401
    assert await ask(**csrf) == 401
    assert await ask(**cookie, **{CSRF_HEADER: "x"}) == 401
    forged = {"Cookie": cookie["Cookie"][:-2] + "xx"}
    assert await ask(**forged, **csrf) == 401
    # A wrong bearer is not made good by a cookie.
    assert await ask(**cookie, **csrf, Authorization="Bearer wrong") == 401


async def test_the_refusal_is_graphql_and_says_what_to_do(start: Start) -> None:
    api = await start(token=TOKEN)
    async with api.client.post(api.url, json=ASK) as response:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        (error,) = (await response.json())["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert "Bearer" in error["extensions"]["remedy"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/session", "/plain/page.css"])
async def test_pages_are_for_all(start: Start, path: str) -> None:
    api = await start(token=TOKEN)
    assert await status_of(api, "GET", path) == 200


async def test_the_explorer_is_a_page_without_data(start: Start) -> None:
    api = await start(token=TOKEN)
    async with api.client.get(api.url, headers={"Accept": "text/html,*/*;q=0.8"}) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        text = await response.text()
    assert "explorer.js" in text
    for name in ("explorer.js", "explorer.css"):
        assert await status_of(api, "GET", f"/explorer/{name}") == 200
    assert await status_of(api, "GET", "/explorer/..%2fauth.py") == 404
    assert await status_of(api, "GET", "/dashboard/..%2f..%2fauth.py") == 404


async def test_the_form_lets_a_browser_in(start: Start) -> None:
    api = await start(token=TOKEN)
    url = f"{api.server.address}/session"
    async with api.client.post(url, data={"token": "wrong"}, allow_redirects=False) as response:
        assert response.status == 401
        assert "Set-Cookie" not in response.headers
    async with api.client.post(url, data={"token": f" {TOKEN}\n"}, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert "Secure" not in response.headers["Set-Cookie"]
    async with api.client.post(
        url, json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"}
    ) as response:
        assert "Secure" in response.headers["Set-Cookie"]
    cookie, _ = await log_in(api)
    async with api.client.get(url, headers=cookie) as response:
        assert (await response.json())["authenticated"] is True
    async with api.client.delete(url, headers=cookie) as response:
        assert response.status == 204
        assert "Max-Age=0" in response.headers["Set-Cookie"]
    for body in (b"", b"[]", b'{"token": 1}'):
        assert await status_of(
            api, "POST", "/session", data=body, headers={"Content-Type": "application/json"}
        ) in (400, 401)


HOSTS = [
    ("localhost", True),
    ("localhost:7420", True),
    ("LOCALHOST", True),
    ("dash.localhost", True),
    ("127.0.0.1:1", True),
    ("127.8.8.8", True),
    ("[::1]:7420", True),
    ("kills.example.org", True),
    ("kills.example.org:8443", True),
    ("kills.example.org.", True),
    ("callback.example", True),
    ("evil.example", False),
    ("evil.example:7420", False),
    ("kills.example.org.evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("localhost.evil.example", False),
    ("192.168.1.7", False),
    ("user@localhost", False),
    ("localhost/x", False),
    ("", False),
    ("[::1", False),
    ("localhost:x", False),
    ("localhost..", False),
    ("localhost.:7420", True),
    ("localhost..:7420", False),
    (".localhost", False),
    ("[::1]evil", False),
    ("[::1]evil:7420", False),
    ("[::1].localhost", False),
    ("[localhost]", False),
    ("::1", False),
    ("localhost:7420:7420", False),
    ("localhost:99999", False),
    ("localhost\t", False),
]


@pytest.mark.parametrize(("host", "allowed"), HOSTS)
def test_names_that_the_daemon_answers_to(host: str, allowed: bool) -> None:
    access = Access(
        SystemClock(),
        token=None,
        callback_url="https://callback.example/auth/callback",
        listen_host="0.0.0.0",
        allowed_hosts=("kills.example.org",),
    )
    assert access.host_allowed(host) is allowed


async def test_a_foreign_host_is_refused_with_the_remedy(start: Start) -> None:
    api = await start(allowed_hosts=("kills.example.org",))
    for path, method in (("/", "GET"), ("/graphql", "POST"), ("/auth/login", "GET"), ("/metrics", "GET")):
        assert await status_of(api, method, path, headers={"Host": "evil.example"}) == 421
    assert await status_of(api, "POST", "/graphql", json=ASK, headers={"Host": "kills.example.org"}) == 200
    for path in ("/healthz", "/readyz"):
        assert await status_of(api, "GET", path, headers={"Host": "10.0.0.3:7420"}) == 200
    headers = {"Host": "a<b>.example:99", "Accept": "text/html"}
    async with api.client.get(f"{api.server.address}/", headers=headers) as response:
        text = await response.text()
    assert "allowed_hosts = [&quot;a&lt;b&gt;.example&quot;]" in text
    assert response.status == 421
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await api.client.ws_connect(api.url, protocols=PROTOCOLS, headers={"Host": "evil.example"})


PAGES = [
    ({}, 200),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "none"}, 200),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Origin": "http://localhost:7420", "Host": "localhost:7420"}, 200),
    ({"Origin": "http://LOCALHOST:7420", "Host": "localhost:7420"}, 200),
    ({"Origin": "https://localhost", "Host": "localhost"}, 200),
    ({"Origin": "http://localhost", "Host": "localhost:80"}, 200),
    ({"Origin": "http://127.0.0.1:7420", "Host": "localhost:7420"}, 200),  # the callback's own origin
    ({"Origin": "http://localhost:3000", "Host": "localhost:7420"}, 403),
    ({"Origin": "http://evil.example", "Host": "localhost:7420"}, 403),
    ({"Origin": "null", "Host": "localhost:7420"}, 403),
    ({"Origin": "file://", "Host": "localhost:7420"}, 403),
    ({"Origin": "http://localhost:x", "Host": "localhost:7420"}, 403),
    ({"Origin": "http://[::1]evil:7420", "Host": "[::1]:7420"}, 403),
    ({"Origin": "http://localhost..:7420", "Host": "localhost:7420"}, 403),
    ({"Origin": "http://a@localhost:7420", "Host": "localhost:7420"}, 403),
]


@pytest.mark.parametrize(("headers", "status"), PAGES)
async def test_other_sites_pages_are_refused(api: Running, headers: dict[str, str], status: int) -> None:
    assert await status_of(api, "POST", "/graphql", json=ASK, headers=headers) == status
    assert await status_of(api, "GET", "/graphql", params=ASK, headers=headers) == status
    assert await status_of(api, "GET", "/session", headers=headers) == status
    assert await status_of(api, "GET", "/metrics", headers=headers) == status
    # The callback is where another site's page leads to by design.
    assert await status_of(api, "GET", "/healthz", headers=headers) == 200


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
async def test_sockets_of_other_sites_pages_are_refused(
    api: Running, headers: dict[str, str], opens: bool
) -> None:
    if opens:
        async with api.client.ws_connect(api.url, protocols=PROTOCOLS, headers=headers) as ws:
            assert ws.protocol == PROTOCOLS[0]
        return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.client.ws_connect(api.url, protocols=PROTOCOLS, headers=headers)
    assert refused.value.status == 403


async def introduce(ws: aiohttp.ClientWebSocketResponse, **payload: str) -> int | None:
    """None: acknowledged; else the close code."""
    await ws.send_json({"type": "connection_init", "payload": payload})
    message = await ws.receive()
    if message.type is aiohttp.WSMsgType.TEXT:
        assert message.json() == {"type": "connection_ack"}
        return None
    return ws.close_code


async def test_sockets_show_the_token_in_one_of_three_ways(start: Start) -> None:
    api = await start(token=TOKEN)

    async def opened(headers: dict[str, str], **payload: str) -> int | None:
        async with api.client.ws_connect(api.url, protocols=PROTOCOLS, headers=headers) as ws:
            return await introduce(ws, **payload)

    assert await opened(BEARER) is None
    assert await opened({}, authorization=f"Bearer {TOKEN}") is None
    assert await opened({}, Authorization=f"Bearer {TOKEN}") is None
    assert await opened({}) == 4403
    assert await opened({}, authorization="Bearer wrong") == 4403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await opened({"Authorization": "Bearer wrong"})
    assert refused.value.status == 401
    cookie, _ = await log_in(api)
    origin = {"Origin": api.server.address}
    assert await opened({**cookie, **origin}) is None
    for headers in (cookie, {**cookie, "Origin": "http://evil.example"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await opened(headers)
        assert refused.value.status == 403


async def test_a_session_that_was_ended_lets_nobody_in(start: Start) -> None:
    api = await start(token=TOKEN)
    cookie, csrf = await log_in(api)
    other, other_csrf = await log_in(api)
    assert await status_of(api, "DELETE", "/session", headers=cookie) == 204
    after_a_restart = await start(token=TOKEN)
    for each in (api, after_a_restart):
        assert await status_of(each, "POST", "/graphql", json=ASK, headers={**cookie, **csrf}) == 401
        async with each.client.get(f"{each.server.address}/session", headers=cookie) as response:
            assert (await response.json())["authenticated"] is False
        assert await status_of(each, "POST", "/graphql", json=ASK, headers={**other, **other_csrf}) == 200


async def test_a_session_that_another_daemon_ended_lets_nobody_in_here(start: Start) -> None:
    one, two = await start(token=TOKEN), await start(token=TOKEN)
    cookie, csrf = await log_in(one)
    headers = {**cookie, **csrf}
    assert await status_of(two, "POST", "/graphql", json=ASK, headers=headers) == 200
    assert await status_of(one, "DELETE", "/session", headers=cookie) == 204
    async with asyncio.timeout(10):
        while await status_of(two, "POST", "/graphql", json=ASK, headers=headers) != 401:
            await asyncio.sleep(0.01)


async def test_the_cookie_is_secure_where_the_callback_is(start: Start) -> None:
    api = await start(token=TOKEN, callback_url="https://kills.example.org/auth/callback")
    async with api.client.post(f"{api.server.address}/session", json={"token": TOKEN}) as response:
        assert "Secure" in response.headers["Set-Cookie"]
    async with api.client.delete(f"{api.server.address}/session") as response:
        assert "Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=a", b"x", 400),
        ("multipart/form-data; boundary=a", b"--a\r\nx\r\n\r\n--b", 400),
        ("multipart/form-data; boundary=" + "a" * 200, b"--a\r\n", 400),
        ("application/x-www-form-urlencoded; charset=nonsense", b"token=x", 400),
        ("application/x-www-form-urlencoded; charset=utf-16", b"token=x", 400),
        ("application/x-www-form-urlencoded", b"token=\xff", 400),
        ("application/json", b"\xff", 400),
        ("text/plain", b"token=x", 415),
        ("", b"token=x", 415),
    ],
)
async def test_a_form_that_is_none_is_refused(
    start: Start, caplog: pytest.LogCaptureFixture, content_type: str, body: bytes, status: int
) -> None:
    api = await start(token=TOKEN)
    headers = {"Content-Type": content_type} if content_type else {}
    assert await status_of(api, "POST", "/session", data=body, headers=headers) == status
    assert not [each for each in caplog.records if each.exc_info]


async def test_wrong_tokens_are_answered_one_by_one_and_right_ones_at_once(start: Start) -> None:
    api = await start(token=TOKEN)
    waited: list[float] = []
    slow = asyncio.Event()

    class Slow:
        async def sleep(self, seconds: float) -> None:
            waited.append(seconds)
            await slow.wait()

    api.server.access.guesses._clock = Slow()  # type: ignore[assignment]
    wrong = {"Authorization": "Bearer wrong"}
    guesses = [
        asyncio.create_task(status_of(api, "POST", "/graphql", json=ASK, headers=wrong)) for _ in range(5)
    ]
    guesses.append(asyncio.create_task(status_of(api, "POST", "/session", json={"token": "wrong"})))
    while not waited:
        await asyncio.sleep(0)
    assert await status_of(api, "POST", "/graphql", json=ASK, headers=BEARER) == 200
    assert await status_of(api, "POST", "/session", json={"token": TOKEN}) == 200
    assert len(waited) == 1
    assert not any(each.done() for each in guesses)
    slow.set()
    assert await asyncio.gather(*guesses) == [401] * 6
    assert len(waited) == 6


async def test_a_session_ends_by_itself_and_with_the_token() -> None:
    clock = ManualClock()

    def access(token: str) -> Access:
        return Access(
            clock, token=Secret(token), callback_url="http://localhost/auth/callback", listen_host="::"
        )

    session = access("one").new_session()
    assert access("one").session_holds(session)
    assert not access("two").session_holds(session)
    assert not access("one").session_holds(session.replace(session[:3], "999", 1))
    assert access("one").csrf(session) != access("two").csrf(session)
    clock.tick(29 * 86_400)
    assert access("one").session_holds(session)
    clock.tick(2 * 86_400)
    assert not access("one").session_holds(session)
    for junk in ("", ".", "..", "9999999999.x.y", "x" * 500, "é.é.é"):
        assert not access("one").session_holds(junk)


async def test_every_answer_carries_the_security_headers(start: Start) -> None:
    api = await start(images=True)
    for path in ("/", "/graphql", "/nowhere", "/auth/callback", "/healthz"):
        async with api.client.get(f"{api.server.address}{path}") as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "https://images.evetech.net" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "Server" not in response.headers
    plain = await start()
    async with plain.client.get(plain.server.address) as response:
        assert "evetech" not in response.headers["Content-Security-Policy"]


async def test_health_and_readiness(api: Running) -> None:
    assert await status_of(api, "GET", "/healthz") == 200
    assert await status_of(api, "GET", "/readyz") == 200
    api.reasons.append("draining")
    async with api.client.get(f"{api.server.address}/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"ready": False, "reasons": ["draining"]}
    assert await status_of(api, "GET", "/healthz") == 200


async def test_nothing_of_a_request_is_logged_that_may_be_secret(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    api = await start(token=TOKEN)
    await status_of(api, "POST", "/graphql", json=ASK, headers={"Authorization": "Bearer canary-one-1234"})
    await status_of(api, "GET", "/auth/callback?code=canary-two-1234&state=canary-three-1234")
    await status_of(api, "POST", "/session", json={"token": "canary-four-1234"})
    query = '{ killmail(id: "canary-five-1234") { nothing } }'
    await status_of(api, "POST", "/graphql", json={"query": query}, headers=BEARER)
    mutation = 'mutation { authenticateWithCode(code: "canary-six-1234" state: 7, x: "canary-7") { queued } }'
    await status_of(api, "POST", "/graphql", json={"query": mutation}, headers=BEARER)
    await asyncio.sleep(0)
    assert "canary" not in caplog.text
    assert TOKEN not in caplog.text
    assert all("canary" not in repr(record.__dict__) for record in caplog.records)
