"""What a killmail was worth."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson
import pytest

from killsyncd.core import killmail as km
from killsyncd.pricing.valuation import MOST, Price, PriceMethod, Valuation, value_of
from tests.support import real_static
from tests.support.real_static import Facts

DAY = date(2026, 8, 1)
RIFTER, GUN, BLUEPRINT, SKIN, POD, ABYSSAL, BOX = 587, 10, 11, 12, 670, 13, 14
FACTS = {
    RIFTER: Facts("Rifter", 25, 6),
    GUN: Facts("Gun", 55, 7),
    BLUEPRINT: Facts("Gun Blueprint", 105, 9),
    SKIN: Facts("Rifter SKIN", 1950, 91),
    POD: Facts("Capsule", 29, 6),
    ABYSSAL: Facts("Abyssal Gun", 55, 7, 15),
}


def price(isk: float, method: PriceMethod = PriceMethod.ESI_AVERAGE, day: date = DAY) -> Price:
    return Price(round(isk * 100), method, day)


PRICES = {
    RIFTER: price(400_000.25),
    GUN: price(1_000.01),
    BLUEPRINT: price(9e9),
    SKIN: price(5e8),
    ABYSSAL: price(1e6),
}


def item(
    type_id: int,
    flag: int = 5,
    destroyed: int | None = 1,
    dropped: int | None = None,
    singleton: int = 0,
    *inner: km.EsiItem,
) -> km.EsiItem:
    return km.EsiItem(type_id, flag, singleton, dropped, destroyed, list(inner) or None)


def value(*items: km.EsiItem, hull: int = RIFTER, prices: dict[int, Price] | None = None) -> Valuation:
    return value_of(hull, items, DAY, PRICES if prices is None else prices, FACTS.get)


def test_hull_fit_and_cargo_add_up() -> None:
    found = value(item(GUN, 27), item(GUN, 5, 3, 4))
    assert (found.ship, found.fitted, found.cargo) == (400_000_25, 1_000_01, 7 * 1_000_01)
    assert (found.destroyed, found.dropped) == (400_000_25 + 4 * 1_000_01, 4 * 1_000_01)
    assert found.total == found.destroyed + found.dropped == found.ship + found.fitted + found.cargo
    assert (found.unpriced, found.method, found.priced_on) == ((), PriceMethod.ESI_AVERAGE, 20260801)


def test_each_item_in_a_container_has_its_own_fate() -> None:
    found = value(item(BOX, 5, None, 1, 0, item(GUN, 0, 2, None), item(GUN, 0, None, 3)))
    assert (found.destroyed - found.ship, found.dropped, found.unpriced) == (
        2 * 1_000_01,
        3 * 1_000_01,
        (BOX,),
    )


def test_copies_skins_and_pods_have_prices_of_their_own() -> None:
    assert value(item(BLUEPRINT, singleton=2)).cargo == 1
    assert value(item(BLUEPRINT, singleton=1)).cargo == 9_000_000_000_00
    assert value(item(SKIN, 5, 2)).cargo == 2
    assert value(hull=POD).total == 10_000_00
    assert value_of(33328, [], DAY, {}, lambda _: None).total == 10_000_00, "also without static data"


def test_an_implant_is_the_fit_of_a_pod_only() -> None:
    assert value(item(GUN, 89), hull=POD).fitted == 1_000_01
    assert value(item(GUN, 89)).fitted == 0


def test_a_rolled_module_has_no_price_but_an_override() -> None:
    assert value(item(ABYSSAL)).unpriced == (ABYSSAL,)
    override = price(7.0, PriceMethod.OVERRIDE)
    assert value(item(ABYSSAL), prices={**PRICES, ABYSSAL: override}).cargo == 7_00
    assert value(item(SKIN), prices={**PRICES, SKIN: override}).cargo == 7_00, (
        "an operator's word is the last"
    )


def test_the_least_certain_price_names_the_method() -> None:
    prices = {RIFTER: price(1.0, PriceMethod.OVERRIDE), GUN: price(1.0, PriceMethod.LATER, date(2026, 8, 9))}
    found = value(item(GUN), prices=prices)
    assert (found.method, found.priced_on) == (PriceMethod.LATER, 20260809)


@pytest.mark.parametrize("quantity", [-5, 0, 2**63 - 1])
def test_hostile_quantities_do_no_harm(quantity: int) -> None:
    found = value(item(GUN, 5, quantity, quantity))
    honest = 2 * max(0, quantity) * 1_000_01
    assert found.cargo == honest or (honest > MOST and 0 < found.cargo <= found.total <= MOST)


# --- an oracle from the contract's words alone --------------------------------------------------

CENT = Decimal("0.01")
FITTED = {*range(11, 35), *range(92, 100), *range(125, 133), *range(159, 164), *range(164, 172)}


def oracle(mail: dict[str, Any], prices: dict[int, Decimal], types: Any) -> dict[str, Any]:
    """Quantity times price, each item by its own fate, also inside containers; sums in decimals."""
    sums = dict.fromkeys(("destroyed", "dropped", "ship", "fitted", "cargo"), Decimal(0))
    missing: set[int] = set()

    def one(type_id: int, copy: bool) -> Decimal:
        known = types.get(type_id)
        if copy or (known and known.category_id == 91):
            return CENT
        if type_id in (670, 33328) or (known and known.group_id == 29):
            return Decimal(10_000)
        if type_id not in prices or (known and known.meta_group_id == 15):
            missing.add(type_id)
            return Decimal(0)
        return prices[type_id].quantize(CENT, ROUND_HALF_UP)

    hull = mail["victim"]["ship_type_id"]
    sums["ship"] = sums["destroyed"] = one(hull, False)
    pod = hull in (670, 33328)

    def add(item: dict[str, Any], top: bool) -> None:
        each = one(item["item_type_id"], item["singleton"] == 2)
        for fate in ("destroyed", "dropped"):
            worth = each * item.get(f"quantity_{fate}", 0)
            sums[fate] += worth
            fitted = top and (item["flag"] in FITTED or (pod and item["flag"] == 89))
            sums["fitted" if fitted else "cargo"] += worth
        for inner in item.get("items", []):
            add(inner, False)

    for item in mail["victim"].get("items", []):
        add(item, True)
    return {**sums, "unpriced": tuple(sorted(missing))}


@real_static.needs_static
def test_an_oracle_agrees_on_real_mails_to_the_cent() -> None:
    types = real_static.types()
    # Prices of a fixed day, made from the id alone; every 13th type has none.
    decimals = {each: Decimal(each * 7919 % 10**9) / 100 + 1 for each in types if each % 13}
    prices = {each: Price(int(isk * 100), PriceMethod.ESI_AVERAGE, DAY) for each, isk in decimals.items()}
    nested = copies = 0
    for raw in real_static.killmails():
        mail, document = km.decode(raw), orjson.loads(raw)
        found = value_of(mail.victim.ship_type_id, mail.victim.items or [], DAY, prices, types.get)
        wanted = oracle(document, decimals, types)
        for part in ("destroyed", "dropped", "ship", "fitted", "cargo"):
            assert Decimal(getattr(found, part)) / 100 == wanted[part], (mail.killmail_id, part)
        assert found.unpriced == wanted["unpriced"], mail.killmail_id
        nested += any(item.items for item in mail.victim.items or [])
        copies += any(item.singleton == 2 for item in mail.victim.items or [])
    assert nested
    assert copies
