"""EVE's single sign-on: metadata, authorize, token, revoke, keys (RFC 6749, 7009, 7636, 8414)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlencode, urlsplit

import orjson
from aiohttp import web

from .answer import Response, RoutedRequest
from .config import SimulatorConfig
from .grants import CODE_LIFE, Application, OAuthError, SimulatedGrant, SimulatedGrants
from .ledger import RequestLedger
from .pages import authorize_page, refusal_page
from .tokens import b64
from .world import World

_Handler = Callable[[Application, Mapping[str, str], RoutedRequest], Response]
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
PATHS = {
    "/.well-known/oauth-authorization-server": "sso.metadata",
    "/v2/oauth/authorize": "sso.authorize",
    "/v2/oauth/token": "sso.token",
    "/v2/oauth/revoke": "sso.revoke",
    "/oauth/jwks": "sso.jwks",
}


def sso_call(path: str) -> RoutedRequest | None:
    """The SSO's route of that path."""
    return RoutedRequest(PATHS[path]) if path in PATHS else None


class SsoRoutes:
    """Answers the SSO's routes."""

    def __init__(
        self, config: SimulatorConfig, world: World, grants: SimulatedGrants, ledger: RequestLedger
    ) -> None:
        self._config = config
        self._world = world
        self._grants = grants
        self._ledger = ledger
        self._turn = 0
        self.base_url = ""
        self.auto_approve = config.auto_approve

    async def answer(self, request: web.BaseRequest, call: RoutedRequest) -> Response:
        match call.route:
            case "sso.metadata":
                return _get(request) or Response(200, orjson.dumps(self._metadata()))
            case "sso.jwks":
                return _get(request) or Response(200, orjson.dumps(self._grants.keys.jwks()))
            case "sso.authorize":
                return _get(request) or self._authorize(request.query)
            case "sso.token":
                return await self._form(request, call, self._token)
            case _:
                return await self._form(request, call, self._revoke)

    def _metadata(self) -> dict[str, object]:
        base = self.base_url
        return {
            "issuer": self._grants.issuer,
            "authorization_endpoint": f"{base}/v2/oauth/authorize",
            "token_endpoint": f"{base}/v2/oauth/token",
            "response_types_supported": ["code", "token"],
            "jwks_uri": f"{base}/oauth/jwks",
            "revocation_endpoint": f"{base}/v2/oauth/revoke",
            "subject_types_supported": ["public"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": ["HS256"],
            "token_endpoint_auth_signing_alg_values_supported": ["HS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    # The pilot's browser

    def _authorize(self, query: Mapping[str, str]) -> Response:
        client = self._grants.client(query.get("client_id", ""))
        redirect_uri = query.get("redirect_uri", "")
        if client is None:
            return refusal_page("The application is unknown", "client_id is not one that is registered here.")
        registered = not client.redirect_uris or redirect_uri in client.redirect_uris
        if not registered or not urlsplit(redirect_uri).scheme:
            # Never redirect to an address that is not the application's (RFC 6749, 3.1.2.4).
            self._ledger.breach("redirect_mismatch", "sso.authorize", redirect_uri)
            return refusal_page(
                "The redirect_uri is not registered", "It must be the application's callback."
            )
        if not query.get("state"):
            self._ledger.breach("state_missing", "sso.authorize")
        challenge = query.get("code_challenge")
        if not challenge or query.get("code_challenge_method") != "S256":
            self._ledger.breach("pkce_missing", "sso.authorize")
            if client.secret is None:
                return _back(query, error="invalid_request", error_description="PKCE with S256 is required.")
        if query.get("response_type") != "code":
            return _back(query, error="unsupported_response_type")
        if "_sim_deny" in query:
            return _back(query, error="access_denied", error_description="The pilot said no.")
        asked = tuple(query.get("scope", "").split())
        if self.auto_approve and "_sim_character" not in query and self._world.pilots:
            pilots = list(self._world.pilots)
            character_id = pilots[self._turn % len(pilots)]
            self._turn += 1
        else:
            picked = query.get("_sim_character", "")
            if not picked:
                return authorize_page(self._world, query, client.client_id, asked)
            if not picked.isdecimal() or int(picked) not in self._world.pilots:
                return refusal_page("There is no such pilot", "Pick one of those that the page shows.")
            character_id = int(picked)
        if "_sim_scopes" in query:
            asked = tuple(scope for scope in query["_sim_scopes"].split() if scope in asked)
        code = self._grants.new_code(client, character_id, asked, redirect_uri, challenge)
        return _back(query, code=code)

    # The application

    async def _form(self, request: web.BaseRequest, call: RoutedRequest, handle: _Handler) -> Response:
        if request.method != "POST":
            return Response(405, b'{"error":"invalid_request"}', {"Allow": "POST"})
        form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        try:
            client = self._client(request.headers.get("Authorization"), form)
            return handle(client, form, call)
        except OAuthError as problem:
            headers = dict(NO_STORE)
            if problem.status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="EVE SSO"'
            body = {"error": problem.code, "error_description": problem.description}
            return Response(problem.status, orjson.dumps(body), headers)

    def _client(self, authorization: str | None, form: Mapping[str, str]) -> Application:
        client_id, secret = form.get("client_id", ""), form.get("client_secret")
        if authorization is not None:
            try:
                scheme, _, value = authorization.partition(" ")
                if scheme.lower() != "basic":
                    raise ValueError(scheme)
                # Both halves are form-encoded before they are joined (RFC 6749, 2.3.1).
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
                client_id, secret = unquote(user), unquote(password)
            except (ValueError, binascii.Error) as problem:
                raise OAuthError(
                    "invalid_client", "The Authorization header cannot be read.", 401
                ) from problem
        client = self._grants.client(client_id)
        if client is None:
            raise OAuthError("invalid_client", "The application is unknown.", 401)
        if client.secret is not None and not hmac.compare_digest(client.secret, secret or ""):
            raise OAuthError("invalid_client", "The application's secret is missing or wrong.", 401)
        return client

    def _token(self, client: Application, form: Mapping[str, str], call: RoutedRequest) -> Response:
        match form.get("grant_type"):
            case "authorization_code":
                grant = self._redeem(client, form)
            case "refresh_token":
                grant = self._grants.refresh(client, form.get("refresh_token", ""))
                self._ledger.refreshes[grant.character_id] += 1
            case _:
                raise OAuthError("unsupported_grant_type", "authorization_code or refresh_token.")
        call.character = grant.character_id
        return Response(200, orjson.dumps(self._grants.answer(grant)), dict(NO_STORE))

    def _redeem(self, client: Application, form: Mapping[str, str]) -> SimulatedGrant:
        code = self._grants.codes.get(form.get("code", ""))
        if code is None or code.client_id != client.client_id:
            raise OAuthError("invalid_grant", "The authorization code is unknown.")
        if code.used:
            self._ledger.breach("code_reused", "sso.token", code.character_id)
            raise OAuthError("invalid_grant", "The authorization code was used before.")
        code.used = True
        if self._grants.age(code) > CODE_LIFE:
            raise OAuthError("invalid_grant", "The authorization code has expired.")
        if form.get("redirect_uri", code.redirect_uri) != code.redirect_uri:
            self._ledger.breach("redirect_mismatch", "sso.token", form["redirect_uri"])
            raise OAuthError("invalid_grant", "The redirect_uri is not the one of the login.")
        verifier = form.get("code_verifier")
        if code.challenge is not None:
            if verifier is None:
                self._ledger.breach("pkce_missing", "sso.token", code.character_id)
                raise OAuthError("invalid_grant", "code_verifier is missing.")
            if b64(hashlib.sha256(verifier.encode()).digest()) != code.challenge:
                self._ledger.breach("pkce_wrong", "sso.token", code.character_id)
                raise OAuthError("invalid_grant", "code_verifier does not belong to the code_challenge.")
        return self._grants.new_grant(client.client_id, code.character_id, code.scopes)

    def _revoke(self, client: Application, form: Mapping[str, str], call: RoutedRequest) -> Response:
        token = form.get("token", "")
        grant = self._grants.find(token)
        if grant is not None and grant.client_id == client.client_id:
            call.character = grant.character_id
            self._grants.revoke(token)
        return Response(200, b"", dict(NO_STORE))


def _get(request: web.BaseRequest) -> Response | None:
    if request.method in ("GET", "HEAD"):
        return None
    return Response(405, b'{"error":"invalid_request"}', {"Allow": "GET"})


def _back(query: Mapping[str, str], **values: str) -> Response:
    """Send the browser back to the application."""
    if query.get("state"):
        values["state"] = query["state"]
    target = query["redirect_uri"]
    joint = "&" if urlsplit(target).query else "?"
    return Response(302, b"", {"Location": f"{target}{joint}{urlencode(values)}", **NO_STORE})
