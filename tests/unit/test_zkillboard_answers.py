"""zKillboard's answers, right and wrong: ids and hashes come out, nothing else does harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from killsyncd.core.errors import BadInput
from killsyncd.zkillboard.answers import read_file, read_page, read_sequence

HASH = "0123456789abcdef0123456789abcdef01234567"


def entry(killmail_id: Any = 1, killmail_hash: Any = HASH) -> dict[str, Any]:
    return {"killmail_id": killmail_id, "zkb": {"hash": killmail_hash, "totalValue": 1.5, "labels": ["pvp"]}}


def test_a_page() -> None:
    page = read_page(json.dumps([entry(2), entry(1, HASH.upper())]).encode())
    assert (page.entries, page.bad, page.empty) == ([(2, HASH), (1, HASH)], 0, False)
    assert read_page(b"[]").empty


@pytest.mark.parametrize(
    "bad",
    [
        entry("1"),
        entry(0),
        entry(-1),
        entry(2**63),
        entry(None),
        entry(1, None),
        entry(1, "abc"),
        entry(1, "g" * 40),
        entry(1, 5),
        {"killmail_id": 1},
        {"killmail_id": 1, "zkb": None},
        7,
        None,
        [],
    ],
)
def test_a_bad_entry_does_not_hide_good_ones(bad: Any) -> None:
    page = read_page(json.dumps([entry(3), bad, entry(2)]).encode())
    assert (page.entries, page.bad) == ([(3, HASH), (2, HASH)], 1)
    with pytest.raises(BadInput, match="none of the 1 entries"):
        read_page(json.dumps([bad]).encode())


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"<html>", b"[", b'{"error":"x"}', b"\xff\xfe"])
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput, match="no list"):
        read_page(body)


def file(**changes: Any) -> bytes:
    found = {
        "killmail_id": 5,
        "hash": HASH,
        "esi": {
            "killmail_id": 5,
            "victim": {"corporation_id": 98, "ship_type_id": 670},
            "attackers": [{"character_id": 90, "corporation_id": 99}, {"faction_id": 500010}],
        },
        "zkb": {"hash": HASH},
        "sequence_id": 7,
    }
    return json.dumps({**found, **changes}).encode()


def test_a_file_of_the_stream() -> None:
    found = read_file(file())
    assert (found.killmail_id, found.killmail_hash, found.involved) == (5, HASH, {98, 90, 99})
    assert read_file(file(hash=None)).killmail_hash == HASH, "it stands there twice"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        file(killmail_id=None),
        file(killmail_id=0),
        file(hash="x"),
        file(hash=None, zkb=None),
        file(esi=None),
        file(esi={"victim": {}}),
        file(esi={"victim": {"character_id": "1"}, "attackers": []}),
    ],
)
def test_what_is_no_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        read_file(body)


def test_the_sequence() -> None:
    assert read_sequence(b'{"sequence":96000001}') == 96_000_001
    for body in (
        b"",
        b"{}",
        b'{"sequence":"1"}',
        b'{"sequence":-1}',
        b'{"sequence":null}',
        b"[1]",
        b'{"sequence":9223372036854775807}',
    ):
        with pytest.raises(BadInput):
            read_sequence(body)
