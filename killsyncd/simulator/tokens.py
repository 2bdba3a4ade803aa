"""The SSO's keys, and the access tokens (JWT, RFC 7519) that they sign.

Made with cryptography's primitives alone: the clients' JOSE library must not vouch for itself.
"""

from __future__ import annotations

import base64
import secrets
from collections import OrderedDict
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa


class TokenError(Exception):
    """A token that ESI would not take; the message says why."""


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Keys:
    """RS256 keys with their `kid`, and the ES256 key that stands in EVE's set without signing anything."""

    def __init__(self) -> None:
        self._private: dict[str, rsa.RSAPrivateKey] = {}
        self._published: list[str] = []
        self._current = ""
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._seen: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.rotate()

    def rotate(self, *, keep_old: bool = True) -> str:
        """A new signing key; the old ones stay in the set unless told otherwise. Returns its `kid`."""
        kid = f"JWT-Signature-Key-{len(self._private) + 1}-{secrets.token_hex(3)}"
        self._private[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._published = [*self._published, kid] if keep_old else [kid]
        self._current = kid
        self._seen.clear()
        return kid

    def jwks(self) -> dict[str, Any]:
        """The published set (RFC 7517)."""
        keys: list[dict[str, str]] = []
        for kid in self._published:
            numbers = self._private[kid].public_key().public_numbers()
            keys.append(
                {
                    "alg": "RS256",
                    "e": _number(numbers.e),
                    "kid": kid,
                    "kty": "RSA",
                    "n": _number(numbers.n),
                    "use": "sig",
                }
            )
        point = self._ec.public_key().public_numbers()
        keys.append(
            {
                "alg": "ES256",
                "crv": "P-256",
                "kid": "8878a23f-2489-4045-989e-4d2f3ec1ae1a",
                "kty": "EC",
                "use": "sig",
                "x": b64(point.x.to_bytes(32, "big")),
                "y": b64(point.y.to_bytes(32, "big")),
            }
        )
        return {"SkipUnresolvedJsonWebKeys": True, "keys": keys}

    def sign(self, claims: dict[str, Any]) -> str:
        """A compact JWS with the current key."""
        head = b64(orjson.dumps({"alg": "RS256", "kid": self._current, "typ": "JWT"}))
        signed = f"{head}.{b64(orjson.dumps(claims))}"
        signature = self._private[self._current].sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64(signature)}"

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that we signed; its times are the caller's to check. Raises TokenError."""
        if (known := self._seen.get(token)) is not None:
            return known
        try:
            head, payload, signature = token.split(".")
            kid = orjson.loads(unb64(head))["kid"]
            key = self._private[kid].public_key()
            key.verify(unb64(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())
            claims: dict[str, Any] = orjson.loads(unb64(payload))
        except (ValueError, KeyError, TypeError, InvalidSignature) as problem:
            raise TokenError("token signature does not verify") from problem
        if kid not in self._published:
            raise TokenError("token was signed with a key that is no longer published")
        self._seen[token] = claims
        if len(self._seen) > 20_000:
            self._seen.popitem(last=False)
        return claims
