"""One database, one scripted SSO and one pilot, for tests of token care."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import KILLMAIL_SCOPE, Identity, NewGrant, SsoUnavailable, TokenSet, renewal_time
from killsyncd.auth.key_file import new_key
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.errors import GrantDead
from killsyncd.core.model import UserState
from tests.support.clocks import ManualClock
from tests.support.grant_store import MemoryGrants

USER = "user-1"
LIST = 7
"""The source that is the pilot's own list."""
CHARACTER = 90000001
MARGIN = 300.0


def gone() -> SsoUnavailable:
    return SsoUnavailable("no answer", "wait", answered=False)


def down() -> SsoUnavailable:
    return SsoUnavailable("cannot be reached", "wait", answered=True)


@dataclass
class ScriptedSso:
    """Rotates strictly: only the refresh token it gave last is good. Tokens are named by a number."""

    clock: ManualClock
    life: float = 1200.0
    current: str = "refresh-0"
    serial: int = 0
    owner: str = "owner-1"
    name: str = "Some Pilot"
    character: int = CHARACTER
    scopes: frozenset[str] = frozenset({KILLMAIL_SCOPE})
    faults: list[Exception] = field(default_factory=list)
    lose_answers: int = 0
    verify_faults: list[Exception] = field(default_factory=list)
    revoke_fault: Exception | None = None
    without_token: SsoUnavailable | None = None
    hold: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    asking: asyncio.Event = field(default_factory=asyncio.Event)

    async def refresh(self, refresh_token: str) -> TokenSet:
        self.asked.append(refresh_token)
        self.asking.set()
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        if refresh_token != self.current:
            raise GrantDead("invalid_grant")
        self.serial += 1
        self.current = f"refresh-{self.serial}"
        if self.lose_answers:
            self.lose_answers -= 1
            raise gone()
        if self.without_token is not None:
            return TokenSet("", self.current, self.clock.now(), self.without_token)
        return TokenSet(f"access-{self.serial}", self.current, self.clock.now() + self.life)

    async def verify(self, access_token: str) -> Identity:
        self.verified.append(access_token)
        if self.verify_faults:
            raise self.verify_faults.pop(0)
        return Identity(self.character, self.name, self.owner, self.scopes, self.clock.now() + 1)

    async def revoke(self, refresh_token: str) -> None:
        if self.revoke_fault:
            raise self.revoke_fault
        self.revoked.append(refresh_token)


class TokenWorld:
    """One database, one SSO, one pilot who logged in, and as many daemons as a test wants."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryGrants(self.clock.now)
        self.vault = Vault([new_key()])
        self.sso = ScriptedSso(self.clock)
        self.manager = self.daemon("daemon-1")

    def daemon(self, name: str) -> TokenManager:
        return TokenManager(
            self.store, self.sso, self.vault, self.clock, name, MARGIN, rng=random.Random(name)
        )

    async def login(self, *, life: float = 1200.0, character: int = CHARACTER, refresh: str = "") -> str:
        now = self.clock.now()
        self.sso.current = refresh or self.sso.current
        grant = NewGrant(
            character_id=character,
            character_name="Some Pilot",
            owner_hash=self.sso.owner,
            scopes=self.sso.scopes,
            state=UserState.OK,
            state_reason=None,
            access_token_enc=self.vault.encrypt("access-login", aad=token_aad(character, "access")),
            refresh_token_enc=self.vault.encrypt(self.sso.current, aad=token_aad(character, "refresh")),
            expires_at=now + life,
            renew_at=renewal_time(now, now + life, MARGIN, random.Random(1)),
        )
        return (await self.store.register(grant)).user_id

    def stored_refresh_token(self, user_id: str = USER) -> str:
        row = self.store.rows[user_id]
        assert row.refresh_token_enc is not None
        return self.vault.decrypt_text(row.refresh_token_enc, aad=token_aad(row.character_id, "refresh"))

    @property
    def state(self) -> UserState:
        return self.store.rows[USER].state
