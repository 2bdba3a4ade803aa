"""Logins: from the address at the SSO to the stored grant, from whichever of three origins.

A state is good only for the origin it was made for: the browser's with its cookie at the callback,
`killsyncd login`'s at the callback or with --paste, GraphQL's in authenticateWithCode. It is good
once, for ten minutes. Pending states live in the database, so that any daemon can finish a login
and a restart loses none; there they lie hashed, with the PKCE verifier encrypted, so that a stolen
database finishes none.

Unlike a refresh, a login verifies before it stores: until then there is no character to
store for, and what is lost here costs the pilot one more click.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import (
    BY_ITSELF,
    KILLMAIL_SCOPE,
    Identity,
    NewGrant,
    TokenSet,
    renewal_time,
)
from killsyncd.auth.login_state import ORIGINS_AT, LoginOrigin, LoginReturn, LoginRow, LoginState
from killsyncd.auth.ports import GrantStore, LoginStore
from killsyncd.auth.sso import SsoClient
from killsyncd.core.clock import Clock
from killsyncd.core.errors import GrantDead, KillsyncdError, LoginRefused, TokenRefused, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.core.model import REMEDIES, UserState
from killsyncd.core.tasks import SeenThrough

LIFE = 600.0
"""Seconds for which a state is good."""

KEPT = 3600.0
"""Seconds after its end for which a login's outcome can still be asked for."""

COOKIE_PREFIX = "killsyncd_login_"
_MAX_PENDING = 5000  # begun within LIFE, of one origin; beyond it somebody fills our database
_MAX_LENGTH = 4096  # of a code or state; CCP's have some dozens of characters
_BEGIN_AGAIN = "Begin again: killsyncd login, or the dashboard's login button."

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login that waits for its pilot.

    url: where to send the pilot. state: comes back with the code; secret, like url.
    cookie: value for the browser's cookie `cookie_name(state)`, None for the other origins.
    login_id: names the login in `status`; no secret. expires_at: seconds since 1970.
    """

    url: str = field(repr=False)
    state: str = field(repr=False)
    cookie: str | None = field(repr=False)
    login_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A finished login. state: ok, or scope_missing, which `message` then explains."""

    user_id: str
    character_id: int
    character_name: str
    created: bool
    state: UserState
    message: str


@dataclass(frozen=True, slots=True)
class LoginStatus:
    """state: pending (working counts as that), done, failed, expired or unknown."""

    state: LoginState
    user_id: str | None = None
    message: str = ""


