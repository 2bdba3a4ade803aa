"""The SSO as killsyncd uses it. Policy (when to refresh, whom to believe) is in auth/, not here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import (
    prepare_grant_uri,
    prepare_token_request,
)
from authlib.oauth2.rfc7009 import (
    prepare_revoke_token_request,
)
from authlib.oauth2.rfc7636 import (
    create_s256_code_challenge,
)

from killsyncd.auth.grant import Identity, LoginAttempt, SsoUnavailable, TokenSet
from killsyncd.auth.sso import claims
from killsyncd.auth.sso.http import SsoHttp, SsoResponse, no_token, refused
from killsyncd.auth.sso.jwks import KeySource
from killsyncd.auth.sso.metadata import MetadataSource
from killsyncd.core.clock import Clock
from killsyncd.core.errors import GrantDead, TokenRefused

TIMEOUT = 20.0
"""Seconds for one request, from the first byte sent to the last read."""

_USUAL_LIFE = 1200.0  # CCP's access tokens live 20 minutes
_MAX_LIFE = 86400.0
_MAX_TOKEN = 16384
_AGAIN = "Begin the login again: killsyncd login, or the dashboard's login button."


class SsoClient:
    """Login, refresh, revocation and verification against one SSO, for one application.

    session: shared, not closed here. Give it no cookie jar (aiohttp.DummyCookieJar).
    base_url: https, or http on loopback; anything else raises ConfigError.
    client_secret: None for a public client, which proves itself by PKCE alone.
    scopes: asked for at login.
    timeout: seconds for each request.

    No method logs anything, and no exception from here holds a token, code, state or secret.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        client_id: str,
        client_secret: str | None,
        callback_url: str,
        scopes: Sequence[str],
        user_agent: str,
        clock: Clock,
        timeout: float = TIMEOUT,
    ) -> None:
        self._client_id = client_id
        self._callback_url = callback_url
        self._scopes = list(scopes)
        self._clock = clock
        self._auth = _client_auth(client_id, client_secret)
        self._http = SsoHttp(session, user_agent=user_agent, clock=clock, timeout=timeout)
        self._metadata = MetadataSource(self._http, base_url, clock)
        self._keys = KeySource(self._http, self._metadata, clock)
        self._issuers = _both_forms(base_url)

    def __repr__(self) -> str:
        return f"<SsoClient {self._client_id}>"

    async def begin(self) -> LoginAttempt:
        """A new address to log in at, with a fresh state (256 bits) and PKCE verifier (RFC 7636, S256).

        Raises SsoUnavailable when the endpoints are not known and cannot be learnt.
        """
        metadata = await self._metadata.get()
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        url = prepare_grant_uri(
            metadata.authorization,
            self._client_id,
            "code",
            redirect_uri=self._callback_url,
            scope=self._scopes,
            state=state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return LoginAttempt(str(url), state, verifier)

    async def exchange(self, code: str, verifier: str) -> TokenSet:
        """Tokens for the code that the pilot came back with (RFC 6749, 4.1.3). Not verified.

        Raises GrantDead (the code is wrong, used, or too old), SsoUnavailable, TokenRefused (no
        refresh token came along).
        """
        asked_at = self._clock.now()
        answer = await self._ask_for_tokens(
            "authorization_code", code=code, redirect_uri=self._callback_url, code_verifier=verifier
        )
        tokens = _token_set(answer, asked_at, fallback="")
        if not tokens.refresh_token:
            raise TokenRefused(
                "the SSO gave no refresh token, so nothing could be synced beyond 20 minutes",
                "Enable the killmail scope for the application at https://developers.eveonline.com.",
            )
        return tokens

    async def refresh(self, refresh_token: str) -> TokenSet:
        """New tokens (RFC 6749, 6). Not verified: persist them first, the old ones may be void by now.

        Raises GrantDead, or SsoUnavailable, whose `answered` tells whether the refresh token
        may have been replaced without our seeing the new one.
        """
        asked_at = self._clock.now()
        answer = await self._ask_for_tokens("refresh_token", refresh_token=refresh_token)
        return _token_set(answer, asked_at, fallback=refresh_token)

    async def verify(self, access_token: str) -> Identity:
        """Who the token is for, with signature and all claims checked.

        Raises TokenRefused, or SsoUnavailable while the keys cannot be had.
        """
        said = await self._signed(access_token)
        issuers = self._issuers | _both_forms((await self._metadata.get()).issuer)
        return claims.identity(
            said,
            now=self._http.time.not_after(),
            latest=self._http.time.not_before(),
            client_id=self._client_id,
            issuers=issuers,
        )

    async def revoke(self, refresh_token: str) -> None:
        """Revoke the grant (RFC 7009).

        Raises SsoUnavailable: keep the token, try again later; GrantDead: the SSO does not know the
        token, which it may say wrongly once.
        """
        endpoint = (await self._metadata.get()).revocation
        if not endpoint:
            raise SsoUnavailable(
                "the SSO names no address for taking grants back",
                "Take it back by hand: https://developers.eveonline.com/authorized-apps",
                answered=True,
            )
        body, headers = prepare_revoke_token_request(refresh_token, "refresh_token")
        answer = await self._post(endpoint, body, headers)
        gone = answer.status == 400 and answer.error in ("invalid_grant", "invalid_token")
        if gone:
            raise GrantDead("the SSO does not know the token that is to be revoked", _AGAIN)
        if answer.status not in (200, 204):
            raise refused(answer, "a revocation")

    async def _signed(self, access_token: str) -> Mapping[str, Any]:
        """The claims, once the signature holds: if need be with a key that came under the old one's name."""
        kid = claims.key_id(access_token)
        keys = await self._keys.get(kid)
        try:
            return claims.verified(access_token, keys)
        except TokenRefused:
            return claims.verified(access_token, await self._keys.get(kid, instead_of=keys))

    async def _ask_for_tokens(self, grant_type: str, **parameters: str) -> SsoResponse:
        endpoint = (await self._metadata.get()).token
        return await self._post(endpoint, prepare_token_request(grant_type, **parameters), {})

    async def _post(self, endpoint: str, body: str, headers: Mapping[str, str]) -> SsoResponse:
        # With a secret: HTTP Basic and no client_id in the form; without: client_id in the form.
        _, signed, form = self._auth.prepare("POST", endpoint, dict(headers), body)
        return await self._http.post_form(endpoint, signed, form)


def _client_auth(client_id: str, client_secret: str | None) -> ClientAuth:
    if not client_secret:
        return ClientAuth(client_id, None, "none")
    # Form-encoded before they are joined (RFC 6749, 2.3.1), which Authlib leaves to its callers.
    return ClientAuth(quote(client_id, safe=""), quote(client_secret, safe=""), "client_secret_basic")


def _token_set(answer: SsoResponse, asked_at: float, *, fallback: str) -> TokenSet:
    document = answer.document
    if answer.status == 400 and answer.error == "invalid_grant":
        raise GrantDead("the SSO says that this grant does not hold (invalid_grant)", _AGAIN)
    if answer.status != 200:
        raise refused(answer, "a request for tokens")
    told = document or {}
    access, replaced = told.get("access_token"), told.get("refresh_token")
    refresh = str(replaced) if _is_token(replaced) else fallback
    if _is_access_token(access):
        return TokenSet(str(access), refresh, _expiry(told.get("expires_in"), str(access), asked_at))
    if fallback and refresh != fallback:
        # The one that was sent is void by now: whatever else is wrong, this one must be stored.
        return TokenSet("", refresh, asked_at, no_token(kept=True))
    raise no_token(kept=False)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TOKEN and value.isascii() and value.isprintable()


def _is_access_token(value: object) -> bool:
    """Whether it has the form of EVE's access tokens. Whether it is good, `verify` says."""
    if not _is_token(value):
        return False
    try:
        claims.key_id(str(value))
    except TokenRefused:
        return False
    return True


def _expiry(expires_in: Any, access_token: str, asked_at: float) -> float:
    """When the token ends by this machine's clock.

    `expires_in` counts, since it is right whatever our clock shows; the JWT's own `exp` only where
    it is missing; CCP's 20 minutes where both are. Should it be wrong, ESI's 401 makes us refresh.
    """
    if isinstance(expires_in, str) and len(expires_in) < 10 and expires_in.isascii() and expires_in.isdigit():
        expires_in = int(expires_in)
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool) and expires_in > 0:
        return asked_at + min(float(expires_in), _MAX_LIFE)
    return claims.unverified_expiry(access_token) or asked_at + _USUAL_LIFE


def _both_forms(issuer: str) -> frozenset[str]:
    """An issuer with its scheme and without: CCP's tokens have come either way."""
    full = issuer.rstrip("/")
    return frozenset({full, full.partition("://")[2] or full}) if full else frozenset()
