"""The SSO's public keys: a JSON Web Key Set (RFC 7517), cached, and fetched again for an unknown `kid`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import RSAKey

from killsyncd.auth.grant import BY_ITSELF, SsoUnavailable
from killsyncd.auth.sso.http import SsoHttp, refused
from killsyncd.auth.sso.metadata import MetadataSource
from killsyncd.core.clock import Clock
from killsyncd.core.errors import TokenRefused
from killsyncd.core.logging import get_logger

log = get_logger(__name__)

LIFE = 3600.0
AGAIN_AFTER = 60.0
"""Seconds between two fetches for the same unknown or changed key: nobody's token makes us hammer the SSO."""

AFTER_FAILURE = 5.0
"""Seconds without a fetch after one that failed: short enough for a pilot who logs in once more."""

_MIN_BITS = 2048  # RFC 7518, 3.3
_MAX_BITS = 16384  # more is what OpenSSL refuses, after long thought
_MAX_KEYS = 100

Keys = tuple[RSAKey, ...]


class KeySource:
    """RS256 keys by `kid`. What is no such key (the set also holds an ES256 one) is left out.

    Several keys may have one name: CCP's never changed, so the next key may come beside the old one.
    """

    def __init__(self, http: SsoHttp, metadata: MetadataSource, clock: Clock) -> None:
        self._http = http
        self._metadata = metadata
        self._clock = clock
        self._keys: dict[str, Keys] = {}
        self._good_until = float("-inf")
        self._not_before = float("-inf")
        self._asked_for: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def get(self, kid: str, *, instead_of: Keys | None = None) -> Keys:
        """The keys of that name.

        instead_of: those a signature did not hold with. Another key may have come under the name; where
        none has, they are the same again.

        Raises TokenRefused when the SSO has no such key, SsoUnavailable when it does not
        tell. Keys that are known go on serving while the SSO is down.
        """
        async with self._lock:
            now = self._clock.monotonic()
            wanted = self._keys.get(kid) is instead_of and now >= self._asked_for.get(kid, now)
            if (wanted or now >= self._good_until) and now >= self._not_before:
                await self._fetch(kid)
                if kid not in self._keys or instead_of is not None:
                    self._restrain(kid)
            if kid in self._keys:
                return self._keys[kid]
            if not self._keys:
                raise _unavailable(self._not_before - self._clock.monotonic())
        raise TokenRefused(
            "a token is signed with a key that the SSO does not publish",
            "It is asked again in a minute. If this stays, check sso.base_url.",
        )

    async def _fetch(self, kid: str) -> None:
        try:
            answer = await self._http.get((await self._metadata.get()).jwks)
            if answer.status != 200 or answer.document is None:
                raise refused(answer, "the question for its keys")
            keys = _usable(answer.document)
            if not keys:
                raise refused(answer, "the question for its keys: no RSA key in it")
        except SsoUnavailable:
            self._not_before = self._clock.monotonic() + AFTER_FAILURE
            if kid in self._keys:
                return
            raise
        self._keys = keys
        self._good_until = self._clock.monotonic() + LIFE

    def _restrain(self, kid: str) -> None:
        now = self._clock.monotonic()
        self._asked_for = {name: until for name, until in self._asked_for.items() if until > now}
        self._asked_for[kid] = now + AGAIN_AFTER


def _unavailable(seconds: float) -> SsoUnavailable:
    return SsoUnavailable(
        "the SSO's keys could not be fetched a moment ago",
        BY_ITSELF,
        answered=True,
        retry_after=max(0.0, seconds),
    )


def _usable(document: Mapping[str, Any]) -> dict[str, Keys]:
    """What can be used of a set. One bad entry hides none of the others."""
    listed = document.get("keys")
    usable: dict[str, Keys] = {}
    found = 0
    for jwk in listed if isinstance(listed, list) else ():
        key = _key(jwk)
        if key is not None and found < _MAX_KEYS:
            found += 1
            usable[jwk["kid"]] = (*usable.get(jwk["kid"], ()), key)
    return usable


def _key(jwk: Any) -> RSAKey | None:
    """An RS256 key for signatures, or None for whatever else stands in a set."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str):
        return None
    if jwk.get("kty") != "RSA" or jwk.get("alg", "RS256") != "RS256" or jwk.get("use", "sig") != "sig":
        return None
    modulus, exponent = jwk.get("n"), jwk.get("e")
    if not isinstance(modulus, str) or not isinstance(exponent, str) or len(modulus) > _MAX_BITS // 6 + 8:
        return None
    try:
        # Only what makes up a public key: no `d` by mistake, no hints we did not ask for.
        key = RSAKey.import_key({"kty": "RSA", "n": modulus, "e": exponent})
        return key if key.raw_value.key_size >= _MIN_BITS else None
    except Exception as error:
        # Two libraries decode what a stranger sent, each with errors of its own.
        log.debug("a key of the SSO cannot be used", error=type(error).__name__)
        return None
