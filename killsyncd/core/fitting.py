"""What was fitted where: the slots of a killmail's items, and the fit as EFT text.

Slots are told by an item's flag (`invFlags` of CCP's static data), a charge from its module by its
category. Pure: names and categories are passed in, and an item whose type is not known yet is shown all the
same. Nothing of a mail is left out and nothing is added: quantities in the EFT text add up to the mail's.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

CATEGORY_CHARGE = 8

FIGHTER_TUBES = frozenset(range(159, 164))


class Slot(enum.Enum):
    """Where an item was, in the order in which EFT text lists them."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    RIG = "rigs"
    SUBSYSTEM = "subsystems"
    SERVICE = "services"
    DRONE = "drones"
    FIGHTER = "fighters"
    CARGO = "cargo"
    IMPLANT = "implants"


RACKS = (Slot.LOW, Slot.MEDIUM, Slot.HIGH, Slot.RIG, Slot.SUBSYSTEM, Slot.SERVICE)
"""Slots that hold one module each, which may hold a charge."""

_SLOTS: dict[int, Slot] = {
    **dict.fromkeys(range(11, 19), Slot.LOW),
    **dict.fromkeys(range(19, 27), Slot.MEDIUM),
    **dict.fromkeys(range(27, 35), Slot.HIGH),
    **dict.fromkeys(range(92, 100), Slot.RIG),
    **dict.fromkeys(range(125, 133), Slot.SUBSYSTEM),
    **dict.fromkeys(range(164, 172), Slot.SERVICE),
    87: Slot.DRONE,
    158: Slot.FIGHTER,
    **dict.fromkeys(FIGHTER_TUBES, Slot.FIGHTER),
    89: Slot.IMPLANT,
}


class Stack(Protocol):
    """One item of a killmail (`quantity_*` are absent where nothing had that fate)."""

    @property
    def item_type_id(self) -> int: ...
    @property
    def flag(self) -> int: ...
    @property
    def singleton(self) -> int: ...
    @property
    def quantity_dropped(self) -> int | None: ...
    @property
    def quantity_destroyed(self) -> int | None: ...
    @property
    def items(self) -> Sequence[Stack] | None: ...


@dataclass(frozen=True, slots=True)
class FittedItem:
    """Some items of one type that share a fate. charge: the type of what was loaded in a module."""

    type_id: int
    quantity: int
    dropped: bool
    charge: int | None = None


@dataclass(slots=True)
class Fitting:
    """A mail's items by slot. loose: how many charges were in modules beyond the one that `charge` names."""

    slots: dict[Slot, list[FittedItem]] = field(default_factory=lambda: {slot: [] for slot in Slot})
    loose: Counter[int] = field(default_factory=Counter)


def slot_of(flag: int) -> Slot:
    """The slot of a flag; holds, hangars and flags that are not known are cargo."""
    return _SLOTS.get(flag, Slot.CARGO)


def fitting_of(items: Sequence[Stack], category_of: Callable[[int], int | None]) -> Fitting:
    """Sort items into slots. category_of: a type's category, None where it is not known."""
    sorter = Sorter(category_of)
    for _ in sorter.sort(items):
        pass
    return sorter.sorted()


class Sorter:
    """Items by slot, one after the other: a mail may have twenty thousand."""

    def __init__(self, category_of: Callable[[int], int | None]) -> None:
        self._category_of = category_of
        self._found = Fitting()
        self._charges: dict[int, list[FittedItem]] = {}
        self._modules: dict[int, list[FittedItem]] = {}

    def sort(self, items: Iterable[Stack]) -> Iterator[None]:
        """Take these, and what is in them; goes on for as long as it is asked to."""
        slots = self._found.slots
        for item in items:
            slot = slot_of(item.flag)
            for fitted in _fates(item):
                if slot not in RACKS:
                    slots[slot].append(fitted)
                elif self._category_of(item.item_type_id) == CATEGORY_CHARGE:
                    self._charges.setdefault(item.flag, []).append(fitted)
                else:
                    self._modules.setdefault(item.flag, []).append(fitted)
            yield
            # What a container or a ship in a hangar holds was in the same hold; it has a fate of its own.
            for inner in _inside(item):
                slots[Slot.CARGO].extend(_fates(inner))
                yield

    def sorted(self) -> Fitting:
        """All that was taken; nothing is, after this."""
        for flag in sorted({*self._modules, *self._charges}):
            _load(self._found, slot_of(flag), self._modules.get(flag, []), self._charges.get(flag, []))
        return self._found


def _load(found: Fitting, slot: Slot, modules: list[FittedItem], charges: list[FittedItem]) -> None:
    """Put one flag's charges into its module."""
    if not modules:  # a charge whose module CCP's mail puts elsewhere
        found.slots[Slot.CARGO].extend(charges)
        return
    kinds = Counter[int]()
    for charge in charges:
        kinds[charge.type_id] += charge.quantity
    loaded = next(iter(kinds), None)
    first, *others = modules
    found.slots[slot].append(FittedItem(first.type_id, first.quantity, first.dropped, loaded))
    found.slots[slot].extend(others)
    if loaded is not None:
        kinds[loaded] -= 1
    found.loose.update({type_id: count for type_id, count in kinds.items() if count > 0})


def _fates(item: Stack) -> Iterator[FittedItem]:
    dropped, destroyed = item.quantity_dropped or 0, item.quantity_destroyed or 0
    if destroyed > 0:
        yield FittedItem(item.item_type_id, destroyed, dropped=False)
    if dropped > 0:
        yield FittedItem(item.item_type_id, dropped, dropped=True)


def _inside(item: Stack) -> Iterator[Stack]:
    for inner in item.items or ():
        yield inner
        yield from _inside(inner)


def eft(hull: str, name: str, fitting: Fitting, name_of: Callable[[int], str]) -> str:
    """The fit as the game and pyfa read it.

    hull: the ship's name; name: of the fit. Empty slots are left out, since the data do not say how many a
    hull has. A charge beyond the one that stands beside its module is listed with the cargo.
    """
    blocks: list[list[str]] = []
    spare = Counter(fitting.loose)
    for slot in RACKS:
        lines: list[str] = []
        for each in fitting.slots[slot]:
            loaded = f", {name_of(each.charge)}" if each.charge is not None else ""
            lines.append(name_of(each.type_id) + loaded)
            if each.quantity > 1:  # a rack holds one a slot; a mail that says otherwise loses nothing
                spare[each.type_id] += each.quantity - 1
        if lines:
            blocks.append(lines)
    for slot in (Slot.DRONE, Slot.FIGHTER, Slot.CARGO, Slot.IMPLANT):
        counts = Counter[int]()
        for each in fitting.slots[slot]:
            counts[each.type_id] += each.quantity
        if slot is Slot.CARGO:
            counts.update(spare)
        if counts:
            blocks.append([f"{name_of(type_id)} x{count}" for type_id, count in counts.items()])
    return "\n\n".join(["\n".join(lines) for lines in [[f"[{_inline(hull)}, {_inline(name)}]"], *blocks]])


def _inline(text: str) -> str:
    """A name that cannot end the header early."""
    return text.replace("[", "(").replace("]", ")").replace("\n", " ").replace(",", " ")
