"""Whatever comes in from outside: it is read, or refused with an error of ours; nothing else ever gets out.

Each reader meets texts that are nearly right (a right one with a value, a key or a byte of it changed),
values of any shape, and bytes of any kind. What was refused says so in words that a log can hold.
"""

from __future__ import annotations

import base64
import bz2
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killsyncd.amqp import messages
from killsyncd.auth.sso import claims
from killsyncd.config.loader import from_mapping
from killsyncd.core import killmail
from killsyncd.core.errors import KillsyncdError
from killsyncd.core.read_model import FeedEpoch, FeedPoint, Order
from killsyncd.esi import caching, decoding
from killsyncd.pricing.history import forge_prices
from killsyncd.service.cursor import parse_cursor
from killsyncd.service.import_export import read_line
from killsyncd.static_data.records import build_of
from killsyncd.storage.repositories.paging import decode_cursor
from killsyncd.zkillboard import answers

HASH = "0123456789abcdef0123456789abcdef01234567"
MAIL: dict[str, Any] = {
    "killmail_id": 7,
    "killmail_time": "2026-10-01T20:00:00Z",
    "solar_system_id": 30000142,
    "victim": {
        "character_id": 90000001,
        "ship_type_id": 587,
        "damage_taken": 10,
        "position": {"x": 1.5, "y": -2.0, "z": 3.0},
        "items": [
            {
                "flag": 5,
                "item_type_id": 34,
                "quantity_dropped": 2,
                "singleton": 0,
                "items": [{"flag": 5, "item_type_id": 35, "quantity_destroyed": 1, "singleton": 0}],
            }
        ],
    },
    "attackers": [{"damage_done": 10, "final_blow": True, "security_status": -1.5, "ship_type_id": 670}],
}
MESSAGE = {
    "userId": "1",
    "characterId": 90000001,
    "characterName": "Ada",
    "queuedAt": "2026-10-01T20:00:00.000Z",
    "expiresAt": "2026-10-01T20:20:00.000Z",
    "lastKillmailId": 7,
    "accessToken": "x",
    "refreshToken": "y",
}
CSV = (
    "average,date,highest,lowest,order_count,volume,http_last_modified,region_id,type_id\n"
    "1.5,2026-10-01,2,1,3,4,x,10000002,34\n"
)

Reader = Callable[[bytes], object]


def _jwt(payload: bytes) -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = _text({"alg": "RS256", "kid": "a"})
    return f"{part(head)}.{part(payload)}.{part(b'x' * 256)}"


def _feed_cursor(raw: bytes) -> object:
    point = FeedPoint(5, FeedEpoch("abcd1234", ()))
    return parse_cursor(raw.decode("utf-8", "surrogateescape"), point)


READERS: dict[str, tuple[Reader, object]] = {
    "killmail": (killmail.decode, MAIL),
    "list": (decoding.decode_refs, [{"killmail_id": 7, "killmail_hash": HASH}]),
    "names": (decoding.decode_names, [{"category": "character", "id": 90000001, "name": "Ada"}]),
    "affiliations": (
        decoding.decode_affiliations,
        [{"character_id": 90000001, "corporation_id": 98000001, "alliance_id": 99000001}],
    ),
    "prices": (decoding.decode_prices, [{"type_id": 34, "average_price": 5.5, "adjusted_price": 5.0}]),
    "status": (
        lambda raw: decoding.decode_status(raw, 0.0),
        {"players": 1, "server_version": "1", "start_time": "2026-10-01T11:05:00Z"},
    ),
    "error": (decoding.decode_error, {"error": "no", "sso_status": 401}),
    "message": (lambda raw: messages.read(raw, 5), MESSAGE),
    "import": (lambda raw: read_line(raw, 1.8e9), MAIL),
    "zkillboard page": (answers.read_page, [{"killmail_id": 7, "zkb": {"hash": HASH}}]),
    "zkillboard file": (answers.read_file, {"killmail_id": 7, "hash": HASH, "esi": MAIL, "zkb": {}}),
    "zkillboard sequence": (answers.read_sequence, {"sequence": 5}),
    "static build": (lambda raw: build_of(raw.splitlines()), {"_key": "sde", "buildNumber": 1}),
    "token": (lambda raw: claims.unverified_expiry(_jwt(raw)), {"exp": 1.8e9, "sub": "CHARACTER:EVE:1"}),
}

