"""What a killmail was worth: the contract's rules as arithmetic. Pure, prices are passed in.

Money is counted in whole hundredths of an ISK, so that a sum is the same in whatever order it is made.
A type without a price counts as nothing and is listed; a price is never guessed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, Protocol

from killsyncd.core.fitting import FIGHTER_TUBES, RACKS, Slot, Stack, slot_of
from killsyncd.pricing.price_day import day_number

BLUEPRINT_COPY = 2
"""`singleton` of a blueprint copy, whose type's price is the original's."""

GROUP_CAPSULE = 29
CAPSULES = frozenset({670, 33328})
"""Types of group 29, for when the static data are not there."""

CATEGORY_SKIN = 91
META_GROUP_ABYSSAL = 15

CAPSULE_CENTS = 10_000_00
"""The game's market has no price for a capsule; killboards take 10,000 ISK."""

TOKEN_CENTS = 1
"""0.01 ISK: blueprint copies and SKINs."""


class PriceMethod(enum.StrEnum):
    """Where a price came from, the best first."""

    OVERRIDE = "OVERRIDE"
    MARKET_HISTORY = "MARKET_HISTORY"
    ESI_AVERAGE = "ESI_AVERAGE"
    LATER = "LATER"


_CERTAINTY = tuple(PriceMethod)


class TypeFacts(Protocol):
    """What the static data say of a type; each None where they don't know it."""

    @property
    def group_id(self) -> int | None: ...
    @property
    def category_id(self) -> int | None: ...
    @property
    def meta_group_id(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Price:
    """Of one of a type. cents: hundredths of an ISK. day: whose price it is."""

    cents: int
    method: PriceMethod
    day: date


@dataclass(slots=True)
class Valuation:
    """In hundredths of an ISK. total = destroyed + dropped = ship + fitted + cargo; the hull is destroyed.

    unpriced: types without a price, in ascending order. method: of the least certain price that was used.
    priced_on: the latest day whose prices were used, as 20261130; the kill's where fixed prices sufficed.
    """

    total: int
    destroyed: int
    dropped: int
    ship: int
    fitted: int
    cargo: int
    unpriced: tuple[int, ...]
    method: PriceMethod
    priced_on: int


class Unit(NamedTuple):
    """What one of a type is worth on a mail's day. rank: of its method, the surer the lower; FIXED where no
    market was asked. day: whose price it is, as 20261130; 0 for a fixed one.
    """

    cents: int
    rank: int
    day: int


ItemRow = Iterable[Any]
"""An item: type id, flag (None for what lay in something else), singleton, quantity dropped, quantity
destroyed. As it comes from the database, for there are many."""


FIXED = -1
FITTED = frozenset({flag for flag in range(256) if slot_of(flag) in RACKS} | FIGHTER_TUBES)
FITTED_POD = FITTED | {flag for flag in range(256) if slot_of(flag) is Slot.IMPLANT}
MOST = 2**63 - 1
"""Hundredths of an ISK that the tables can hold; no honest mail comes near."""


def unit_of(type_id: int, price: Price | None, facts: TypeFacts | None) -> Unit | None:
    """The price of one that is no blueprint copy; None where there is none.

    price: the best that is known. The market's price of an abyssal module's type says nothing of a rolled
    one, and ESI's mails don't tell the roll (esi-issues 950): such a price does not count.
    """
    fixed = fixed_cents(type_id, 0, facts)
    if price is not None and price.method is not PriceMethod.OVERRIDE:
        rolled = facts is not None and facts.meta_group_id == META_GROUP_ABYSSAL
        price = None if rolled or fixed is not None else price
    if price is not None:
        return Unit(price.cents, _CERTAINTY.index(price.method), day_number(price.day))
    return None if fixed is None else Unit(fixed, FIXED, 0)


def sum_up(
    hull: int, pod: bool, kill_day: int, items: Iterable[ItemRow], units: Mapping[int, Unit | None]
) -> Valuation:
    """What a mail was worth. pod: the hull is a capsule. units: of every type on the mail."""
    unit = units[hull]
    unpriced = set() if unit is not None else {hull}
    ship, worst, latest = unit or (0, FIXED, 0)
    destroyed, dropped, fitted = ship, 0, 0
    slots = FITTED_POD if pod else FITTED
    for type_id, flag, singleton, kept, lost in items:
        if singleton == BLUEPRINT_COPY:
            cents = TOKEN_CENTS
        elif (unit := units[type_id]) is None:
            unpriced.add(type_id)
            continue
        else:
            cents, rank, day = unit
            if rank > worst:
                worst = rank
            if day > latest:
                latest = day
        # Comparing and adding: this runs for every item of every mail.
        worth = 0
        if lost is not None and lost > 0:
            worth = cents * lost
            destroyed += worth
        if kept is not None and kept > 0:
            dropped += cents * kept
            worth += cents * kept
        if flag in slots:
            fitted += worth
    total = destroyed + dropped
    if total > MOST:
        scale = MOST / total * 0.999
        destroyed, dropped, ship, fitted = (int(each * scale) for each in (destroyed, dropped, ship, fitted))
        total = destroyed + dropped
    return Valuation(
        total=total,
        destroyed=destroyed,
        dropped=dropped,
        ship=ship,
        fitted=fitted,
        cargo=total - ship - fitted,
        unpriced=tuple(sorted(unpriced)),
        method=PriceMethod.ESI_AVERAGE if worst == FIXED else _CERTAINTY[worst],
        priced_on=latest or kill_day,
    )


def value_of(
    hull: int,
    items: Sequence[Stack],
    kill_day: date,
    prices: Mapping[int, Price],
    facts: Callable[[int], TypeFacts | None],
) -> Valuation:
    """What a mail was worth on its day.

    hull: the victim's ship type. prices: by type, for `kill_day`; a type that is not in it has none.
    """
    rows = list(_walk(items))
    types = {hull, *(type_id for type_id, *_ in rows)}
    units = {each: unit_of(each, prices.get(each), facts(each)) for each in types}
    return sum_up(hull, is_capsule(hull, facts(hull)), day_number(kill_day), rows, units)


def fixed_cents(type_id: int, singleton: int, facts: TypeFacts | None) -> int | None:
    """The price of what no market prices, None where the market decides."""
    if singleton == BLUEPRINT_COPY or (facts is not None and facts.category_id == CATEGORY_SKIN):
        return TOKEN_CENTS
    return CAPSULE_CENTS if is_capsule(type_id, facts) else None


def is_capsule(type_id: int, facts: TypeFacts | None) -> bool:
    """Whether a hull is a pod, whose implants are its fit."""
    return type_id in CAPSULES or (facts is not None and facts.group_id == GROUP_CAPSULE)


def _walk(items: Sequence[Stack], inside: bool = False) -> Iterator[ItemRow]:
    for item in items:
        fates = item.quantity_dropped, item.quantity_destroyed
        yield item.item_type_id, None if inside else item.flag, item.singleton, *fates
        yield from _walk(item.items or (), inside=True)
