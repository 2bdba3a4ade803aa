"""What killmails were worth, what was fitted, and what the static data say of systems and types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.budget import RAW_BYTES
from killsyncd.api.graphql.context import Entity
from killsyncd.api.graphql.inputs import first_of
from killsyncd.api.graphql.loaders import Loaders
from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.killmails import item, killmail
from killsyncd.api.graphql.resolvers.roots import query
from killsyncd.core.errors import BadInput
from killsyncd.core.fitting import FittedItem, Fitting, Slot, Sorter, eft
from killsyncd.core.read_model import EntityKind, ItemOfMail, Mail, MailValue, SystemFacts, TypeFacts
from killsyncd.core.security import SecurityClass, class_of, displayed

MAX_SEARCH = 100

value = ObjectType("Value")
fitting = ObjectType("Fitting")
fitted_item = ObjectType("FittedItem")
entity = ObjectType("Entity")


@query.field("search")
async def _search(
    _: Any, info: Info, text: str, kinds: list[EntityKind] | None = None, first: int | None = 10
) -> list[Entity]:
    services = context_of(info).services
    if len(text) > MAX_SEARCH:
        raise BadInput(f"text is longer than {MAX_SEARCH} characters", "a part of the name will do")
    wanted = first_of(10 if first is None else first, services.limits)
    found = await services.reading.search(text, kinds, wanted)
    return [Entity(each.id, each.name, each.kind) for each in found]


# --- values -------------------------------------------------------------------------------------


@killmail.field("value")
def _value(mail: Mail, info: Info) -> Awaitable[MailValue | None]:
    return context_of(info).loaders.value.load(mail.killmail_id)


def _isk(name: str) -> Callable[[MailValue, Info], float]:
    return lambda each, _info: getattr(each, name) / 100


for _name in ("total", "destroyed", "dropped", "ship", "fitted", "cargo"):
    value.set_field(_name, _isk(_name))
plain(value, method="method", pricedOn="priced_on")


@value.field("unpriced")
def _unpriced(each: MailValue, info: Info) -> list[Entity]:
    loaders = context_of(info).loaders
    return [Entity(type_id, loaders.name(type_id), EntityKind.TYPE) for type_id in each.unpriced]


@item.field("value")
async def _item_value(source: ItemOfMail, info: Info) -> float | None:
    prices = context_of(info).services.prices
    if prices is None:
        return None
    cents = await prices.stack_cents(source.mail.killmail_time.date(), source.item)
    return None if cents is None else cents / 100


# --- fittings -----------------------------------------------------------------------------------


SORTED_AT_ONCE = 500
"""Items that are sorted into slots without a pause."""


@killmail.field("fitting")
async def _fitting(mail: Mail, info: Info) -> _Fitted:
    context = context_of(info)
    await context.paid((await context.loaders.size.load(mail.killmail_id)).items)
    return await context.once(f"fitting:{mail.killmail_id}", lambda: _fitted(mail, context.loaders))


async def _fitted(mail: Mail, loaders: Loaders) -> _Fitted:
    items = await loaders.items.load(mail.killmail_id)
    victim = await loaders.victim.load(mail.killmail_id)
    types = await loaders.types_of([victim.ship_type_id, *(each.item_type_id for each in _inside(items))])

    def category_of(type_id: int) -> int | None:
        facts = types.get(type_id)
        return None if facts is None else facts.category_id

    def name_of(type_id: int) -> str:
        facts = types.get(type_id)
        return loaders.name(type_id) or (facts.name if facts is not None else f"Type {type_id}")

    sorter = Sorter(category_of)
    for number, _ in enumerate(sorter.sort(items), 1):
        if not number % SORTED_AT_ONCE:
            await asyncio.sleep(0)
    found = sorter.sorted()
    return _Fitted(
        found, lambda: eft(name_of(victim.ship_type_id), f"Killmail {mail.killmail_id}", found, name_of)
    )


class _Fitted:
    """A fitting, and its text where it is asked for: made once, however often that is."""

    def __init__(self, found: Fitting, text: Callable[[], str]) -> None:
        self.fitting = found
        self._text = text

    @cached_property
    def text(self) -> str:
        """As EFT."""
        return self._text()


def _inside(items: Sequence[Any]) -> list[Any]:
    found = []
    pending = list(items)
    while pending:
        one = pending.pop()
        found.append(one)
        pending += one.items
    return found


@fitting.field("eft")
async def _eft(each: _Fitted, info: Info) -> str:
    text = each.text
    await context_of(info).paid(len(text) // RAW_BYTES)
    return text


def _slot(slot: Slot) -> Callable[[_Fitted, Info], list[FittedItem]]:
    return lambda each, _info: each.fitting.slots[slot]


for _each in Slot:
    fitting.set_field(_each.value, _slot(_each))
plain(fitted_item, quantity="quantity", dropped="dropped")


@fitted_item.field("itemType")
def _item_type(each: FittedItem, info: Info) -> Entity:
    return Entity(each.type_id, context_of(info).loaders.name(each.type_id), EntityKind.TYPE)


@fitted_item.field("charge")
def _charge(each: FittedItem, info: Info) -> Entity | None:
    if each.charge is None:
        return None
    return Entity(each.charge, context_of(info).loaders.name(each.charge), EntityKind.TYPE)


# --- systems and types --------------------------------------------------------------------------


def _of_system(make: Callable[[SystemFacts], Any]) -> Callable[[Entity, Info], Any]:
    async def resolve(source: Entity, info: Info) -> Any:
        facts = await context_of(info).loaders.system_facts.load(source.id)
        return None if facts is None else make(facts)

    return lambda source, info: resolve(source, info) if source.kind is EntityKind.SYSTEM else None


def _of_type(make: Callable[[TypeFacts], Any]) -> Callable[[Entity, Info], Any]:
    async def resolve(source: Entity, info: Info) -> Any:
        facts = await context_of(info).loaders.type_facts.load(source.id)
        return None if facts is None else make(facts)

    return lambda source, info: resolve(source, info) if source.kind is EntityKind.TYPE else None


def _named(id_: int | None, name: str | None, kind: EntityKind) -> Entity | None:
    return None if id_ is None else Entity(id_, name, kind)


entity.set_field("security", _of_system(lambda each: displayed(each.security)))
entity.set_field("securityClass", _of_system(lambda each: class_of(each.region_id, each.security)))
entity.set_field("region", _of_system(lambda each: _named(each.region_id, each.region, EntityKind.REGION)))
entity.set_field(
    "constellation",
    _of_system(lambda each: _named(each.constellation_id, each.constellation, EntityKind.CONSTELLATION)),
)
entity.set_field("group", _of_type(lambda each: _named(each.group_id, each.group, EntityKind.GROUP)))
entity.set_field(
    "category", _of_type(lambda each: _named(each.category_id, each.category, EntityKind.CATEGORY))
)

BINDABLES = [
    value,
    fitting,
    fitted_item,
    entity,
    EnumType("EntityKind", EntityKind),
    EnumType("SecurityClass", SecurityClass),
]
