"""Access tokens, checked by another library than the one that makes them."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from killsyncd.simulator.tokens import Keys, TokenError


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def test_the_published_set_verifies_what_was_signed(keys: Keys) -> None:
    token = keys.sign({"sub": "CHARACTER:EVE:1"})
    decoded = jwt.decode(token, KeySet.import_key_set(keys.jwks()), algorithms=["RS256"])  # type: ignore[arg-type]
    assert decoded.claims == {"sub": "CHARACTER:EVE:1"}
    assert decoded.header["kid"] == keys.jwks()["keys"][0]["kid"]


def test_the_set_also_holds_an_es256_key(keys: Keys) -> None:
    assert [key["alg"] for key in keys.jwks()["keys"]] == ["RS256", "ES256"]


def test_a_forged_token_does_not_verify(keys: Keys) -> None:
    head, _, signature = keys.sign({"sub": "CHARACTER:EVE:1"}).split(".")
    _, other, _ = keys.sign({"sub": "CHARACTER:EVE:2"}).split(".")
    forged = f"{head}.{other}.{signature}"
    with pytest.raises(TokenError):
        keys.verify(forged)
    with pytest.raises(BadSignatureError):
        jwt.decode(forged, KeySet.import_key_set(keys.jwks()), algorithms=["RS256"])  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "e30.e30.e30", "ü.ü.ü"])
def test_rubbish_does_not_verify(keys: Keys, token: str) -> None:
    with pytest.raises(TokenError):
        keys.verify(token)


def test_old_tokens_live_as_long_as_their_key_is_published() -> None:
    keys = Keys()
    old = keys.sign({"n": 1})
    first = keys.jwks()["keys"][0]["kid"]
    assert keys.rotate() != first
    assert keys.verify(old) == {"n": 1}
    keys.rotate(keep_old=False)
    with pytest.raises(TokenError, match="no longer published"):
        keys.verify(old)
    assert first not in [key["kid"] for key in keys.jwks()["keys"]]
