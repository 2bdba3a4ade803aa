"""Errors as GraphQL shows them: a code that is stable, a remedy, and nothing of our insides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from killsyncd.core.deployment import fit
from killsyncd.core.errors import BadInput, KillsyncdError, LoginRefused, NotFound, Unavailable, UsageError
from killsyncd.core.logging import get_sparing_logger
from killsyncd.core.read_model import TooMuch

log = get_sparing_logger(__name__)

BAD_USER_INPUT = "BAD_USER_INPUT"
UNAUTHENTICATED = "UNAUTHENTICATED"
NOT_FOUND = "NOT_FOUND"
TOO_EXPENSIVE = "TOO_EXPENSIVE"
UNAVAILABLE = "UNAVAILABLE"
INTERNAL = "INTERNAL"

_MAX_SHOWN = 5
"""Errors of one query that are told; more say nothing new."""

_VALUES = re.compile(r'"[^"]*"|(?<=got invalid value ).*', re.S)


class Unauthenticated(KillsyncdError):
    """No token, or not ours."""

    def __init__(self) -> None:
        super().__init__(
            "this needs the daemon's token",
            "send Authorization: Bearer <content of [api] token_file>; in a browser: log in on the dashboard",
        )


def code_of(error: BaseException) -> str:
    """The code for something that was raised."""
    if isinstance(error, Unauthenticated):
        return UNAUTHENTICATED
    if isinstance(error, TooMuch):
        return TOO_EXPENSIVE
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, BadInput | UsageError | LoginRefused):
        return BAD_USER_INPUT
    if isinstance(error, Unavailable):
        return UNAVAILABLE
    return INTERNAL


def plain(error: KillsyncdError) -> dict[str, Any]:
    """An error of ours that belongs to no field."""
    extensions: dict[str, Any] = {"code": code_of(error)}
    if error.hint:
        extensions["remedy"] = fit(error.hint)
    return {"message": fit(error.message), "extensions": extensions}


def formatted(error: GraphQLError) -> dict[str, Any]:
    """One error of a query, as it is sent."""
    cause = cause_of(error)
    if isinstance(cause, KillsyncdError) and code_of(cause) != INTERNAL:
        shown = plain(cause)
    elif error.path is None or (cause is None and "cannot represent" not in error.message):
        # Without a path the request itself is wrong, also where reading it raised: a number of 5,000 digits.
        shown = {"message": error.message, "extensions": {"code": BAD_USER_INPUT}}
    else:
        log.exception("a query failed", cause or error, field=_path(error))
        shown = {
            "message": "something went wrong inside the daemon; its log says what",
            "extensions": {"code": INTERNAL},
        }
    if error.locations:
        shown["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path:
        shown["path"] = list(error.path)
    return shown


def formatted_all(errors: Sequence[GraphQLError]) -> list[dict[str, Any]]:
    """The errors of a query, as they are sent, and one line in the log."""
    shown = [formatted(each) for each in errors[:_MAX_SHOWN]]
    if errors:
        first = shown[0]
        log.info(
            "query refused" if errors[0].path is None else "query answered in part",
            code=first["extensions"]["code"],
            reason=for_log(first["message"]),
            errors=len(errors),
        )
    return shown


def for_log(message: str) -> str:
    """A message about a query without the values in it: somebody may have sent a code or a token."""
    return _VALUES.sub('"..."', message)[:200]


def cause_of(error: GraphQLError) -> BaseException | None:
    """What a resolver raised; None for errors of the query itself."""
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _path(error: GraphQLError) -> str:
    return ".".join(str(each) for each in error.path or ())
