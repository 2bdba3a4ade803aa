"""How the JSON of a killmail is stored."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.storage.documents import DICTIONARY, document_of, pack, unpack


@given(st.binary(max_size=5000))
def test_what_comes_out_is_what_went_in(raw: bytes) -> None:
    assert unpack(*pack(raw)) == raw


def test_the_dictionary_stays_what_it_is() -> None:
    """What was stored with another one could not be read any more."""
    assert zlib.adler32(DICTIONARY) == ADLER


def test_a_stored_text_can_be_read_by_those_who_come_later() -> None:
    stored = bytes.fromhex(STORED)
    assert unpack(stored, len(SENT)) == SENT


def test_a_document_of_an_older_release_stands_as_it_is() -> None:
    assert unpack(b'{"killmail_id":1}', None) == b'{"killmail_id":1}'


def test_it_is_never_unpacked_beyond_its_size() -> None:
    bomb, size = pack(b"0" * 50_000_000)
    assert len(bomb) < 500_000
    for told in (size - 1, size + 1, 10, -1, 1 << 40):
        with pytest.raises(ValueError, match="bytes"):
            unpack(bomb, told)


@given(st.binary(max_size=300), st.integers(-5, 1 << 70))
def test_what_is_damaged_is_told_and_breaks_no_answer(stored: bytes, size: int) -> None:
    try:
        unpack(stored, size)
    except ValueError:
        assert document_of(1, stored, size) == b"{}"


SENT = b'{"killmail_id":7,"killmail_time":"2026-10-01T20:00:00Z","solar_system_id":30000142}'
STORED = "787d1a9c9b3cab46f520308de3f4a021610f1a189a18d502004dc31923"
ADLER = 0x1A9C9B3C
