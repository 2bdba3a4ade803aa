"""Prices: packed days, the operator's file, the market's history."""

from __future__ import annotations

import bz2
import random
from array import array
from pathlib import Path

import pytest

from killsyncd.core.errors import BadInput
from killsyncd.esi.decoding import decode_prices
from killsyncd.esi.responses import MalformedResponse
from killsyncd.pricing.book import PriceBook
from killsyncd.pricing.history import forge_prices
from killsyncd.pricing.overrides import cents_of, read_overrides
from killsyncd.pricing.ports import PriceIndex
from killsyncd.pricing.price_day import PriceDay, day_number, day_of, next_day


def test_a_packed_day_is_what_was_packed_and_a_year_of_them_is_small() -> None:
    rng = random.Random(1)
    prices = {each: int(rng.lognormvariate(17, 3)) for each in rng.sample(range(18, 90_000), 14_500)}
    packed = PriceDay(prices.items()).packed()
    read = PriceDay.unpacked(packed)
    assert {each: read.get(each) for each in prices} == prices
    assert read.get(17) is None
    assert len(read) == len(prices)
    assert len(packed) * 365 < 40_000_000
    assert PriceDay.unpacked(PriceDay().packed()).get(1) is None


@pytest.mark.parametrize("cut", [0, 3, 5, 20])
def test_a_packed_day_that_is_damaged_is_refused(cut: int) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        PriceDay.unpacked(PriceDay([(1, 2), (3, 4)]).packed()[:cut])


def test_days_are_numbers() -> None:
    assert day_number(day_of(20261130)) == 20261130
    assert next_day(20261231) == 20270101


@pytest.mark.parametrize(
    ("isk", "cents"),
    [("0.005", 1), ("0.004", 0), ("5.005", 501), ("1331.6666666667", 133167), ("1e3", 100000)],
)
def test_hundredths_are_rounded_half_up(isk: str, cents: int) -> None:
    assert cents_of(isk) == cents


@pytest.mark.parametrize("isk", ["", "-1", "nan", "inf", "1e40", "a", "1,5"])
def test_what_is_no_price_is_refused(isk: str) -> None:
    with pytest.raises(ValueError, match="no number of ISK"):
        cents_of(isk)


def test_the_operators_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(
        "\ufefftype_id,price,from,to\n"
        "# titans\n"
        "\n"
        "11567, 60000000000\n"
        '587,"1.50",2026-11-01,2026-11-30\n'
        "587,2,2026-11-10\n"
        "588,3,,2026-11-10\n"
        "1\n"
        "2,3,2026-11-02,2026-11-01\n",
        "utf-8",
    )
    read = read_overrides(file)
    assert read.get(11567, 20261130) == 60_000_000_000_00
    assert [read.get(587, day) for day in (20261031, 20261101, 20261110, 20271110)] == [None, 150, 200, 200]
    assert [read.get(588, day) for day in (20200101, 20261110, 20261111)] == [300, 300, None]
    assert read.get(589, 20261101) is None
    assert read.told() == "line 8: has to be type_id,price[,from[,to]]; line 9: it ends before it begins"
    assert read.digest == read_overrides(file).digest != ""
    assert read_overrides(None).digest == ""
    with pytest.raises(BadInput, match="cannot be read"):
        read_overrides(tmp_path / "other.csv")


def history(
    *lines: str, header: str = "average,date,highest,lowest,order_count,volume,region_id,type_id"
) -> bytes:
    return bz2.compress("\n".join([header, *lines, ""]).encode())


def test_the_markets_history_is_read_by_its_headers_names() -> None:
    rows = ("5.005,d,1,1,1,1,10000002,587", "9,d,1,1,1,1,10000043,587", "0,d,1,1,1,1,10000002,588")
    found = forge_prices(history(*rows, ",d,1,1,1,1,10000002,589"), "2026-11-01")
    assert [found.get(each) for each in (587, 588, 589)] == [501, None, None]
    other = history("10000002,587,7", "x,y,z", "10000002,588,8", header="region_id,type_id,average")
    assert forge_prices(other, "2026-11-01").get(588) == 800
    halves = history(rows[0])[:0] + bz2.compress(b"region_id,type_id,average\n10000002,587,7\n10000002,58")
    assert forge_prices(halves + bz2.compress(b"8,8\n"), "d").get(588) == 800, "several streams are one file"


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (b"<html>", "no bz2 file"),
        (history("5,d,1,1,1,1,10000002,587")[:-10], "cut short"),
        (history("1,2", header="a,b"), "no column"),
        (history("a,b", "c,d", "1,10000002", header="average,region_id,type_id"), "no such thing"),
        (history(), "no such thing"),
    ],
)
def test_a_history_that_is_none_is_refused(packed: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        forge_prices(packed, "2026-11-01")


def test_esis_prices_one_bad_entry_hides_no_good_one() -> None:
    assert decode_prices(b'[{"type_id":1,"average_price":2.5,"adjusted_price":1},{"type_id":2}]') == [
        (1, 2.5)
    ]
    body = b'[{"type_id":1,"average_price":2.5},{"type_id":"x"},7,{"type_id":3,"average_price":-1}]'
    assert decode_prices(body) == [(1, 2.5)]
    for nothing in (b"[]", b"{}", b"<html>", b'[{"type_id":1}]'):
        with pytest.raises(MalformedResponse):
            decode_prices(nothing)


async def test_a_day_that_cannot_be_read_is_as_if_it_were_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """Damaged, or of a release that came after: it would end the daemon at each start."""
    good = PriceDay([(587, 100)]).packed()

    class Rows:
        async def index(self) -> PriceIndex:
            ids, days = array("q", [587]), (array("q", [20261129]), array("q", [20261130]))
            return PriceIndex((1.0,), [20261129, 20261130], [], ids, *days)

        async def esi_day(self, day: int) -> bytes | None:
            return good[:-3] if day == 20261129 else good

    book = PriceBook(Rows())  # type: ignore[arg-type]
    await book.refresh((1.0,))
    (found,) = (await book.units(20261129, [587])).values()
    assert found is not None
    assert (found.cents, found.day) == (100, 20261130)
    assert "left out" in caplog.text
