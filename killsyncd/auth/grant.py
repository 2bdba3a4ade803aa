"""A pilot's grant: the nouns that SSO, token manager, logins and the store share. Knows nobody but model.

A grant is what a login leaves us with: a refresh token without an end, from which access
tokens of about 20 minutes come.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.model import UserState
from killsyncd.core.sources import KILLMAIL_SCOPE as KILLMAIL_SCOPE

BY_ITSELF = "Nothing to do: killsyncd tries again by itself."
"""The hint of what passes: true of refreshes and revocations. A login is begun again by its pilot."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified access token says.

    owner_hash: changes when the character goes to another account.
    expires_at: seconds since 1970, the token's `exp`.
    """

    character_id: int
    name: str
    owner_hash: str = field(repr=False)
    scopes: frozenset[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """An address at the SSO for the pilot to visit, and what must be known when the pilot comes back.

    All three are secret: whoever holds state and verifier can finish the login.
    """

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant as the store keeps it. Times in seconds since 1970.

    state: never `paused`; pausing lies over it and does not concern the tokens.
    access_token_enc, refresh_token_enc: ciphertexts of the vault, None once they were dropped.
    expires_at: end of the access token; renew_at: when to get the next one.
    version: changes with every change of tokens or state and never comes again; compare-and-swap
        goes by it.
    unanswered_attempts: refreshes that were begun and not answered; each may have replaced
        the refresh token without our learning the new one.
    refusals: `invalid_grant` heard in a row. refused_since: when the first of them was heard.
    list_refused: whether ESI refused (403) a list last time, although the token has the scope.
    failures: refreshes in a row that failed for whatever reason, since tokens were last stored.
    not_before: no refresh before this; 0 where nothing is waited for.
    holder: the living daemon that refreshes it just now, None where nobody does.
    """

    user_id: str
    character_id: int
    character_name: str
    owner_hash: str = field(repr=False)
    state: UserState
    state_reason: str | None
    access_token_enc: bytes | None = field(repr=False)
    refresh_token_enc: bytes | None = field(repr=False)
    expires_at: float
    renew_at: float
    version: int
    unanswered_attempts: int
    refusals: int
    refused_since: float | None
    list_refused: bool
    failures: int
    not_before: float
    holder: str | None


@dataclass(frozen=True, slots=True)
class NewGrant:
    """What a finished login leaves to store. Times in seconds since 1970."""

    character_id: int
    character_name: str
    owner_hash: str = field(repr=False)
    scopes: frozenset[str]
    state: UserState
    state_reason: str | None
    access_token_enc: bytes = field(repr=False)
    refresh_token_enc: bytes = field(repr=False)
    expires_at: float
    renew_at: float


@dataclass(frozen=True, slots=True)
class Registered:
    """created: False where the character was known already (its id and history stay)."""

    user_id: str
    created: bool


class SsoUnavailable(Unavailable):
    """The SSO gave no usable answer; worth trying again, and no reason to disable anybody.

    answered: True when the request certainly changed nothing over there: it never left us, or
        was refused outright (4xx). False when it may have been worked off without our
        seeing the result (time-out, lost connection, 5xx, 2xx that cannot be read):
        a refresh token may then have been replaced.
    retry_after: seconds that the peer asked us to wait, or None.
    everybody: the cause concerns all pilots (SSO down, wrong client secret), not this one.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        answered: bool,
        retry_after: float | None = None,
        everybody: bool = True,
    ) -> None:
        super().__init__(message, hint)
        self.answered = answered
        self.retry_after = retry_after
        self.everybody = everybody


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What the token endpoint answered. Nothing in it is verified.

    expires_at: seconds since 1970, of the access token, by this machine's clock.
    refresh_token: the one to use from now on; it may differ from the one that was sent.
    complaint: the answer held no access token (which is empty then), and all that is worth keeping is
        the refresh token.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    complaint: SsoUnavailable | None = None


class ListRefused(Unavailable):
    """ESI refuses a pilot's list (403), although the token has the scope: asked again before it is believed.

    retry_after: seconds until the list may be asked for again.
    """

    def __init__(self, message: str, hint: str = "", *, retry_after: float) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class LenderLost(Unavailable):
    """A corporation's list cannot be read with this pilot's token: refused, or there is none any more.

    retry_after: seconds until it may be asked for, 0 where another pilot lends a token; None: nobody does.
    """

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class GrantUnusable(KillsyncdError):
    """This pilot's grant gives no tokens just now, and waiting a moment will not help.

    state: why, as the user's state shows it.
    """

    def __init__(self, message: str, hint: str, *, state: UserState) -> None:
        super().__init__(message, hint)
        self.state = state


def renewal_time(now: float, expires_at: float, margin: float, rng: random.Random) -> float:
    """When to renew a token that was obtained at `now` (all in seconds).

    Once less than `margin` is left, and never more than a third of the token's life. Up to a
    fifth of that is taken off at random, so that tokens got together are not renewed together.
    """
    lead = min(margin, max(0.0, expires_at - now) / 3)
    return expires_at - lead * rng.uniform(0.8, 1.0)


@dataclass(frozen=True, slots=True)
class PendingRevocation:
    """A grant that is still to be revoked at the SSO. not_before: seconds since 1970.

    refusals: how often in a row the SSO said that it does not know the token.
    """

    id: int
    character_id: int
    refresh_token_enc: bytes = field(repr=False)
    attempts: int
    not_before: float
    refusals: int = 0
