"""One tree of errors. Each carries a hint: what its reader should do next.

Nothing in here may hold a secret: messages end in logs, on terminals and in
GraphQL answers. Whoever raises an error leaves tokens, codes, states and
killmail hashes out of it.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: the daemon cannot be reached
EXIT_CONFIG = 78  # EX_CONFIG: configuration, key or schema refused; systemd must not restart

OBSTACLE_REMEDY = (
    "drop what you have added to it yourself (view, trigger, table, column), start again, and make it anew; "
    "nothing was changed"
)
"""What to do when a migration stumbles over something in the database that is not ours."""


class KillsyncdError(Exception):
    """Something a person should read.

    message: what happened, naming the thing.
    hint: what to do next; empty only where nothing can be done.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class Refused(KillsyncdError):
    """The daemon will not start like this, and starting again will not help."""

    exit_code = EXIT_CONFIG


class ConfigError(Refused):
    """A configuration that does not hold; names section, key, value and what is allowed."""


class KeyRefused(Refused):
    """The encryption key is missing, readable by others, or not the database's."""


class SchemaRefused(Refused):
    """The database is not ours, or is older or newer than this program can use."""


class AlreadyRunning(Refused):
    """Another live daemon holds the socket or the database file."""


class DaemonUnreachable(KillsyncdError):
    """Nobody answers on the control socket."""

    exit_code = EXIT_UNAVAILABLE


class UsageError(KillsyncdError):
    """The command line's words do not fit."""

    exit_code = EXIT_USAGE


class NotFound(KillsyncdError):
    """The thing that was named does not exist here."""


class BadInput(KillsyncdError):
    """What came in (a file, a message, an answer of ESI) is not what it should be."""


class Unavailable(KillsyncdError):
    """A peer (SSO, ESI, database, broker) does not answer just now; worth trying again."""


class GrantDead(KillsyncdError):
    """The SSO says that it does not know a token or code (RFC 6749, 5.2: `invalid_grant`).

    Only auth/sso raises it, and only for HTTP 400 with that code. For a refresh token one such answer is
    no verdict: see auth/refusals.py.
    """


class TokenRefused(KillsyncdError):
    """A token answered by the SSO does not verify (signature, claims, owner)."""


class TokenExpired(TokenRefused):
    """A token whose time is over by the clock of the SSO that made it: another one is to be had."""


class LoginRefused(KillsyncdError):
    """A login cannot be finished: state unknown, used, expired, or from another door."""


class RowRefused(KillsyncdError):
    """The database refuses a value (constraint, range, encoding). Others may still pass."""
