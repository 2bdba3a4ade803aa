"""What is secret leaves no trace in a log: the last line of defence, over the values of every line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from killsyncd.core.errors import KillsyncdError

MASK = "***"
# Always secret, whatever their value looks like.
_SECRET_FIELDS = frozenset(
    {
        "access_token",
        "authorization",
        "client_secret",
        "code_verifier",
        "cookie",
        "hash",
        "id_token",
        "killmail_hash",
        "password",
        "refresh_token",
        "secret",
        "set_cookie",
        "token",
        "verifier",
    }
)
# Innocent words of ours too (a user's state, a problem's code): secret only when they look random.
_MAYBE_SECRET_FIELDS = frozenset({"code", "state"})
_RANDOM = r"(?![a-z_]+(?![\w%+/.-])|[A-Z_]+(?![\w%+/.-]))[A-Za-z0-9_%+/.~-]{12,}={0,2}"
_LOOKS_RANDOM = re.compile(_RANDOM)
_REDACTIONS = (
    # A JWT, whole or cut: its header is the base64 of '{"'.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}"), MASK),
    # SHA-1, so a killmail's hash: with its id anybody can read the mail.
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{40}(?![0-9A-Za-z])"), MASK),
    (re.compile(r"(?i)(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+)[^\s\"',;]+"), rf"\1{MASK}"),
    (
        re.compile(r"(?i)(\b(?:bearer|basic)\s+)(?=[A-Za-z._~+/=-]*[0-9]|\S{20})[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            r"(?i)(\b(?:access_token|refresh_token|id_token|client_secret|code_verifier|password|token)"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;}\])]+"
        ),
        rf"\1{MASK}",
    ),
    # In an address every code and state is one; in a sentence only what looks random.
    (re.compile(r"([?&](?:code|state)=)[^\s&\"'#]+"), rf"\1{MASK}"),
    (re.compile(r"(\b(?:code|state)[\"']?\s*[=:]\s*[\"']?)" + _RANDOM), rf"\1{MASK}"),
    (re.compile(r"(://[^\s/?#:@\"']*:)[^\s/?#@\"']+(?=@)"), rf"\1{MASK}"),
)


def redact(text: str) -> str:
    """A text without what looks like a token, a code, a state, a password or a killmail's hash."""
    for expression, replacement in _REDACTIONS:
        text = expression.sub(replacement, text)
    return text


def cleaned(name: str, value: Any) -> Any:
    """A field's value with secrets masked, all the way down, as types that JSON has."""
    lowered = name.lower()
    if lowered in _SECRET_FIELDS and isinstance(value, (str, bytes)) and value:
        return MASK
    if isinstance(value, str):
        if lowered in _MAYBE_SECRET_FIELDS and _LOOKS_RANDOM.fullmatch(value):
            return MASK
        return redact(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {str(key): cleaned(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [cleaned(name, each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, KillsyncdError):
        return redact(value.message)
    return redact(str(value))