class Logins:
    """Begins and finishes logins.

    margin: as for TokenManager, seconds.
    required_scopes: without one of them the pilot is registered as `scope_missing`.
    """

    def __init__(
        self,
        store: LoginStore,
        grants: GrantStore,
        sso: SsoClient,
        vault: Vault,
        clock: Clock,
        margin: float,
        *,
        required_scopes: Collection[str] = (KILLMAIL_SCOPE,),
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._grants = grants
        self._sso = sso
        self._vault = vault
        self._clock = clock
        self._margin = margin
        self._required = frozenset(required_scopes)
        self._rng = rng or random.Random()
        # By origin, those that wait for their pilot, and since when: one that is flooded shuts no other out.
        self._begun: dict[LoginOrigin, dict[str, float]] = {each: {} for each in LoginOrigin}
        self._finishing = SeenThrough("login")

    async def begin(self, origin: LoginOrigin) -> PendingLogin:
        """A new login. Raises Unavailable: the SSO's endpoints are not known, or far too many are pending."""
        begun = self._limit(origin)
        try:
            attempt = await self._sso.begin()
        except Unavailable as error:
            raise _passing(error) from None
        now = self._clock.now()
        cookie = secrets.token_urlsafe(32) if origin is LoginOrigin.BROWSER else None
        state_hash = _digest("state", attempt.state)
        begun[state_hash] = self._clock.monotonic()
        row = LoginRow(
            state_hash=state_hash,
            verifier_enc=self._vault.encrypt(attempt.verifier, aad=_verifier_aad(state_hash)),
            origin=origin,
            cookie_hash=_digest("cookie", cookie) if cookie else None,
            created_at=now,
            expires_at=now + LIFE,
        )
        await self._store.put(row, forget_before=now - KEPT)
        return PendingLogin(attempt.url, attempt.state, cookie, state_hash, row.expires_at)

    async def finish(self, at: LoginReturn, code: str, state: str, cookie: str | None = None) -> LoggedIn:
        """Finish a login with what the pilot brought back. The caller then queues the user at priority 8.

        at: where it was brought. cookie: the value of the browser's cookie `cookie_name(state)`.
        Raises LoginRefused (say it to the pilot), Unavailable (SSO down; the login must be
        begun again). Cancelling the caller does not stop a login half-way.
        """
        if not 0 < len(code) <= _MAX_LENGTH:
            raise LoginRefused("the address holds no code of the SSO", _BEGIN_AGAIN)
        row = await self._take(at, state, cookie)
        verifier = self._vault.decrypt_text(row.verifier_enc, aad=_verifier_aad(row.state_hash))
        return await self._finishing.of(self._finish(row.state_hash, code, verifier))

    async def finish_query(
        self, at: LoginReturn, query: Mapping[str, str], cookie: str | None = None
    ) -> LoggedIn:
        """`finish` with the query that the SSO redirected with; it may tell of an error instead of a code."""
        error = query.get("error", "")
        if not error:
            return await self.finish(at, query.get("code", ""), query.get("state", ""), cookie)
        row = await self._take(at, query.get("state", ""), cookie)
        if error == "access_denied":
            reason = "the pilot did not agree to the login at the SSO"
        else:
            reason = f"the SSO did not carry the login out ({_plain(error)})"
        await self._record(row.state_hash, LoginState.FAILED, None, reason)
        raise LoginRefused(reason, _BEGIN_AGAIN)

    async def finish_redirect(self, url: str) -> LoggedIn:
        """`killsyncd login --paste`: finish with the address that the pilot's browser was sent to.

        Takes the whole address or its query alone, with whatever blanks pasting brought along.
        """
        pasted = "".join(url.split())
        try:
            query = urlsplit(pasted).query or pasted.lstrip("?")
        except ValueError:
            query = pasted
        fields = dict(parse_qsl(query)) if len(pasted) <= 4 * _MAX_LENGTH else {}
        if "state" not in fields or not {"code", "error"} & set(fields):
            raise LoginRefused(
                "that is not the address the SSO redirects to: it holds `code=` and `state=`",
                "Copy the whole address from the browser's address bar after the login, also if the page "
                "itself could not be shown.",
            )
        return await self.finish_query(LoginReturn.PASTE, fields)

    async def status(self, login_id: str) -> LoginStatus:
        """What became of a login (`PendingLogin.login_id`), for those who wait for the pilot."""
        row = await self._store.load(login_id)
        if row is None:
            return LoginStatus(LoginState.UNKNOWN, message="there is no such login any more")
        if row.status in (LoginState.DONE, LoginState.FAILED):
            return LoginStatus(row.status, row.user_id, row.message)
        if self._clock.now() >= row.expires_at:
            return LoginStatus(LoginState.EXPIRED, message="nobody logged in within ten minutes")
        return LoginStatus(LoginState.PENDING)

    async def run(self, stopping: asyncio.Event) -> None:
        """See logins out that are being finished when the daemon stops."""
        await self._finishing.run(stopping)

    async def aclose(self) -> None:
        """Cut short what is still being finished: its pilot begins again."""
        await self._finishing.aclose()

    # -- steps ---------------------------------------------------------------------------------

    async def _take(self, at: LoginReturn, state: str, cookie: str | None) -> LoginRow:
        if not 0 < len(state) <= _MAX_LENGTH:
            raise LoginRefused("the address holds no state", _BEGIN_AGAIN)
        state_hash = _digest("state", state)
        cookie_hash = _digest("cookie", cookie) if cookie else None
        row = await self._store.take(
            state_hash, origins=ORIGINS_AT[at], cookie_hash=cookie_hash, now=self._clock.now()
        )
        if row is None:
            self._refuse(at, await self._store.load(state_hash))
        self._begun[row.origin].pop(state_hash, None)
        return row

    def _refuse(self, at: LoginReturn, row: LoginRow | None) -> NoReturn:
        if row is None:
            why = "this login is not known here (any more)"
        elif row.status is not LoginState.PENDING:
            why = "this login was used already; each address is good once"
        elif self._clock.now() >= row.expires_at:
            why = "this login took longer than ten minutes"
        elif row.origin not in ORIGINS_AT[at]:
            why = f"this login was begun elsewhere ({row.origin}) and must be finished there"
        else:
            raise LoginRefused(
                "this login was begun in another browser",
                "Open the dashboard in this browser and press its login button. Did you not begin a login? "
                "Then somebody sent you theirs: close the page.",
            )
        raise LoginRefused(why, _BEGIN_AGAIN)

    async def _finish(self, state_hash: str, code: str, verifier: str) -> LoggedIn:
        try:
            outcome = await self._grant(code, verifier)
        except KillsyncdError as error:
            await self._record(state_hash, LoginState.FAILED, None, error.message)
            raise
        except Exception:
            await self._record(state_hash, LoginState.FAILED, None, "an error in killsyncd; its log has more")
            raise
        await self._record(state_hash, LoginState.DONE, outcome.user_id, outcome.message)
        log.info("logged in", character_id=outcome.character_id, user_state=outcome.state)
        return outcome

    async def _record(self, state_hash: str, status: LoginState, user_id: str | None, message: str) -> None:
        """For `status`. The login stands or falls without it."""
        try:
            await self._store.finish(state_hash, status=status, user_id=user_id, message=message)
        except Exception as error:
            log.warning("outcome of a login not stored", error=type(error).__name__)

    async def _grant(self, code: str, verifier: str) -> LoggedIn:
        try:
            tokens = await self._sso.exchange(code, verifier)
            identity = await self._sso.verify(tokens.access_token)
        except GrantDead:
            raise LoginRefused(
                "the SSO does not take this code: used already, or too old", _BEGIN_AGAIN
            ) from None
        except TokenRefused as error:
            raise LoginRefused(error.message, error.hint) from None
        except Unavailable as error:
            raise _passing(error) from None
        grant = self._new_grant(identity, tokens)
        registered = await self._grants.register(grant)
        greeting = f"{identity.name} is logged in"
        if grant.state is not UserState.OK:
            greeting = f"{greeting}, but cannot be synced: {grant.state_reason}. {REMEDIES[grant.state]}"
        return LoggedIn(
            registered.user_id,
            identity.character_id,
            identity.name,
            registered.created,
            grant.state,
            greeting,
        )

    def _new_grant(self, identity: Identity, tokens: TokenSet) -> NewGrant:
        missing = self._required - identity.scopes
        character = identity.character_id
        return NewGrant(
            character_id=character,
            character_name=identity.name,
            owner_hash=identity.owner_hash,
            scopes=identity.scopes,
            state=UserState.SCOPE_MISSING if missing else UserState.OK,
            state_reason=f"the login lacks {', '.join(sorted(missing))}" if missing else None,
            access_token_enc=self._vault.encrypt(tokens.access_token, aad=token_aad(character, "access")),
            refresh_token_enc=self._vault.encrypt(tokens.refresh_token, aad=token_aad(character, "refresh")),
            expires_at=tokens.expires_at,
            renew_at=renewal_time(self._clock.now(), tokens.expires_at, self._margin, self._rng),
        )

    def _limit(self, origin: LoginOrigin) -> dict[str, float]:
        """Its callers, who may be anybody, must not fill the database. Answers what waits of this origin."""
        begun = self._begun[origin]
        oldest = self._clock.monotonic() - LIFE
        while begun and next(iter(begun.values())) <= oldest:
            del begun[next(iter(begun))]
        if len(begun) >= _MAX_PENDING:
            raise Unavailable("too many logins were begun and not finished", "Try again in ten minutes.")
        return begun


def _passing(error: Unavailable) -> Unavailable:
    """What killsyncd tries again by itself elsewhere is over for a login: its pilot begins again."""
    return Unavailable(error.message, error.hint.replace(BY_ITSELF, f"Wait a minute. {_BEGIN_AGAIN}"))


def cookie_name(state: str) -> str:
    """The name of the cookie for a state: one each, so that logins in two tabs don't disturb each other."""
    return COOKIE_PREFIX + _digest("state", state)[:12]


def _digest(what: str, value: str) -> str:
    """Hex SHA-256. States and cookies are 256 random bits, so neither salt nor stretching is needed."""
    return hashlib.sha256(f"killsyncd/{what}/{value}".encode("utf-8", "surrogatepass")).hexdigest()


def _verifier_aad(state_hash: str) -> bytes:
    return f"killsyncd/verifier/{state_hash}".encode()


def _plain(error: str) -> str:
    """An error code of the SSO's, as far as it is one: it comes out of an address that anybody can make."""
    return error if error.isascii() and error.replace("_", "").isalnum() and len(error) <= 40 else "unnamed"
