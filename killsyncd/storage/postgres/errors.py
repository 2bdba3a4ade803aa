"""What PostgreSQL and asyncpg say, in our own tree of errors.

Codes are SQLSTATE, see appendix A of PostgreSQL's manual. What a server says in a
detail may hold values of rows, so details stay out of our messages.
"""

from __future__ import annotations

import asyncpg

from killsyncd.core.errors import (
    OBSTACLE_REMEDY,
    KillsyncdError,
    Refused,
    RowRefused,
    SchemaRefused,
    Unavailable,
)

CHECK = "killsyncd check"

POOLER = (
    "let [database] url lead to PostgreSQL itself: killsyncd keeps a pool of its own, and listens, locks and "
    "sets limits by session, which PgBouncer takes away in transaction mode"
)

DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Whatever a call into asyncpg may raise on its own account; a time-out is an OSError."""

_LOST_CODES = frozenset({"57P01", "57P02", "57P03", "25P03"})
"""Shutdown by the administrator, crash, starting up, idle in a transaction for too long."""

_RACE_CODES = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available."""

READ_ONLY = "25006"
_SHORT = ("53", READ_ONLY)
"""No space, memory or connections left; a standby that is not the primary yet."""

_ROW_CLASSES = ("22", "23")
"""Data exceptions and violated constraints."""

_REFUSED_AT_START = {
    "28000": "let this user in: pg_hba.conf of the server, and the user in [database] url",
    "28P01": "check [database] password_file and the user in [database] url",
    "3D000": "make the database: createdb --owner USER NAME; or correct [database] url",
    "3F000": "the database has no schema to create tables in: CREATE SCHEMA public",
    "42501": "let the user create and change tables: ALTER DATABASE NAME OWNER TO USER",
    "0L000": "let the user create and change tables: ALTER DATABASE NAME OWNER TO USER",
}

_ONLY_HERE = frozenset({"3F000"})
"""Of these what nobody but an operator changes. A user, a password, a database or a right may be on its way:
made by what was started together with us, or being exchanged just now. Waiting for those ends by itself."""

_OBSTACLES = frozenset({"2BP01", "42P07", "42701", "42710"})
"""Something depends on what a migration drops; there is a table, column or constraint of that name."""

_UNAVAILABLE = {
    "53": "the server is short of something (space, memory or connections); work goes on once it has it",
    READ_ONLY: "it takes no writes just now (a standby?); [database] url must lead to the primary",
    "57014": "ask for less at once",
}


class OutcomeUnknown(Unavailable):
    """The connection broke while COMMIT was under way, and the database could not be asked since.

    Transactions are idempotent, so running it again is right.
    """


def code_of(error: BaseException) -> str:
    """The SQLSTATE of a server's error; empty for anything else."""
    return str(getattr(error, "sqlstate", None) or "")


def is_lost(error: BaseException) -> bool:
    """Whether the connection, not the statement, is what failed."""
    code = code_of(error)
    if code:
        return code in _LOST_CODES or code.startswith("08")
    if isinstance(error, asyncpg.InterfaceError):
        # A value that cannot be encoded is an InterfaceError too; everything else there is
        # "connection is closed", "connection was released", "pool is closing".
        return not isinstance(error, ValueError)
    return isinstance(error, (OSError, asyncpg.InternalClientError))


def is_race(error: BaseException) -> bool:
    """Whether the same transaction may well pass when it is run again at once."""
    # A migration made a plan stale: the driver has dropped it.
    return isinstance(error, asyncpg.InvalidCachedStatementError) or code_of(error) in _RACE_CODES


def is_passing(error: BaseException) -> bool:
    """Whether the server is away or short of something, which passes without anybody changing a word."""
    return is_lost(error) or code_of(error).startswith(_SHORT)


def is_read_only(error: BaseException) -> bool:
    """Whether the session's server takes no writes: it is a standby, or became one in a failover."""
    return code_of(error) == READ_ONLY


def row_refusal(error: BaseException) -> KillsyncdError | None:
    """The refusal of a row that an error stands for; None for any other error."""
    if isinstance(error, asyncpg.ForeignKeyViolationError) and str(error.constraint_name).endswith(
        "_holder_fkey"
    ):
        # Not the row's fault: others took us for dead and dropped our row in `daemons`.
        return Unavailable("this daemon's lease has ended", "it signs on again by itself within seconds")
    if code_of(error)[:2] in _ROW_CLASSES:
        return RowRefused(f"the database refuses a row: {error}")
    if isinstance(error, (asyncpg.DataError, OverflowError, UnicodeEncodeError)):
        return RowRefused("the database refuses a row: a value of it is out of range or cannot be encoded")
    return None


def translated(error: BaseException, where: str, *, starting: bool = False) -> KillsyncdError:
    """Our error for one of the server's or the driver's. where: the server, without user and password.

    starting: nothing runs yet, so what will not heal without us is Refused; later it is
    Unavailable, because a daemon at work must not die of an operator's slip on the server.
    """
    if isinstance(error, KillsyncdError):
        return error
    code = code_of(error)
    said = str(error).strip().split("\n")[0] or type(error).__name__
    if code == "08P01" and "startup parameter" in said:
        kind = Refused if starting else Unavailable
        return kind(f"a pooler stands before the database: {where}: {said}", POOLER)
    if code in _REFUSED_AT_START:
        kind = Refused if starting and code in _ONLY_HERE else Unavailable
        return kind(f"the database refuses: {where}: {said}", _REFUSED_AT_START[code])
    if code in _OBSTACLES:
        # The detail of a dependency names objects of the schema, and no values.
        objects = str(getattr(error, "detail", None) or "").split("\n")[:5] if code == "2BP01" else []
        return SchemaRefused(
            f"the schema cannot be changed: {where}: {'; '.join([said, *filter(None, objects)])}",
            OBSTACLE_REMEDY,
        )
    if code in ("42P01", "42703"):
        return SchemaRefused(
            f"the database lacks a table or a column: {where}: {said}",
            "its schema is not this killsyncd's; what it is: killsyncd check",
        )
    for prefix, hint in _UNAVAILABLE.items():
        if code.startswith(prefix):
            return Unavailable(f"the database cannot do it now: {where}: {said}", hint)
    if is_lost(error):
        if isinstance(error, TimeoutError):
            said = "no answer in time"
        return Unavailable(
            f"the database does not answer: {where}: {said}",
            "is PostgreSQL running, and reachable from here?",
        )
    return Unavailable(f"the database does not work: {where}: {type(error).__name__}: {said}", CHECK)
