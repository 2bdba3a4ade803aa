"""Logins that wait for their pilot: who began them, where they may end, and how the store keeps them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class LoginOrigin(enum.StrEnum):
    """Who began a login."""

    BROWSER = "browser"
    CLI = "cli"
    GRAPHQL = "graphql"


class LoginReturn(enum.StrEnum):
    """Where a pilot comes back."""

    CALLBACK = "callback"
    PASTE = "paste"
    GRAPHQL = "graphql"


ORIGINS_AT: Mapping[LoginReturn, frozenset[LoginOrigin]] = {
    LoginReturn.CALLBACK: frozenset({LoginOrigin.BROWSER, LoginOrigin.CLI}),
    LoginReturn.PASTE: frozenset({LoginOrigin.CLI}),
    LoginReturn.GRAPHQL: frozenset({LoginOrigin.GRAPHQL}),
}
"""Whose logins may end where."""


class LoginState(enum.StrEnum):
    """What became of a login. Stored are pending, working, done and failed."""

    PENDING = "pending"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LoginRow:
    """A login in the database. Times in seconds since 1970.

    state_hash: hex SHA-256 of the state, also the login's public name.
    verifier_enc: ciphertext of the vault; empty once it was taken.
    cookie_hash: hex SHA-256 of the browser's cookie; None for the other origins.
    status: pending, working, done or failed.
    """

    state_hash: str
    verifier_enc: bytes = field(repr=False)
    origin: LoginOrigin
    cookie_hash: str | None
    created_at: float
    expires_at: float
    status: LoginState = LoginState.PENDING
    user_id: str | None = None
    message: str = ""
