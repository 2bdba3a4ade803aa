"""How long answers are cached, whatever the clocks say."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from killsyncd.esi.caching import CERTAINLY, CacheWaits, cache_end, cached_until

NOW = 1_800_000_000.0
USUAL = 300.0


def headers(*, date: float | None = 0.0, expires: float | None = None, control: str = "") -> dict[str, str]:
    """Headers with these moments, in seconds from NOW."""
    made = {"Cache-Control": control}
    if date is not None:
        made["Date"] = formatdate(NOW + date, usegmt=True)
    if expires is not None:
        made["Expires"] = formatdate(NOW + expires, usegmt=True)
    return made


def test_expires_and_max_age() -> None:
    assert cache_end(headers(expires=300), NOW, USUAL).expires_at == NOW + 300
    assert cache_end(headers(control="public, max-age=200"), NOW, USUAL).expires_at == NOW + 200
    assert cache_end(headers(), NOW, USUAL).expires_at == NOW + USUAL, (
        "as long as ever, where it does not say"
    )
    assert cache_end({"Expires": "0"}, NOW, USUAL).expires_at == NOW + USUAL
    assert cache_end(headers(expires=-5), NOW, USUAL).expires_at == NOW - 5
    assert cached_until(headers(expires=30), NOW) == NOW + 30
    assert cached_until(headers(), NOW) is None
    assert cached_until({"Expires": "0"}, NOW) is None


@pytest.mark.parametrize("wrong", [-3600.0, 3600.0, -86_400.0])
def test_a_machine_of_esi_with_another_clock(wrong: float) -> None:
    """Its Date is wrong, and its Expires either with it or not: the list lives as long as ever."""
    with_it = cache_end(headers(date=wrong, expires=wrong + 300), NOW, USUAL)
    without = cache_end(headers(date=wrong, expires=300), NOW, USUAL)
    assert (with_it.expires_at, with_it.odd) == (NOW + 300, False)
    assert (without.expires_at, without.odd) == (NOW + 300, False)


def test_an_expires_of_2038_is_odd_and_holds_for_a_day() -> None:
    end = cache_end(headers(expires=2_145_916_800.0 - NOW), NOW, USUAL)
    assert (end.expires_at, end.odd) == (NOW + 86_400, True)
    assert not cache_end(headers(expires=4 * USUAL), NOW, USUAL).odd


def test_nothing_is_waited_for_longer_than_it_lives() -> None:
    """By a clock that is an hour behind the list has an hour to live: it is asked for when that is over."""
    waits = CacheWaits()

    def left(monotonic: float, now: float, expires_at: float = NOW + 300) -> float | None:
        wait = waits.left("page", expires_at, life=300.0, after=1.0, now=now, monotonic=monotonic)
        assert wait is None or wait.impossible is (now < NOW - 60)
        return None if wait is None else wait.seconds

    assert left(0.0, NOW - 3600) == 301 + CERTAINLY
    assert left(100.0, NOW - 3500) == 201 + CERTAINLY
    assert left(303.0, NOW - 3297) is None
    waits.answered("page")
    assert left(400.0, NOW + 100) == 201
    assert left(601.0, NOW + 301) is None


def test_another_answer_is_waited_for_anew() -> None:
    waits = CacheWaits()
    first = waits.left("page", NOW + 300, life=300.0, after=1.0, now=NOW - 3600, monotonic=0.0)
    later = waits.left("page", NOW + 600, life=300.0, after=1.0, now=NOW - 3600, monotonic=200.0)
    assert first is not None
    assert later is not None
    assert later.seconds == first.seconds