ODD = st.sampled_from(
    [
        None,
        True,
        "",
        "x" * 5000,
        -1,
        0,
        2**31,
        2**63,
        2**64,
        10**400,
        -0.0,
        1e308,
        [],
        {},
        [[[]]],
        "\ud800",
        "\0",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@st.composite
def nearly(draw: st.DrawFn, right: object) -> bytes:
    """The right document with one place of it changed, as JSON or as bytes."""
    document = json.loads(_text(right))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            del place[key]
        break
    raw = _text(document)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=6)) + raw[at + draw(st.integers(0, 6)) :]
    return raw


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_nearly_right_is_read_or_refused(name: str, data: st.DataObject) -> None:
    read, right = READERS[name]
    raw = data.draw(nearly(right) | VALUES.map(_text) | st.binary(max_size=200))
    _read_or_refuse(read, raw)


def test_every_reader_takes_what_is_right() -> None:
    for read, right in READERS.values():
        read(_text(right))


@pytest.mark.parametrize("name", READERS)
def test_what_is_deep_or_long_is_refused_in_time(name: str) -> None:
    read, _ = READERS[name]
    for raw in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" + b"1," * 500_000 + b"1]",
        b'"' + b"\\u0000" * 100_000 + b'"',
    ):
        _read_or_refuse(read, raw)


def _read_or_refuse(read: Reader, raw: bytes) -> None:
    _told(lambda: read(raw))


def _told(call: Callable[[], object], longest: int = 1000) -> None:
    """Anything but an error of ours fails the test, and so does one that no log could hold."""
    try:
        call()
    except KillsyncdError as error:
        message = error.message
    else:
        return
    assert 0 < len(message) < longest, "an error does not repeat what came in"
    assert all(each.isprintable() or each == "\n" for each in message)


@given(
    st.text(max_size=80) | st.sampled_from(["1.", ".1", "-", "abcd1234-5", "abcd1234.99999999999999999999"])
)
def test_cursors_are_ours_or_refused(text: str) -> None:
    _told(lambda: _feed_cursor(text.encode("utf-8", "surrogatepass")))
    _told(lambda: decode_cursor(text, Order.TIME_DESC))


@given(
    st.dictionaries(
        st.sampled_from(["Expires", "Date", "Last-Modified", "ETag", "X-Pages", "Cache-Control", "Age"]),
        st.text(max_size=40)
        | st.sampled_from(
            ["Thu, 01 Jan 1970 00:00:00 GMT", "Sun, 31 Dec 9999 23:59:59 GMT", "-1", "max-age=1e9", "0"]
        ),
    )
)
def test_headers_say_something_or_nothing(headers: dict[str, str]) -> None:
    _told(lambda: decoding.read_pages(headers))
    decoding.read_date(headers)
    decoding.read_max_age(headers)
    until = caching.cache_end(headers, 1.8e9, 300.0)
    assert until is not None
    caching.read_made_at(headers, 1.8e9, 300.0)


SECTION = st.dictionaries(
    st.text(max_size=12) | st.sampled_from(["listen", "url", "interval", "contact"]), VALUES, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["sso", "esi", "database", "queue", "api", "log", "webhooks", "x"]),
        SECTION | VALUES,
        max_size=4,
    )
)
def test_a_configuration_is_read_or_refused(document: dict[str, Any]) -> None:
    _told(lambda: from_mapping(document, source="a test"), longest=100_000)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: bz2.compress(text.encode("utf-8", "replace")))
)
def test_a_day_of_market_history_is_read_or_refused(packed: bytes) -> None:
    _told(lambda: forge_prices(packed, "2026-10-01"))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_day_of_market_history_with_a_line_changed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(CSV)))
    text = CSV[:at] + data.draw(st.text(max_size=8)) + CSV[at + data.draw(st.integers(0, 8)) :]
    _told(lambda: forge_prices(bz2.compress(text.encode("utf-8", "replace")), "2026-10-01"))
