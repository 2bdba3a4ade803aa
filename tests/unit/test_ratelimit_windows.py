"""Windows, prices and pace as arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.esi.ratelimit.windows import (
    Bucket,
    Chunk,
    Pacer,
    ReservationRequest,
    ReservationResult,
    Usage,
    address_subject,
    character_of,
    character_subject,
    decide,
    eta,
    kept,
    parse_limit,
    price,
    when_free,
    worst_price,
)

BUCKET = Bucket("killmail", address_subject("default"))


def ask(limit: int, want: int = 50, keep: float = 0.0, least: int | None = None) -> ReservationRequest:
    return ReservationRequest(
        BUCKET,
        want,
        worst_price(limit) if least is None else least,
        keep,
        limit,
        900.0,
        now=1000.0,
        spent_at=1000.0,
        held_for=10.0,
    )


@pytest.mark.parametrize(
    ("status", "tokens"),
    [
        (200, 2),
        (204, 2),
        (304, 1),
        (302, 1),
        (400, 5),
        (404, 5),
        (420, 5),
        (422, 5),
        (429, 0),
        (500, 0),
        (503, 0),
    ],
)
def test_prices(status: int, tokens: int) -> None:
    assert price(status) == tokens


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("30/15m", (30, 900.0)),
        ("3600/15m", (3600, 900.0)),
        ("1000/h", (1000, 3600.0)),
        ("5/10s", (5, 10.0)),
        ("7/1d", (7, 86400.0)),
        (" 30/15m ", (30, 900.0)),
        ("0/15m", None),
        ("30/0m", None),
        ("30", None),
        ("30/15", None),
        ("-1/15m", None),
        ("x/15m", None),
        ("30/15m; burst=3", None),
        ("9" * 50 + "/15m", None),
        ("30/999999d", None),
    ],
)
def test_limits_as_headers_write_them(text: str, found: tuple[int, float] | None) -> None:
    assert parse_limit(text) == found


def test_subjects() -> None:
    assert character_of(character_subject("abc", 90000001)) == 90000001
    assert character_of(address_subject("7")) is None


@given(limit=st.integers(1, 5000), used=st.integers(0, 6000), want=st.integers(1, 500), heavy=st.booleans())
def test_what_is_granted_fits(limit: int, used: int, want: int, heavy: bool) -> None:
    keep = 0.15 if heavy else 0.0
    tokens = decide(ask(limit, want, keep), used)
    assert tokens >= 0
    assert tokens == 0 or used + tokens <= limit
    if tokens and limit >= 20:
        assert tokens >= 5
        assert not heavy or used + tokens <= limit - 0.15 * limit
    if used == 0:
        assert tokens > 0  # however tiny the window: an empty one serves somebody


@given(st.integers(20, 4000))
def test_the_last_part_has_room_for_a_request(limit: int) -> None:
    assert kept(limit, 0.15) >= 5
    assert kept(limit, 0.0) == 0


@given(
    limit=st.integers(1, 200),
    spends=st.lists(st.tuples(st.floats(1001, 2000), st.integers(1, 20)), min_size=1, max_size=20),
)
def test_when_tokens_are_back(limit: int, spends: list[tuple[float, int]]) -> None:
    spends.sort()
    wish = ask(limit)
    if decide(wish, sum(tokens for _, tokens in spends)):
        return
    moment = when_free(wish, spends)
    still_out = sum(tokens for returns_at, tokens in spends if returns_at > moment)
    assert decide(wish, still_out)
    before = [returns_at for returns_at, _ in spends if returns_at < moment]
    if before:
        out_before = sum(tokens for returns_at, tokens in spends if returns_at > before[-1])
        assert not decide(wish, out_before)


def test_a_chunk_is_billed_for_what_it_used() -> None:
    chunk = Chunk(ReservationResult(7, 50, 0.0, 50), BUCKET, granted_at=0.0, send_by=10.0, last_part=False)
    chunk.hold(5)
    chunk.hold(5)
    assert chunk.free == 40
    chunk.give_back(5, 2, 1905.0)
    chunk.give_back(5, 0, 1909.0)  # a 5xx: nothing comes back, so its time does not matter
    assert not chunk.over(9.0, 5)
    assert chunk.over(11.0, 5)
    assert (chunk.bill().tokens, chunk.bill().returns_at) == (2, 1905.0)


@given(
    per_second=st.floats(0.1, 500),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=80),
)
def test_the_pace_holds_in_every_span(per_second: float, gaps: list[float]) -> None:
    pacer, now, sent = Pacer(per_second), 50.0, []
    for gap in gaps:
        now += gap
        sent.append(now + pacer.delay(now))
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            span = sent[last] - sent[first]
            assert last - first + 1 <= per_second * (span + 0.1) + 1 + 1e-6


def test_the_pace_is_reached() -> None:
    pacer = Pacer(50)
    delays = [pacer.delay(0.0) for _ in range(101)]
    assert delays[:6] == pytest.approx([0, 0, 0, 0, 0, 0])
    assert delays[-1] == pytest.approx(100 / 50 - 0.1)


def test_eta() -> None:
    usage = Usage(BUCKET, ((1500.0, 100), (1600.0, 3500)), 0.0)
    assert eta(usage, 3600, 900.0, 0, 1000.0, 50.0) == 0.0
    assert eta(usage, 3600, 900.0, 50, 1000.0, 50.0) == 500.0
    assert eta(usage, 3600, 900.0, 51, 1000.0, 50.0) == 600.0
    assert eta(usage, 3600, 900.0, 1800, 1000.0, 50.0) == 600.0
    assert eta(usage, 3600, 900.0, 1801, 1000.0, 50.0) > 900.0
    empty = Usage(BUCKET, (), 0.0)
    assert eta(empty, 3600, 900.0, 100, 1000.0, 50.0) == 2.0
    assert eta(empty, 3600, 900.0, 172_800, 1000.0, 1e9) == pytest.approx(86_400, rel=0.02)
    assert eta(Usage(BUCKET, (), 1060.0), 3600, 900.0, 1, 1000.0, math.inf) == 60.0
