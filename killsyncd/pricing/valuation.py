"""What a killmail was worth: the contract's rules as arithmetic. Pure, prices are passed in.

Money is counted in whole hundredths of an ISK, so that a sum is the same in whatever order it is made.
A type without a price counts as nothing and is listed; a price is never guessed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from killsyncd.core.fitting import FIGHTER_TUBES, RACKS, Slot, Stack, slot_of

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


@dataclass(frozen=True, slots=True)
class Valuation:
    """In hundredths of an ISK. total = destroyed + dropped = ship + fitted + cargo; the hull is destroyed.

    unpriced: types without a price, in ascending order. method: of the least certain price that was used.
    priced_on: the latest day whose prices were used; the day of the kill where fixed prices sufficed.
    """

    total: int
    destroyed: int
    dropped: int
    ship: int
    fitted: int
    cargo: int
    unpriced: tuple[int, ...]
    method: PriceMethod
    priced_on: date


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
    used: list[Price] = []
    unpriced: set[int] = set()

    def cents_of(type_id: int, singleton: int) -> int:
        about = facts(type_id)
        fixed = fixed_cents(type_id, singleton, about)
        price = prices.get(type_id)
        if price is not None and price.method is not PriceMethod.OVERRIDE:
            # The market's price of an abyssal module's type says nothing of a rolled one, and ESI's mails
            # don't tell the roll (esi-issues 950).
            rolled = about is not None and about.meta_group_id == META_GROUP_ABYSSAL
            price = None if rolled or fixed is not None else price
        if price is not None and singleton != BLUEPRINT_COPY:
            used.append(price)
            return price.cents
        if fixed is None:
            unpriced.add(type_id)
        return fixed or 0

    ship = cents_of(hull, 0)
    pod = is_capsule(hull, facts(hull))
    destroyed, dropped, fitted = ship, 0, 0
    for item, flag in _walk(items):
        each = cents_of(item.item_type_id, item.singleton)
        lost, kept = (each * max(0, count or 0) for count in (item.quantity_destroyed, item.quantity_dropped))
        destroyed += lost
        dropped += kept
        if flag is not None and _is_fitted(flag, pod):
            fitted += lost + kept
    total = destroyed + dropped
    return Valuation(
        total=total,
        destroyed=destroyed,
        dropped=dropped,
        ship=ship,
        fitted=fitted,
        cargo=total - ship - fitted,
        unpriced=tuple(sorted(unpriced)),
        method=max((each.method for each in used), key=_CERTAINTY.index, default=PriceMethod.ESI_AVERAGE),
        priced_on=max((each.day for each in used), default=kill_day),
    )


def fixed_cents(type_id: int, singleton: int, facts: TypeFacts | None) -> int | None:
    """The price of what no market prices, None where the market decides."""
    if singleton == BLUEPRINT_COPY or (facts is not None and facts.category_id == CATEGORY_SKIN):
        return TOKEN_CENTS
    return CAPSULE_CENTS if is_capsule(type_id, facts) else None


def is_capsule(type_id: int, facts: TypeFacts | None) -> bool:
    """Whether a hull is a pod, whose implants are its fit."""
    return type_id in CAPSULES or (facts is not None and facts.group_id == GROUP_CAPSULE)


def _is_fitted(flag: int, pod: bool) -> bool:
    slot = slot_of(flag)
    return slot in RACKS or flag in FIGHTER_TUBES or (pod and slot is Slot.IMPLANT)


def _walk(items: Sequence[Stack]) -> Iterator[tuple[Stack, int | None]]:
    """Every item with the flag of its place; None for what is inside something else."""
    for item in items:
        yield item, item.flag
        for inner in item.items or ():
            yield from ((each, None) for each, _ in _walk([inner]))
