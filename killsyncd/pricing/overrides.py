"""The operator's own prices, for what no market prices: `type_id,price[,from[,to]]` a line.

price: ISK for one. from, to: days as 2026-11-30, both included; without them the price is for all days. Of
two lines for the same type and day the later counts. Empty lines, lines that begin with `#` and a first line
with these names are passed over.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

from killsyncd.core.errors import BadInput
from killsyncd.pricing.price_day import MOST_CENTS, day_number

MOST_BYTES = 8 << 20
TOLD = 5
"""Bad lines that are named; the rest is counted."""

ALWAYS = (0, 99_991_231)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Prices that go before every other. bad: lines that cannot be read, by number, and why.

    digest: of what the file holds; the same file has the same. Empty for none.
    """

    prices: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    bad: Sequence[str] = ()
    digest: str = ""

    def get(self, type_id: int, day: int) -> int | None:
        """The price of a type on a day in hundredths of an ISK; None where none is set."""
        lines = self.prices.get(type_id)
        if lines is None:
            return None
        return next((cents for first, last, cents in reversed(lines) if first <= day <= last), None)

    def told(self) -> str:
        """What is wrong with the file, for people."""
        more = len(self.bad) - TOLD
        return "; ".join(self.bad[:TOLD]) + (f"; and {more} more" if more > 0 else "")


def read_overrides(path: Path | None) -> Overrides:
    """Read the file; None: there is none. Raises BadInput where it can't be read at all. Blocking."""
    if path is None:
        return Overrides()
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}", f"let killsyncd read {path}, then SIGHUP"
        ) from None
    if len(raw) > MOST_BYTES:
        raise BadInput(f"{path} has more than {MOST_BYTES >> 20} MiB", "leave only what no market prices")
    prices: dict[int, list[tuple[int, int, int]]] = {}
    bad: list[str] = []
    for number, fields in _lines(raw.decode("utf-8", "replace")):
        try:
            type_id, line = _read(fields)
        except ValueError as error:
            bad.append(f"line {number}: {error}")
        else:
            prices.setdefault(type_id, []).append(line)
    return Overrides(prices, bad, hashlib.blake2b(raw, digest_size=16).hexdigest())


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#") or (number == 1 and bare.startswith("type_id")):
            continue
        try:
            yield number, next(csv.reader([bare]))
        except csv.Error:
            yield number, []


def _read(fields: list[str]) -> tuple[int, tuple[int, int, int]]:
    """A line: the type, and its days and price. Raises ValueError with what is wrong."""
    if not 2 <= len(fields) <= 4:
        raise ValueError("has to be type_id,price[,from[,to]]")
    type_id, price, *days = (each.strip() for each in fields)
    if not (type_id.isascii() and type_id.isdigit() and 0 < int(type_id[:19]) < 2**63):
        raise ValueError("the type is no id")
    first, last = (_day(each) for each in [*days, "", ""][:2])
    first, last = first or ALWAYS[0], last or ALWAYS[1]
    if first > last:
        raise ValueError("it ends before it begins")
    return int(type_id), (first, last, cents_of(price))


def cents_of(text: str) -> int:
    """Hundredths of an ISK, half of one rounded up. Raises ValueError."""
    try:
        price = Decimal(text)
        if not price.is_finite() or price < 0 or price >= MOST_CENTS // 100:
            raise ValueError("the price is no number of ISK")
        return int((price * 100).quantize(Decimal(1), ROUND_HALF_UP))
    except InvalidOperation:
        raise ValueError("the price is no number of ISK") from None


def _day(text: str) -> int:
    if not text:
        return 0
    try:
        return day_number(date.fromisoformat(text))
    except ValueError:
        raise ValueError("a day is written 2026-11-30") from None
