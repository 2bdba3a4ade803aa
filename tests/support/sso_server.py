"""A small SSO on a real port whose every answer a test can bend. For the SSO client's own tests.

The daemon's tests use `killsyncd.simulator`; this one exists to say wrong things exactly.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from killsyncd.auth.sso import SsoClient
from killsyncd.core.clock import Clock

CALLBACK = "http://127.0.0.1:7420/auth/callback"
CLIENT_ID = "0123456789abcdef"
SECRET = "s3cret-of-the-application"
SCOPE = "esi-killmails.read_killmails.v1"
CHARACTER = 90000001
KID = "JWT-Signature-Key"


@cache
def rsa_key(name: str = KID) -> RSAKey:
    """One key a name for the whole run: making them is slow."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@cache
def ec_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "8878a23f-2489-4045-989e-4d2f3ec1ae1a", "use": "sig"})


def public(key: RSAKey | ECKey) -> dict[str, Any]:
    return dict(key.as_dict(private=False))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class SsoServer:
    """What it answers, and what it was asked. `token_answers` are used up first, then a good one is made."""

    clock: Clock
    url: str = ""
    life: float = 1199.0
    claims: dict[str, Any] = field(default_factory=dict)
    rotate: bool = True
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(ec_key()), public(rsa_key())])
    metadata: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Handler] = field(default_factory=dict)
    token_answers: list[web.Response | Handler] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    refresh_tokens: set[str] = field(default_factory=lambda: {"refresh-0"})
    serial: int = 0

    def count(self, name: str) -> int:
        """How often a route was asked: metadata, jwks, token, revoke."""
        return sum(asked == name for asked, _, _ in self.asked)

    def form(self, at: int = -1) -> dict[str, str]:
        return self.asked[at][1]

    def headers(self, at: int = -1) -> dict[str, str]:
        return self.asked[at][2]

    def access_token(self, *, key: RSAKey | ECKey | None = None, alg: str = "RS256", **changes: Any) -> str:
        """A token as CCP makes them; changes replace claims, None takes them away."""
        now = int(self.clock.now())
        claims: dict[str, Any] = {
            "scp": SCOPE,
            "jti": f"jti-{self.serial}",
            "kid": KID,
            "sub": f"CHARACTER:EVE:{CHARACTER}",
            "azp": CLIENT_ID,
            "tenant": "tranquility",
            "tier": "live",
            "region": "world",
            "aud": [CLIENT_ID, "EVE Online"],
            "name": "Some Pilot",
            "owner": "owner-hash-1",
            "exp": now + int(self.life),
            "iat": now,
            "iss": "https://login.eveonline.com",
            **self.claims,
            **changes,
        }
        claims = {claim: value for claim, value in claims.items() if value is not None}
        key = key or rsa_key()
        return jwt.encode({"alg": alg, "kid": key.kid}, claims, key, algorithms=[alg])

    def tokens(self, **changes: Any) -> dict[str, Any]:
        """A good answer of the token endpoint."""
        self.serial += 1
        document: dict[str, Any] = {
            "access_token": self.access_token(),
            "expires_in": int(self.life),
            "token_type": "Bearer",
        }
        if self.rotate:
            self.refresh_tokens = {f"refresh-{self.serial}"}
        document["refresh_token"] = next(iter(self.refresh_tokens))
        return {**document, **changes}

    async def handle(self, name: str, request: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append((name, form, dict(request.headers)))
        if name in self.overrides:
            return await self.overrides[name](request)
        answer: Callable[[dict[str, str]], Awaitable[web.StreamResponse]] = getattr(self, f"_{name}")
        if name == "token" and self.token_answers:
            scripted = self.token_answers.pop(0)
            return scripted if isinstance(scripted, web.Response) else await scripted(request)
        return await answer(form)

    async def _metadata(self, _: dict[str, str]) -> web.StreamResponse:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/v2/oauth/authorize",
                "token_endpoint": f"{self.url}/v2/oauth/token",
                "jwks_uri": f"{self.url}/oauth/jwks",
                "revocation_endpoint": f"{self.url}/v2/oauth/revoke",
                **self.metadata,
            }
        )

    async def _jwks(self, _: dict[str, str]) -> web.StreamResponse:
        return web.json_response({"keys": self.keys, "SkipUnresolvedJsonWebKeys": True})

    async def _token(self, form: dict[str, str]) -> web.StreamResponse:
        if form["grant_type"] == "refresh_token" and form["refresh_token"] not in self.refresh_tokens:
            return oauth_error("invalid_grant")
        return web.json_response(self.tokens())

    async def _revoke(self, _: dict[str, str]) -> web.StreamResponse:
        return web.Response()


ROUTES = {
    "metadata": ("GET", "/.well-known/oauth-authorization-server"),
    "jwks": ("GET", "/oauth/jwks"),
    "token": ("POST", "/v2/oauth/token"),
    "revoke": ("POST", "/v2/oauth/revoke"),
}


def oauth_error(code: str, status: int = 400, **headers: str) -> web.Response:
    """An error as RFC 6749, 5.2 has it, with a description that must never be shown."""
    document = {"error": code, "error_description": "about refresh-0 and friends"}
    return web.json_response(document, status=status, headers=headers)


def html(status: int) -> web.Response:
    """What stands in front of the SSO when the SSO is not there."""
    return web.Response(status=status, text="<html>Bad gateway</html>", content_type="text/html")


async def hang_up(request: web.Request) -> web.StreamResponse:
    """The request was read, and the connection goes away instead of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def client_of(server: SsoServer, session: ClientSession, **changes: Any) -> SsoClient:
    """A client of that server, public unless told otherwise."""
    settings: dict[str, Any] = {
        "base_url": server.url,
        "client_id": CLIENT_ID,
        "client_secret": None,
        "callback_url": CALLBACK,
        "scopes": [SCOPE],
        "user_agent": "killsyncd/test (tests@example.com)",
        "clock": server.clock,
    }
    return SsoClient(session, **{**settings, **changes})


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


@asynccontextmanager
async def running(clock: Clock) -> AsyncIterator[SsoServer]:
    """The server, up for the length of a `with`."""
    sso = SsoServer(clock)
    application = web.Application()

    def route(name: str) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await sso.handle(name, request)

        return handler

    for name, (method, path) in ROUTES.items():
        application.router.add_route(method, path, route(name))

    async def dated(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(int(clock.now()), usegmt=True)

    application.on_response_prepare.append(dated)
    server = TestServer(application)
    await server.start_server(shutdown_timeout=0.01)
    sso.url = str(server.make_url("")).rstrip("/")
    try:
        yield sso
    finally:
        await server.close()
