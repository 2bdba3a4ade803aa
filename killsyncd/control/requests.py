"""What comes in over the control socket, checked, and errors as they go out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from killsyncd.core.deployment import fit
from killsyncd.core.errors import (
    AlreadyRunning,
    BadInput,
    KillsyncdError,
    LoginRefused,
    NotFound,
    Refused,
    TokenRefused,
    Unavailable,
    UsageError,
)
from killsyncd.core.model import SourceKind
from killsyncd.service import jsonable

MAX_BODY = 1 << 20
"""Bytes of a JSON body; imports are streamed and not bounded by this."""

_STATUS: tuple[tuple[type[KillsyncdError], int], ...] = (
    (NotFound, 404),
    (UsageError, 400),
    (BadInput, 400),
    (LoginRefused, 400),
    (TokenRefused, 400),
    (AlreadyRunning, 409),
    (Refused, 409),
    (Unavailable, 503),
)

_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of a pair: no UTF-8."""

Reader = Callable[[str, Any], Any]


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer of anything the operations return, with the remedies of this deployment."""
    return web.Response(body=line_of(value), status=status, content_type="application/json")


def line_of(value: Any) -> bytes:
    """The same as a line of an answer that has several."""
    return orjson.dumps(_fitted(jsonable(value)), option=orjson.OPT_APPEND_NEWLINE)


_TOLD = frozenset({"remedy", "hint", "reason", "message", "verdict", "why"})


def _fitted(document: Any, name: str = "") -> Any:
    """The same with every command in a text for people as it has to be typed here."""
    if isinstance(document, dict):
        return {key: _fitted(each, key) for key, each in document.items()}
    if isinstance(document, list):
        return [_fitted(each, name) for each in document]
    return fit(document) if isinstance(document, str) and name in _TOLD else document


def failure(error: KillsyncdError, extra: Mapping[str, Any] | None = None) -> web.Response:
    """An error as `{"error": {"code", "message", "hint"}}`."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return answer({"error": described(error), **(extra or {})}, status)


def described(error: KillsyncdError) -> dict[str, str]:
    """An error's code (its class, `not_found`), message and hint."""
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    return {"code": code, "message": error.message, "hint": error.hint}


async def read_body(request: web.Request, known: Mapping[str, Reader]) -> dict[str, Any]:
    """The JSON object of a request, with the known names alone. An empty body is an empty object.

    Raises BadInput, which names what is wrong and what is allowed.
    """
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadInput(f"the body is larger than {MAX_BODY} bytes") from None
    try:
        document = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise BadInput("the body is no JSON") from None
    if not isinstance(document, dict):
        raise BadInput("the body must be a JSON object")
    unknown = sorted(set(document) - set(known))
    if unknown:
        allowed = ", ".join(known) or "none"
        raise BadInput(f"unknown name {ascii(unknown[0])[:100]} in the body", f"known are: {allowed}")
    return {name: known[name](name, value) for name, value in document.items() if value is not None}


def flag(name: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise BadInput(f"{name} must be true or false")
    return value


def text(name: str, value: Any) -> str:
    """A text that is not empty, and that any database and any log can hold."""
    if not isinstance(value, str) or not value.strip() or len(value) > 10_000 or _UNFIT.search(value):
        raise BadInput(f"{name} must be a text without control characters")
    return value


def texts(name: str, value: Any) -> list[str]:
    """A list of names or ids; a number counts as its digits."""
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list of names or ids")
    return [text(name, str(each) if type(each) is int else each) for each in value]


def numbers(name: str, value: Any) -> list[int]:
    """A list of killmail ids."""
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list of killmail ids")
    return [number(name, str(each) if type(each) is int else each) for each in value]


def source_kind(value: str | None) -> SourceKind | None:
    """A kind of source by its name. Raises BadInput."""
    try:
        return None if value is None else SourceKind(value.lower())
    except ValueError:
        known = ", ".join(SourceKind)
        raise BadInput(f"there is no kind {ascii(value)[:100]}", f"known are: {known}") from None


def number(name: str, value: Any) -> int:
    """One id, from its digits."""
    digits = value.strip() if isinstance(value, str) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and 0 < int(digits) < 2**63):
        raise BadInput(f"{name} must be a number of EVE's, such as 128000001")
    return int(digits)


def query(request: web.Request, *known: str) -> dict[str, str]:
    """The query's parameters, each known and given once. Raises BadInput."""
    for name in request.query:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise BadInput(f"unknown parameter {ascii(name)[:100]}", f"known are: {allowed}")
        if len(request.query.getall(name)) > 1:
            raise BadInput(f"{name} is given twice")
    return {name: text(name, value) for name, value in request.query.items() if value}
