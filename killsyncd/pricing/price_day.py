"""The prices of one day, packed: ids and hundredths of an ISK in order of ids. Pure.

Packed are differences between neighbouring ids, then the prices by bytes (all lowest bytes, then the next
ones), deflated: a day of 14,000 types takes some 65 KB, a year 24 MB.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import accumulate, pairwise
from struct import Struct
from struct import error as StructError

from killsyncd.core.errors import BadInput

MOST_TYPES = 1_000_000
MOST_ID = 2**31
"""CCP's types are numbers of six digits at the most."""

MOST_CENTS = 2**62
"""More than all ISK there is; what is beyond is no price."""

_HEAD = Struct("<BI")
_VERSION = 1
_SWAPPED = sys.byteorder == "big"


class PriceDay:
    """Prices of a day, by type."""

    __slots__ = ("_cents", "_ids")

    def __init__(self, prices: Iterable[tuple[int, int]] = ()) -> None:
        """prices: (type id, cents); of doubles the last counts."""
        found = sorted((each, cents) for each, cents in dict(prices).items() if 0 <= each < MOST_ID)
        self._ids = array("i", (type_id for type_id, _ in found))
        self._cents = array("q", (cents for _, cents in found))

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, type_id: int) -> int | None:
        """The price of a type in hundredths of an ISK; None where it has none."""
        place = bisect_left(self._ids, type_id)
        if place < len(self._ids) and self._ids[place] == type_id:
            return self._cents[place]
        return None

    @property
    def ids(self) -> array[int]:
        """The types that have a price, in order."""
        return self._ids

    def packed(self) -> bytes:
        """As it is kept."""
        steps = array("q", [*self._ids[:1], *(b - a for a, b in pairwise(self._ids))])
        body = zlib.compress(_planes(steps) + _planes(self._cents), 6)
        return _HEAD.pack(_VERSION, len(self._ids)) + body

    @classmethod
    def unpacked(cls, packed: bytes) -> PriceDay:
        """The reverse. Raises BadInput."""
        try:
            version, count = _HEAD.unpack_from(packed)
            if version != _VERSION or count > MOST_TYPES:
                raise ValueError("made by another release")
            body = zlib.decompress(packed[_HEAD.size :], bufsize=count * 16 + 1)
            if len(body) != count * 16:
                raise ValueError("cut short")
        except (zlib.error, StructError, ValueError, ArithmeticError) as error:
            raise BadInput(f"prices in the database cannot be read: {error}") from None
        made = cls()
        made._ids = array("i", accumulate(_joined(body[: count * 8], count)))
        made._cents = _joined(body[count * 8 :], count)
        return made


def _planes(numbers: array[int]) -> bytes:
    if _SWAPPED:
        numbers = array("q", numbers)
        numbers.byteswap()
    raw = numbers.tobytes()
    return b"".join(raw[place::8] for place in range(8))


def _joined(planes: bytes, count: int) -> array[int]:
    raw = bytearray(count * 8)
    for place in range(8):
        raw[place::8] = planes[place * count : (place + 1) * count]
    numbers = array("q")
    numbers.frombytes(bytes(raw))
    if _SWAPPED:
        numbers.byteswap()
    return numbers


def day_number(day: date) -> int:
    """A day as the tables have it: 20261130."""
    return day.year * 10_000 + day.month * 100 + day.day


def day_of(number: int) -> date:
    """The reverse."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def next_day(number: int) -> int:
    """The day after."""
    return day_number(day_of(number) + timedelta(days=1))
