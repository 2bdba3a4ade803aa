"""Lines of files: cut anywhere, never kept when too long, read strictly, written back as they came."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import compute_hash, decode
from killsyncd.service import import_export as exchange
from killsyncd.service.import_export import StoredDocument, json_line, parse_since, read_line, split_lines

MAIL = {
    "killmail_id": 1,
    "killmail_time": "2026-01-01T00:00:00Z",
    "solar_system_id": 30000142,
    "victim": {"damage_taken": 1, "ship_type_id": 587},
    "attackers": [{"damage_done": 1, "final_blow": True, "security_status": 0.5}],
}
RAW = json.dumps(MAIL).encode()
HASH = compute_hash(decode(RAW))


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for each in parts:
        yield each


async def lines(*parts: bytes) -> list[tuple[int, bytes | None]]:
    return [each async for each in split_lines(chunks(*parts))]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((), []),
        ((b"",), []),
        ((b"a",), [(1, b"a")]),
        ((b"a\n",), [(1, b"a")]),
        ((b"a\nb",), [(1, b"a"), (2, b"b")]),
        ((b"a", b"b\n", b"\nc"), [(1, b"ab"), (2, b""), (3, b"c")]),
    ],
)
async def test_lines_are_counted(parts: tuple[bytes, ...], found: list[tuple[int, bytes]]) -> None:
    assert await lines(*parts) == found


@given(st.lists(st.binary(max_size=20), max_size=20))
async def test_chunks_cut_anywhere_make_the_same_lines(parts: list[bytes]) -> None:
    text = b"".join(parts)
    expected = text.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line for _, line in await lines(*parts)] == expected


async def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_LINE", 10)
    assert await lines(b"x" * 8, b"y" * 8, b"z" * 8 + b"\nshort\n" + b"w" * 11) == [
        (1, None),
        (2, b"short"),
        (3, None),
    ]
    with pytest.raises(BadInput, match="longer than 10"):
        read_line(None, 0.0)


def test_the_hash_is_computed_or_checked() -> None:
    assert read_line(RAW, 5.0).killmail_hash == HASH
    assert read_line(RAW, 5.0).raw == RAW
    with_hash = json.dumps(MAIL | {"killmail_hash": HASH.upper()}).encode()
    arrival = read_line(with_hash, 5.0)
    assert (arrival.killmail_hash, arrival.at) == (HASH, 5.0)
    assert json.loads(arrival.raw) == MAIL
    first = json.dumps({"killmail_hash": HASH} | MAIL).encode()
    assert json.loads(read_line(first, 5.0).raw) == MAIL
    null = json.dumps(MAIL | {"killmail_hash": None}).encode()
    assert read_line(null, 5.0).killmail_hash == HASH


def test_a_wrong_hash_is_refused_and_not_repeated() -> None:
    for wrong in ("f" * 40, "short", 5):
        with pytest.raises(BadInput) as refusal:
            read_line(json.dumps(MAIL | {"killmail_hash": wrong}).encode(), 0.0)
        assert "ffff" not in str(refusal.value)


@pytest.mark.parametrize("raw", [RAW, json.dumps(MAIL, indent=2).encode(), RAW + b"  \n"])
def test_a_line_out_is_a_line_in(raw: bytes) -> None:
    line = json_line(StoredDocument(1, HASH, raw))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    arrival = read_line(line, 0.0)
    assert arrival.killmail_hash == HASH
    assert json.loads(arrival.raw) == MAIL
    if raw == RAW:
        assert arrival.raw == RAW


def test_unknown_keys_and_a_byte_order_mark_are_fine() -> None:
    line = b"\xef\xbb\xbf" + json.dumps(MAIL | {"zkb": {"points": 1}}).encode()
    assert b'"zkb"' in read_line(line, 0.0).raw


def test_since() -> None:
    assert parse_since("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_since("2026-01-31T12:00:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert parse_since("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    with pytest.raises(BadInput, match="is not a date"):
        parse_since("31.1.2026")
    with pytest.raises(BadInput):
        parse_since("0001-01-01T00:00:00+02:00")


def test_the_example_for_killreport_is_a_line_that_imports() -> None:
    text = (Path(__file__).parents[2] / "docs" / "killreport.md").read_text()
    (example,) = re.findall(r"```json\n\s*(.*?)\n\s*```", text, re.S)
    assert read_line(example.encode(), 0.0).killmail.killmail_id == 1
