"""What the SSO client believes of an access token, over real sockets."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from killsyncd.auth.grant import SsoUnavailable
from killsyncd.auth.sso import SsoClient
from killsyncd.core.errors import TokenRefused
from tests.support.clocks import ManualClock
from tests.support.sso_server import (
    CHARACTER,
    CLIENT_ID,
    KID,
    SCOPE,
    SsoServer,
    client_of,
    ec_key,
    html,
    public,
    rsa_key,
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


# -- verification ------------------------------------------------------------------------------


async def test_a_good_token_says_who(client: SsoClient, server: SsoServer, clock: ManualClock) -> None:
    identity = await client.verify(server.access_token())
    assert identity.character_id == CHARACTER
    assert identity.name == "Some Pilot"
    assert identity.owner_hash == "owner-hash-1"
    assert identity.scopes == {SCOPE}
    assert identity.expires_at == int(clock.now()) + 1199
    assert server.count("jwks") == 1


@pytest.mark.parametrize(
    ("scp", "scopes"),
    [(SCOPE, {SCOPE}), ([SCOPE, "publicData"], {SCOPE, "publicData"}), ([], set()), (None, set())],
)
async def test_scopes_as_string_list_or_absent(
    client: SsoClient, server: SsoServer, scp: object, scopes: set[str]
) -> None:
    assert (await client.verify(server.access_token(scp=scp))).scopes == scopes


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.eveonline.com",
        "login.eveonline.com",
        "https://login.eveonline.com/",
        "<base>",
        "<bare>",
    ],
)
async def test_issuers_that_are_accepted(client: SsoClient, server: SsoServer, issuer: str) -> None:
    issuer = issuer.replace("<base>", server.url).replace("<bare>", server.url.removeprefix("http://"))
    await client.verify(server.access_token(iss=issuer))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.evepc.163.com"},
        {"iss": None},
        {"iss": ["https://login.eveonline.com"]},
        {"aud": CLIENT_ID},
        {"aud": "EVE Online"},
        {"aud": ["another", "EVE Online"]},
        {"aud": None},
        {"aud": [7]},
        {"azp": "another"},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1_700_000_000},
        {"nbf": 4_000_000_000},
        {"sub": "CHARACTER:EVE:0"},
        {"sub": "CHARACTER:EVE:12x"},
        {"sub": "CHARACTER:EVE:١٢"},
        {"sub": "CORPORATION:EVE:12"},
        {"sub": "CHARACTER:EVE:9223372036854775808"},
        {"sub": "CHARACTER:EVE:12\n"},
        {"sub": 12},
        {"owner": None},
        {"owner": ""},
        {"name": None},
        {"name": "bell\x07"},
        {"scp": 7},
        {"scp": [7]},
    ],
)
async def test_claims_that_do_not_hold(client: SsoClient, server: SsoServer, claims: dict[str, Any]) -> None:
    token = server.access_token(**claims)
    with pytest.raises(TokenRefused) as refused:
        await client.verify(token)
    assert token not in str(refused.value)


async def test_azp_may_be_absent(client: SsoClient, server: SsoServer) -> None:
    await client.verify(server.access_token(azp=None))


async def test_expiry_has_a_small_leeway(client: SsoClient, server: SsoServer, clock: ManualClock) -> None:
    server.life = 40
    token = server.access_token()
    await clock.advance(60)
    await client.verify(token)
    await clock.advance(11)
    with pytest.raises(TokenRefused, match="expired"):
        await client.verify(token)


async def test_other_algorithms_are_refused(client: SsoClient, server: SsoServer) -> None:
    es256 = server.access_token(key=ec_key(), alg="ES256")
    payload = es256.split(".")[1]
    # The public key, which anybody has, taken for the secret of an HMAC.
    signed = f"{_b64({'alg': 'HS256', 'kid': rsa_key().kid})}.{payload}"
    mac = hmac.digest(rsa_key().as_pem(private=False), signed.encode(), hashlib.sha256)
    confused = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    none = _b64({"alg": "none", "kid": rsa_key().kid})
    for token in (
        es256,
        confused,
        f"{none}.{payload}.",
        "",
        "a.b",
        "x" * 20000,
        "ü.ü.ü",
    ):
        with pytest.raises(TokenRefused):
            await client.verify(token)
    assert server.count("jwks") == 0, "none of these was worth a question"


async def test_a_signature_by_another_key_of_the_same_name(client: SsoClient, server: SsoServer) -> None:
    forged = RSAKey.generate_key(2048, {"kid": KID})
    with pytest.raises(TokenRefused, match="signature"):
        await client.verify(server.access_token(key=forged))
    head, payload, signature = server.access_token().split(".")
    with pytest.raises(TokenRefused, match="signature"):
        await client.verify(f"{head}.{payload[:-4]}AAAA.{signature}")


async def test_a_token_without_kid(client: SsoClient, server: SsoServer) -> None:
    token = jwt.encode({"alg": "RS256"}, _claims(server), rsa_key())
    with pytest.raises(TokenRefused, match="no key"):
        await client.verify(token)


async def test_a_rotated_key_is_fetched_once_and_at_once(client: SsoClient, server: SsoServer) -> None:
    await client.verify(server.access_token())
    for fetches, name in enumerate(("next", "the-one-after"), start=2):
        server.keys = [public(ec_key()), public(rsa_key(name))]
        for _ in range(3):
            await client.verify(server.access_token(key=rsa_key(name)))
        assert server.count("jwks") == fetches


async def test_a_key_replaced_under_its_name(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    await client.verify(server.access_token())
    replaced = RSAKey.generate_key(2048, {"kid": KID, "use": "sig", "alg": "RS256"})
    server.keys = [public(replaced)]
    for _ in range(3):
        await client.verify(server.access_token(key=replaced))
    assert server.count("jwks") == 2
    await clock.advance(61)
    for _ in range(3):
        with pytest.raises(TokenRefused, match="signature"):
            await client.verify(server.access_token())
    assert server.count("jwks") == 3, "a bad signature does not make us hammer the SSO"
    await client.verify(server.access_token(key=replaced))


async def test_an_unknown_key_does_not_hide_a_rotation(client: SsoClient, server: SsoServer) -> None:
    await client.verify(server.access_token())
    with pytest.raises(TokenRefused, match="does not publish"):
        await client.verify(server.access_token(key=rsa_key("unpublished")))
    server.keys = [public(rsa_key("next"))]
    await client.verify(server.access_token(key=rsa_key("next")))
    assert server.count("jwks") == 3


async def test_unknown_keys_are_asked_for_once_a_minute(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    unknown = server.access_token(key=rsa_key("unpublished"))
    for _ in range(5):
        with pytest.raises(TokenRefused, match="does not publish"):
            await client.verify(unknown)
    assert server.count("jwks") == 1
    await client.verify(server.access_token())
    await clock.advance(61)
    with pytest.raises(TokenRefused):
        await client.verify(unknown)
    assert server.count("jwks") == 2


async def test_a_withdrawn_key_is_forgotten_within_the_hour(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    await client.verify(server.access_token())
    server.keys = [public(rsa_key("next"))]
    await clock.advance(3601)
    with pytest.raises(TokenRefused, match="does not publish"):
        await client.verify(server.access_token())


async def test_known_keys_serve_while_the_sso_is_down(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    await client.verify(server.access_token())

    async def down(_: web.Request) -> web.StreamResponse:
        return html(502)

    server.overrides["jwks"] = down
    await clock.advance(3601)
    await client.verify(server.access_token())


async def test_without_keys_nothing_is_refused_only_postponed(
    client: SsoClient, server: SsoServer, clock: ManualClock
) -> None:
    async def down(_: web.Request) -> web.StreamResponse:
        return html(502)

    server.overrides["jwks"] = down
    for _ in range(3):
        with pytest.raises(SsoUnavailable):
            await client.verify(server.access_token())
    assert server.count("jwks") == 1, "a dead SSO is not hammered for every token"
    del server.overrides["jwks"]
    await clock.advance(6)
    await client.verify(server.access_token())


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "RSA", "kid": "JWT-Signature-Key"}],
        [{"kty": "RSA", "kid": "JWT-Signature-Key", "n": "AQAB", "e": "AQAB"}],
        [7, None, {"kty": "oct", "kid": "JWT-Signature-Key", "k": "c2VjcmV0"}],
    ],
)
async def test_a_key_set_without_a_usable_key(client: SsoClient, server: SsoServer, keys: list[Any]) -> None:
    server.keys = keys
    with pytest.raises(SsoUnavailable):
        await client.verify(server.access_token())


@pytest.mark.parametrize(
    "bad",
    [
        [{"kty": "RSA", "kid": "other", "n": 5, "e": None}, 7, None, [], {"kid": KID}],
        [{"kty": "RSA", "kid": KID, "n": "_" * 60_000, "e": "AQAB"}],
        [{"kty": "RSA", "kid": f"bad-{n}", "n": "!", "e": "AQAB"} for n in range(150)],
        [public(RSAKey.generate_key(2048, {"kid": KID, "use": "sig", "alg": "RS256"}))],
        [{**public(RSAKey.generate_key(2048, {"kid": KID})), "use": "enc"}],
    ],
    ids=["no keys", "absurd", "many", "another of that name", "for something else"],
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_key_that_cannot_be_used_hides_no_other(
    client: SsoClient, server: SsoServer, bad: list[Any], first: bool
) -> None:
    server.keys = [*bad, *server.keys] if first else [*server.keys, *bad]
    assert (await client.verify(server.access_token())).character_id == CHARACTER


async def test_many_scopes_fit(client: SsoClient, server: SsoServer) -> None:
    scopes = [f"esi-something.read_something_long_{n}.v1" for n in range(80)] + [SCOPE]
    assert len((await client.verify(server.access_token(scp=scopes))).scopes) == 81


def _claims(server: SsoServer) -> dict[str, Any]:
    payload = server.access_token().split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def _b64(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
