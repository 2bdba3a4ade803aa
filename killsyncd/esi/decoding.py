"""What ESI's answers look like, and what must be true of them before anybody believes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeGuard, TypeVar

import msgspec

from killsyncd.core.killmail import is_hash
from killsyncd.core.model import Affiliation
from killsyncd.core.server_clock import parse_http_date
from killsyncd.esi.responses import MalformedResponse, ResolvedName, ServerStatus, SetAside

T = TypeVar("T")

MAX_ID = 2**63 - 1
MAX_PAGES = 10_000


class _Ref(msgspec.Struct, gc=False):
    killmail_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    killmail_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$", max_length=40)]


class _Name(msgspec.Struct, gc=False):
    id: Annotated[int, msgspec.Meta(ge=-(2**63), le=MAX_ID)]
    category: str
    name: str


class _Affiliation(msgspec.Struct, gc=False):
    character_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    corporation_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]


class _Corporation(msgspec.Struct, gc=False):
    state: str = ""


class _Price(msgspec.Struct, gc=False):
    type_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    average_price: Annotated[float, msgspec.Meta(gt=0, lt=1e16)] | None = None


class _Status(msgspec.Struct):
    players: int
    server_version: str
    start_time: str
    vip: bool = False


class _Error(msgspec.Struct):
    error: str = ""


_refs = msgspec.json.Decoder(list[_Ref])
_parts = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])
_name = msgspec.json.Decoder(_Name)
_names = msgspec.json.Decoder(list[_Name])
_price = msgspec.json.Decoder(_Price)
_prices = msgspec.json.Decoder(list[_Price])
_status = msgspec.json.Decoder(_Status)
_error = msgspec.json.Decoder(_Error)
_affiliation = msgspec.json.Decoder(_Affiliation)
_corporation = msgspec.json.Decoder(_Corporation)

_SECRETIVE = re.compile(r"[A-Za-z0-9_.+/=-]{32,}")


def printable(text: str, length: int = 200) -> str:
    """Text of ESI's for logs and terminals: no control characters, nothing that may be a key, short."""
    text = _SECRETIVE.sub("…", text[: 20 * length])
    text = _visible(text).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises MalformedResponse; msgspec's messages name the path and the types, never a value."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedResponse(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedResponse("no JSON") from None


def decode_refs(body: bytes) -> tuple[list[tuple[int, str]], tuple[SetAside, ...]]:
    """A page of a list: (id, hash), as often as they stand there, and the entries that cannot be read.

    One bad entry hides no good one. A hash in capitals is the same hash. Raises MalformedResponse where
    nothing on the page looks like an entry.
    """
    try:
        return [(each.killmail_id, each.killmail_hash) for each in _refs.decode(body)], ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # nearly never: then one by one
    good: list[tuple[int, str]] = []
    aside: list[SetAside] = []
    recognized = 0
    parts: list[msgspec.Raw] = _decode(_parts, body)
    for place, part in enumerate(parts, start=1):
        entry, found = f"entry {place}", _fields(part)
        if _whole(killmail_id := found.get("killmail_id")):
            entry = _short_id(killmail_id)
            recognized += 1
        try:
            good.append(_ref_of(found))
        except ValueError as flaw:
            aside.append(SetAside(entry, str(flaw)))
    if aside and not recognized:
        raise MalformedResponse(f"nothing on the page is an entry: {aside[0].reason}")
    return good, tuple(aside)


def _fields(part: msgspec.Raw) -> dict[str, Any]:
    try:
        return _object.decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _ref_of(found: Mapping[str, Any]) -> tuple[int, str]:
    """An entry's id and hash. Raises ValueError with what is wrong, without any value."""
    if not found:
        raise ValueError("it is no JSON object with something in it")
    killmail_id, killmail_hash = found.get("killmail_id"), found.get("killmail_hash")
    if not _whole(killmail_id):
        raise ValueError(f"killmail_id is {'missing' if killmail_id is None else 'no whole number'}")
    if not 1 <= killmail_id <= MAX_ID:
        raise ValueError("killmail_id is not from 1 to 2^63 - 1")
    if not isinstance(killmail_hash, str) or not is_hash(killmail_hash.lower()):
        raise ValueError(f"killmail_hash is {'missing' if killmail_hash is None else 'not 40 hex digits'}")
    return killmail_id, killmail_hash.lower()


def _short_id(value: int) -> str:
    text = str(value) if value.bit_length() < 256 else "a huge number"
    return text if len(text) <= 40 else f"{text[:39]}…"


def decode_names(body: bytes) -> list[ResolvedName]:
    """An answer of `POST /universe/names`. One entry that cannot be read hides no other: it is left out."""
    categories: dict[str, str] = {}
    found = []
    for each in _named(body):
        category = categories.get(each.category)
        if category is None:
            category = categories[each.category] = printable(each.category, 40)
        name = printable_name(each.name)
        if name.strip():
            found.append(ResolvedName(each.id, category, name))
    return found


def _named(body: bytes) -> list[_Name]:
    try:
        return _names.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # nearly never: then one by one
    found: list[_Name] = []
    parts: list[msgspec.Raw] = _decode(_parts, body)
    for part in parts:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.append(_name.decode(part))
    if parts and not found:
        raise MalformedResponse("nothing in it is a name")
    return found


def decode_affiliations(body: bytes) -> list[Affiliation]:
    """An answer of `POST /characters/affiliation`. What cannot be read hides no other: it is left out."""
    found: list[Affiliation] = []
    parts: list[msgspec.Raw] = _decode(_parts, body)
    for part in parts:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            each = _affiliation.decode(part)
            found.append(Affiliation(each.character_id, each.corporation_id))
    if parts and not found:
        raise MalformedResponse("nothing in it says where a character is")
    return found


def decode_corporation_closed(body: bytes) -> bool:
    """An answer of `GET /corporations/{corporation_id}`: whether its `state` is `closed`."""
    found: _Corporation = _decode(_corporation, body)
    return found.state == "closed"


def decode_prices(body: bytes) -> list[tuple[int, float]]:
    """An answer of `GET /markets/prices`: averages by type. An entry that cannot be read, or has no average,
    is left out. Raises MalformedResponse where none is left: a market without prices is a fault of ESI's.
    """
    try:
        read = _prices.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        read = []  # nearly never: then one by one
        parts: list[msgspec.Raw] = _decode(_parts, body)
        for part in parts:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                read.append(_price.decode(part))
    found = [(each.type_id, each.average_price) for each in read if each.average_price is not None]
    if not found:
        raise MalformedResponse("nothing in it is a price")
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


def read_max_age(headers: Mapping[str, str]) -> float | None:
    """`Cache-Control: max-age` in seconds, None where it is missing."""
    match = re.search(r"max-age=(\d{1,9})", headers.get("Cache-Control", ""))
    return None if match is None else float(match[1])


def read_number(headers: Mapping[str, str], name: str, *, most: int) -> int | None:
    """A header with a whole number from 0 to `most`; larger ones are cut down to it."""
    text = headers.get(name)
    if text is None or len(text) > 18 or not text.isdecimal():
        return None
    return min(int(text), most)
