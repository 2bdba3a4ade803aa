"""What ESI's answers look like, and what must be true of them before anybody believes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from killsyncd.esi.responses import MalformedResponse, ResolvedName, ServerStatus
from killsyncd.esi.server_clock import parse_http_date

T = TypeVar("T")

MAX_PAGES = 10_000
MAX_CACHE = 86_400.0
"""No list of ESI's lives longer; an `Expires` beyond is a mistake that would stop us for ever."""


class _Ref(msgspec.Struct, gc=False):
    killmail_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    killmail_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$", max_length=40)]


class _Name(msgspec.Struct, gc=False):
    id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    category: str
    name: str


class _Status(msgspec.Struct):
    players: int
    server_version: str
    start_time: str
    vip: bool = False


class _Error(msgspec.Struct):
    error: str = ""


_refs = msgspec.json.Decoder(list[_Ref])
_names = msgspec.json.Decoder(list[_Name])
_status = msgspec.json.Decoder(_Status)
_error = msgspec.json.Decoder(_Error)

_SECRETIVE = re.compile(r"[A-Za-z0-9_.+/=-]{32,}")


def printable(text: str, length: int = 200) -> str:
    """Text of ESI's for logs and terminals: no control characters, nothing that may be a key, short."""
    text = _SECRETIVE.sub("…", text[: 20 * length])
    text = _visible(text).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises Malformed; msgspec's messages name the path and the types, never a value."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedResponse(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedResponse("no JSON") from None


def decode_refs(body: bytes) -> list[tuple[int, str]]:
    """A page of a list: (id, hash), as often as they stand there."""
    return [(each.killmail_id, each.killmail_hash) for each in _decode(_refs, body)]


def decode_names(body: bytes) -> list[ResolvedName]:
    """An answer of `POST /universe/names`."""
    categories: dict[str, str] = {}
    found = []
    for each in _decode(_names, body):
        category = categories.get(each.category)
        if category is None:
            category = categories[each.category] = printable(each.category, 40)
        found.append(ResolvedName(each.id, category, printable_name(each.name)))
    return found


def printable_name(name: str) -> str:
    """A name as players chose it, cut at 200, control characters taken out."""
    return _visible(name[:200])


def _visible(text: str) -> str:
    if text.isprintable():  # nearly always, and at a hundredth of the price
        return text
    return "".join(each if each.isprintable() else " " for each in text)


def decode_status(body: bytes, expires_at: float) -> ServerStatus:
    """An answer of `GET /status`."""
    found = _decode(_status, body)
    return ServerStatus(
        found.players,
        printable(found.server_version, 40),
        printable(found.start_time, 40),
        found.vip,
        expires_at,
    )


def decode_error(body: bytes) -> str:
    """ESI's `{"error": "..."}`, or nothing: gateways answer HTML."""
    try:
        return printable(_error.decode(body).error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def read_pages(headers: Mapping[str, str]) -> int | None:
    """`X-Pages`, None where it is missing."""
    text = headers.get("X-Pages")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGES and len(text) < 9):
        raise MalformedResponse(f"X-Pages is not a number from 1 to {MAX_PAGES}")
    return int(text)


def read_date(headers: Mapping[str, str], name: str = "Date") -> float | None:
    """A header with an HTTP date, in seconds since 1970; None where it is missing or unreadable."""
    text = headers.get(name)
    return parse_http_date(text) if text is not None else None


def read_expires(headers: Mapping[str, str], now: float) -> float | None:
    """Until when the answer is cached: `Expires`, else `Cache-Control: max-age`, else None. now: ESI's."""
    expires = read_date(headers, "Expires")
    if expires is None:
        match = re.search(r"max-age=(\d{1,9})", headers.get("Cache-Control", ""))
        if match is None:
            return None
        expires = (read_date(headers) or now) + float(match[1])
    return min(expires, now + MAX_CACHE)


def read_number(headers: Mapping[str, str], name: str, *, most: int) -> int | None:
    """A header with a whole number from 0 to `most`; larger ones are cut down to it."""
    text = headers.get(name)
    if text is None or len(text) > 18 or not text.isdecimal():
        return None
    return min(int(text), most)
