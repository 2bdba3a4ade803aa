"""Codes, grants and refresh tokens: the memory of the SSO."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .clock import SimClock
from .config import SimulatorConfig
from .ledger import RequestLedger
from .tokens import Keys
from .world import World

CODE_LIFE = 300.0


@dataclass(frozen=True, slots=True)
class Application:
    """A registered application; without a secret it is a public one."""

    client_id: str
    secret: str | None = None
    redirect_uris: tuple[str, ...] = ()


@dataclass(slots=True)
class AuthorizationCode:
    """An authorization code, good once and for five minutes."""

    client_id: str
    character_id: int
    scopes: tuple[str, ...]
    redirect_uri: str
    challenge: str | None
    born: float
    used: bool = False


@dataclass(slots=True)
class SimulatedGrant:
    """What a pilot allowed an application. It lives until it is revoked."""

    client_id: str
    character_id: int
    scopes: tuple[str, ...]
    refresh_token: str
    revoked: bool = False
    replaced: dict[str, float] = field(default_factory=dict)
    """Refresh tokens that were replaced, and when (monotonic)."""
    unanswered: set[str] = field(default_factory=set)
    """Those whose replacement was lost on the way: using them again is no breach."""


class OAuthError(Exception):
    """An error of RFC 6749, 5.2; `code` goes into the body."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


class SimulatedGrants:
    """All codes and grants, and the tokens made from them."""

    def __init__(
        self, config: SimulatorConfig, clock: SimClock, world: World, keys: Keys, ledger: RequestLedger
    ) -> None:
        self._config = config
        self._clock = clock
        self._world = world
        self._ledger = ledger
        self._random = random.Random(config.seed)
        self.keys = keys
        self.issuer = ""
        self.token_life = config.token_life
        self.rotation: str = config.rotation
        self.clients = {
            config.client_id: Application(config.client_id, config.client_secret, config.redirect_uris)
        }
        self.codes: dict[str, AuthorizationCode] = {}
        self.grants: list[SimulatedGrant] = []
        self._by_token: dict[str, SimulatedGrant] = {}
        self.refreshing: Counter[int] = Counter()

    def client(self, client_id: str) -> Application | None:
        if client_id not in self.clients and self._config.any_client and client_id:
            self.clients[client_id] = Application(client_id)
        return self.clients.get(client_id)

    # From the pilot's yes to tokens

    def new_code(
        self,
        client: Application,
        character_id: int,
        scopes: tuple[str, ...],
        redirect_uri: str,
        challenge: str | None,
    ) -> str:
        code = secrets.token_urlsafe(16)
        self.codes[code] = AuthorizationCode(
            client.client_id, character_id, scopes, redirect_uri, challenge, self._clock.monotonic()
        )
        return code

    def new_grant(self, client_id: str, character_id: int, scopes: tuple[str, ...]) -> SimulatedGrant:
        grant = SimulatedGrant(client_id, character_id, scopes, "")
        self._replace_token(grant)
        self.grants.append(grant)
        return grant

    def _replace_token(self, grant: SimulatedGrant) -> None:
        grant.refresh_token = secrets.token_urlsafe(24)
        self._by_token[grant.refresh_token] = grant

    def age(self, code: AuthorizationCode) -> float:
        """Seconds since the code was made."""
        return self._clock.monotonic() - code.born

    def find(self, refresh_token: str) -> SimulatedGrant | None:
        """The grant that this refresh token belongs, or belonged, to."""
        return self._by_token.get(refresh_token)

    def refresh(self, client: Application, refresh_token: str) -> SimulatedGrant:
        """Use a refresh token, and replace it when rotation says so. Raises OAuthError."""
        grant = self.find(refresh_token)
        if grant is None or grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "The refresh token is unknown.")
        now = self._clock.monotonic()
        if refresh_token != grant.refresh_token:
            replaced = grant.replaced[refresh_token]
            if now >= replaced + self._config.rotation_grace:
                if refresh_token not in grant.unanswered:
                    self._ledger.breach("refresh_token_reused", "sso.token", grant.character_id)
                raise OAuthError("invalid_grant", "The refresh token was replaced.")
        if grant.revoked or grant.character_id not in self._world.pilots:
            raise OAuthError("invalid_grant", "The grant was revoked.")
        if self.rotation == "always" or (self.rotation == "sometimes" and self._random.random() < 0.4):
            grant.replaced[grant.refresh_token] = now
            self._replace_token(grant)
        return grant

    def lost(self, grant: SimulatedGrant, refresh_token: str) -> None:
        """The answer to this refresh never reached the client."""
        if refresh_token != grant.refresh_token:
            grant.unanswered.add(refresh_token)

    def revoke(self, token: str) -> None:
        """RFC 7009: tokens nobody knows are fine."""
        if (grant := self.find(token)) is not None:
            grant.revoked = True

    def answer(self, grant: SimulatedGrant) -> dict[str, Any]:
        """The token endpoint's body."""
        return {
            "access_token": self.access_token(grant),
            "expires_in": int(self.token_life),
            "token_type": "Bearer",
            "refresh_token": grant.refresh_token,
        }

    def access_token(self, grant: SimulatedGrant) -> str:
        """A JWT with the claims of EVE's SSO (CCP's SSO documentation)."""
        pilot = self._world.pilots[grant.character_id]
        scopes = [scope for scope in grant.scopes if scope not in pilot.lost_scopes]
        now = int(self._clock.wall())
        claims: dict[str, Any] = {
            "jti": secrets.token_hex(16),
            "kid": "JWT-Signature-Key",
            "sub": f"CHARACTER:EVE:{pilot.character_id}",
            "azp": grant.client_id,
            "tenant": "tranquility",
            "tier": "live",
            "region": "world",
            "aud": [grant.client_id, "EVE Online"],
            "name": pilot.name,
            "owner": pilot.owner_hash(self._config.seed),
            "exp": now + int(self.token_life),
            "iat": now,
            "iss": self.issuer,
        }
        if scopes:  # one scope is a string, several are a list, none is no claim at all
            claims["scp"] = scopes[0] if len(scopes) == 1 else scopes
        return self.keys.sign(claims)
