"""What an access token must say before we believe who it is for (RFC 7519; CCP, "Validating JWT tokens")."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from killsyncd.auth.grant import Identity
from killsyncd.core.errors import TokenExpired, TokenRefused

ALGORITHMS = ("RS256",)
AUDIENCE = "EVE Online"
ISSUERS = ("https://login.eveonline.com", "login.eveonline.com")
LEEWAY = 30.0
"""Seconds by which the clocks of the SSO's machines may be ahead of each other (`exp`) or behind (`nbf`)."""

_SUBJECT = re.compile(r"CHARACTER:EVE:([1-9][0-9]{0,18})", re.ASCII)
_MAX_TOKEN = 16384
_MAX_ID = 2**63 - 1
_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)
_HINT = "Nothing was used from it. If this stays, check sso.client_id and sso.base_url."


def key_id(token: str) -> str:
    """The `kid` in the token's header, before anything is verified.

    Raises TokenRefused for what is no RS256 token with a `kid`: `none`, HS256 (a public key
    taken for a shared secret) and all others end here.
    """
    if len(token) > _MAX_TOKEN:
        raise _refused("it is too long")
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except _UNREADABLE:
        raise _refused("it is no signed JSON Web Token") from None
    if header.get("alg") not in ALGORITHMS:
        raise _refused("it is not signed with RS256")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _refused("it names no key")
    return kid


def verified(token: str, keys: Sequence[RSAKey]) -> Mapping[str, Any]:
    """The claims, once the signature holds with one of the keys. Raises TokenRefused."""
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
        except _UNREADABLE:
            continue
    raise _refused("its signature does not hold")


def identity(
    claims: Mapping[str, Any], *, now: float, client_id: str, issuers: Collection[str], latest: float = 0.0
) -> Identity:
    """Who the token is for.

    now, latest: the SSO's clock, between which it is just now, in seconds since 1970. issuers: accepted
    besides CCP's own. Raises TokenExpired, TokenRefused, naming the claim but never showing the token.
    """
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer.removesuffix("/") not in {*ISSUERS, *issuers}:
        raise _refused("`iss` is another issuer")
    audience = claims.get("aud")
    audiences = {audience} if isinstance(audience, str) else _strings(audience, "aud")
    if not {client_id, AUDIENCE} <= audiences:
        raise _refused("`aud` is another application")
    if claims.get("azp", client_id) != client_id:
        raise _refused("`azp` is another application")
    expires_at = _seconds(claims, "exp")
    if now >= expires_at + LEEWAY:
        ago = f"it expired {now - expires_at:.0f} s ago by the SSO's clock"
        raise TokenExpired(f"an access token from the SSO is refused: {ago}", _HINT)
    if "nbf" in claims and max(now, latest) < _seconds(claims, "nbf") - LEEWAY:
        raise _refused("it is not valid yet by the SSO's clock")
    return Identity(
        character_id=_character(claims.get("sub")),
        name=_text(claims, "name"),
        owner_hash=_text(claims, "owner"),
        scopes=_scopes(claims.get("scp")),
        expires_at=expires_at,
    )


def unverified_expiry(token: str) -> float | None:
    """`exp` of a token that was just received over TLS, None where it cannot be read."""
    try:
        claims = jws.extract_compact(token.encode("ascii")).payload
        return _seconds(_json_object(claims), "exp")
    except (*_UNREADABLE, TokenRefused):
        return None


def _json_object(raw: bytes) -> Mapping[str, Any]:
    document = json.loads(raw)
    return document if isinstance(document, dict) else {}


def _character(subject: object) -> int:
    match = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    if match is None or int(match[1]) > _MAX_ID:
        raise _refused("`sub` is no character")
    return int(match[1])


def _scopes(scp: object) -> frozenset[str]:
    """One scope comes as a string, several as a list, none not at all."""
    if scp is None:
        return frozenset()
    return frozenset(scp.split()) if isinstance(scp, str) else frozenset(_strings(scp, "scp"))


def _strings(value: object, claim: str) -> set[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _refused(f"`{claim}` is neither a string nor a list of them")
    return set(value)


def _text(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise _refused(f"`{claim}` is missing or no plain text")
    return value


def _seconds(claims: Mapping[str, Any], claim: str) -> float:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
        raise _refused(f"`{claim}` is missing or no time")
    return float(value)


def _refused(why: str) -> TokenRefused:
    return TokenRefused(f"an access token from the SSO is refused: {why}", _HINT)
