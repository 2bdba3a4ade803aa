"""Slots, and the fit as EFT text."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import orjson
import pytest

from killsyncd.core import killmail as km
from killsyncd.core.fitting import Slot, eft, fitting_of, slot_of
from tests.support import real_static

MODULE, CHARGE = 7, 8
GUN, AMMO, SCRIPT, REPAIRER, PASTE, CARGO_BOX = 1, 2, 3, 4, 5, 6
CATEGORIES = {GUN: MODULE, AMMO: CHARGE, SCRIPT: CHARGE, REPAIRER: MODULE, PASTE: CHARGE}


def item(
    type_id: int, flag: int, destroyed: int | None = 1, dropped: int | None = None, *inner: km.EsiItem
) -> km.EsiItem:
    return km.EsiItem(
        type_id, flag, 0, quantity_dropped=dropped, quantity_destroyed=destroyed, items=list(inner) or None
    )


def text_of(*items: km.EsiItem) -> str:
    return eft("Rifter", "a kill", fitting_of(items, CATEGORIES.get), lambda type_id: f"type {type_id}")


def count_text(text: str) -> Counter[str]:
    """What a reader of EFT text would put into the hold and the racks."""
    found = Counter[str]()
    for line in filter(None, text.splitlines()[1:]):
        if stack := re.fullmatch(r"(.*) x(\d+)", line):
            found[stack[1]] += int(stack[2])
        else:
            module, _, charge = line.partition(", ")
            found.update(filter(None, (module, charge)))
    return found


def test_racks_come_in_the_order_of_eft() -> None:
    flags = (164, 125, 92, 27, 19, 11)
    text = text_of(*(item(10 + number, flag) for number, flag in enumerate(flags)))
    assert text == "\n\n".join(
        ["[Rifter, a kill]", "type 15", "type 14", "type 13", "type 12", "type 11", "type 10"]
    )


@pytest.mark.parametrize(("module", "charge"), [(GUN, AMMO), (REPAIRER, PASTE), (GUN, SCRIPT)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_charge_stands_beside_its_module_whichever_is_listed_first(
    module: int, charge: int, swapped: bool
) -> None:
    """Peers put the paste in the repairer's place, or scripts in their modules'."""
    pair = [item(module, 27), item(charge, 27, destroyed=8)]
    text = text_of(*(reversed(pair) if swapped else pair))
    assert text == f"[Rifter, a kill]\n\ntype {module}, type {charge}\n\ntype {charge} x7"


def test_what_drops_and_what_is_destroyed_are_two_items_of_one_slot() -> None:
    fitting = fitting_of([item(AMMO, 27, 3, 5), item(GUN, 27, None, 1)], CATEGORIES.get)
    (gun,) = fitting.slots[Slot.HIGH]
    assert (gun.type_id, gun.charge, gun.dropped, gun.quantity) == (GUN, AMMO, True, 1)
    assert fitting.loose == Counter({AMMO: 7})


def test_a_charge_without_a_module_is_cargo() -> None:
    assert text_of(item(AMMO, 27, 10)) == "[Rifter, a kill]\n\ntype 2 x10"


def test_containers_and_what_is_in_them_are_cargo() -> None:
    text = text_of(item(CARGO_BOX, 5, 1, None, item(GUN, 0, None, 2), item(AMMO, 0, 40)))
    assert text == "[Rifter, a kill]\n\ntype 6 x1\ntype 1 x2\ntype 2 x40"


def test_a_rack_that_says_more_than_one_loses_nothing() -> None:
    assert count_text(text_of(item(GUN, 27, 10**15))) == Counter({"type 1": 10**15})


@pytest.mark.parametrize(
    ("flag", "slot"),
    [
        (87, Slot.DRONE),
        (158, Slot.FIGHTER),
        (163, Slot.FIGHTER),
        (89, Slot.IMPLANT),
        *((flag, Slot.CARGO) for flag in (88, 179, 0, -5, 10**18)),
    ],
)
def test_slots_of_flags(flag: int, slot: Slot) -> None:
    assert slot_of(flag) is slot


def test_a_name_cannot_end_the_header_early() -> None:
    assert eft("Rifter", "a]\n[b", fitting_of([], CATEGORIES.get), str) == "[Rifter, a) (b]"


def _count(items: Any, name: Any) -> Counter[str]:
    found = Counter[str]()
    for each in items or []:
        found[name(each["item_type_id"])] += each.get("quantity_dropped", 0) + each.get(
            "quantity_destroyed", 0
        )
        found.update(_count(each.get("items"), name))
    return found


@real_static.needs_static
def test_nothing_is_dropped_or_invented_on_real_mails() -> None:
    types = real_static.types()

    def name(type_id: int) -> str:
        return types[type_id].name if type_id in types else f"type {type_id}"

    def category(type_id: int) -> int | None:
        return types[type_id].category_id if type_id in types else None

    for raw in real_static.killmails():
        mail = km.decode(raw)
        text = eft("Hull", "fit", fitting_of(mail.victim.items or [], category), name)
        wanted = _count(orjson.loads(raw)["victim"].get("items"), name)
        assert count_text(text) == wanted, mail.killmail_id
