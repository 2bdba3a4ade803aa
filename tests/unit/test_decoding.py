"""What ESI's answers must be before they are believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from killsyncd.esi import decoding
from killsyncd.esi.caching import read_made_at
from killsyncd.esi.responses import MalformedResponse

HASH = "0123456789abcdef0123456789abcdef01234567"


def ref(**changes: Any) -> dict[str, Any]:
    return {"killmail_id": 7, "killmail_hash": HASH, **changes}


def test_refs() -> None:
    body = json.dumps([ref(), ref(extra=1), ref(killmail_id=2**63 - 1)]).encode()
    assert decoding.decode_refs(body) == ([(7, HASH), (7, HASH), (2**63 - 1, HASH)], ())
    assert decoding.decode_refs(b"[]") == ([], ())


@pytest.mark.parametrize(
    ("bad", "entry", "reason"),
    [
        (ref(killmail_id=2**63), str(2**63), "2^63"),
        (ref(killmail_id=10**60), f"1{'0' * 38}…", "2^63"),
        (ref(killmail_id=0), "0", "from 1"),
        (ref(killmail_id=-7), "-7", "from 1"),
        (ref(killmail_id=True), "entry 2", "no whole number"),
        (ref(killmail_id="7"), "entry 2", "no whole number"),
        (ref(killmail_id=7.5), "entry 2", "no whole number"),
        (ref(killmail_id=None), "entry 2", "missing"),
        (ref(killmail_hash=None), "7", "missing"),
        (ref(killmail_hash=5), "7", "not 40 hex digits"),
        (ref(killmail_hash=HASH + "0"), "7", "not 40 hex digits"),
        (ref(killmail_hash=HASH + "\n"), "7", "not 40 hex digits"),
        (ref(killmail_hash="../../x"), "7", "not 40 hex digits"),
        ([], "entry 2", "no JSON object"),
        ("x", "entry 2", "no JSON object"),
        (None, "entry 2", "no JSON object"),
        ({}, "entry 2", "no JSON object"),
    ],
)
def test_one_bad_entry_hides_no_good_one(bad: Any, entry: str, reason: str) -> None:
    body = json.dumps([ref(killmail_id=5), bad, ref(killmail_id=6)]).encode()
    good, (aside,) = decoding.decode_refs(body)
    assert good == [(5, HASH), (6, HASH)]
    assert aside.entry == entry
    assert reason in aside.reason
    assert HASH not in aside.entry + aside.reason


def test_a_hash_in_capitals_is_the_same_hash() -> None:
    body = json.dumps([ref(killmail_hash=HASH.upper()), ref(killmail_id=8)]).encode()
    assert decoding.decode_refs(body) == ([(7, HASH), (8, HASH)], ())


def test_a_page_of_one_bad_entry_is_read_too() -> None:
    """It may be the last page of many, and would hold up the walk for ever."""
    good, aside = decoding.decode_refs(json.dumps([ref(killmail_id=2**70)]).encode())
    assert (good, len(aside)) == ([], 1)


def test_one_bad_name_hides_no_good_one() -> None:
    body = json.dumps(
        [
            {"id": 1, "category": "character", "name": "One"},
            {"id": 2**64, "category": "character", "name": "Two"},
            {"id": 3, "category": "character", "name": 3},
            {"id": 4, "category": "character", "name": "  "},
            {"id": 5, "category": "character", "name": "Five"},
        ]
    ).encode()
    assert [each.id for each in decoding.decode_names(body)] == [1, 5]
    with pytest.raises(MalformedResponse):
        decoding.decode_names(b'[{"id": "1"}]')


def test_how_old_a_list_is() -> None:
    at, life = 1_000_000.0, 300.0  # Mon, 12 Jan 1970 13:46:40
    modified = {"Last-Modified": "Mon, 12 Jan 1970 13:45:00 GMT"}
    expires = {"Expires": "Mon, 12 Jan 1970 13:50:40 GMT"}
    assert read_made_at({}, at, life) is None
    assert read_made_at({"Last-Modified": "yesterday", "Expires": "0"}, at, life) is None
    assert read_made_at(modified, at, life) == at - 100
    assert read_made_at(expires, at, life) == at - 60
    assert read_made_at({**modified, **expires}, at, life) == at - 60
    stale = {"Last-Modified": "Mon, 12 Jan 1970 10:00:00 GMT", "Expires": "Mon, 12 Jan 1970 10:05:00 GMT"}
    assert read_made_at(stale, at, life) == at - 13_600
    # Neither a list of tomorrow nor one that is kept for a year tells its age.
    tomorrow = {"Last-Modified": "Tue, 13 Jan 1970 13:46:40 GMT", "Expires": "Tue, 19 Jan 2038 03:14:07 GMT"}
    assert read_made_at(tomorrow, at, life) is None


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([ref(killmail_id="7")]),
        json.dumps([ref(killmail_id=7.5)]),
        json.dumps([ref(killmail_id=None)]),
        json.dumps({"error": "x"}),
        "null",
        "",
        "<html>",
        "[" * 50_000,
        '[{"killmail_id": 7',
    ],
)
def test_refs_that_are_none(body: str) -> None:
    with pytest.raises(MalformedResponse) as caught:
        decoding.decode_refs(body.encode())
    assert HASH not in str(caught.value)
    assert HASH.upper() not in str(caught.value)


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(MalformedResponse):
        decoding.decode_refs(b'[{"killmail_hash": "\xff"}]')


@pytest.mark.parametrize(
    ("text", "pages"), [("1", 1), ("50", 50), ("10000", 10000), (None, None)], ids=lambda value: str(value)
)
def test_pages(text: str | None, pages: int | None) -> None:
    headers = CIMultiDict({} if text is None else {"x-pages": text})
    assert decoding.read_pages(headers) == pages


@pytest.mark.parametrize("text", ["0", "-1", "10001", "1.5", "many", "", "9" * 400, "²"])
def test_pages_that_are_none(text: str) -> None:
    with pytest.raises(MalformedResponse, match="X-Pages"):
        decoding.read_pages({"X-Pages": text})


@pytest.mark.parametrize(
    ("text", "found"),
    [("5", 5), ("0", 0), ("999999", 100), ("-1", None), ("x", None), ("²", None), ("", None)],
)
def test_numbers(text: str, found: int | None) -> None:
    assert decoding.read_number({"N": text}, "N", most=100) == found
    assert decoding.read_number({}, "N", most=100) is None


def test_errors_of_esi_are_made_safe_to_show() -> None:
    token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJDSEFSQUNURVI6RVZFOjEyMyJ9"
    body = json.dumps({"error": f"\x1b[2Jno {HASH} for\r\n{token} " + "long " * 500}).encode()
    said = decoding.decode_error(body)
    assert len(said) <= 200
    assert said.isprintable()
    assert HASH not in said
    assert token[:40] not in said
    assert said.startswith("[2Jno … for")
    for nothing in (b"", b"<html>502</html>", b'{"error": 5}', b"[]", b'{"error": "\xff"}'):
        assert decoding.decode_error(nothing) == ""


def test_names_and_status() -> None:
    body = json.dumps([{"id": 1, "category": "character", "name": "A\x07 name"}]).encode()
    (name,) = decoding.decode_names(body)
    assert (name.id, name.category, name.name) == (1, "character", "A  name")
    status = decoding.decode_status(
        b'{"players": 3, "server_version": "1", "start_time": "2026-01-01T00:00:00Z"}', 5.0
    )
    assert (status.players, status.vip, status.expires_at) == (3, False, 5.0)
    with pytest.raises(MalformedResponse):
        decoding.decode_status(b'{"players": "3"}', 5.0)
