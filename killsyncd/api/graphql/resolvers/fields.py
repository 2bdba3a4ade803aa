"""Short ways to say how a field is read."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from ariadne import ObjectType
from graphql import GraphQLResolveInfo

from killsyncd.api.graphql.context import Context, Entity
from killsyncd.core.read_model import EntityKind

Info = GraphQLResolveInfo


def context_of(info: Info) -> Context:
    context: Context = info.context
    return context


def plain(kind: ObjectType, /, **fields: str) -> None:
    """Fields that are attributes under another name."""
    for name, attribute in fields.items():
        kind.set_field(name, attribute_of(attribute))


def attribute_of(attribute: str) -> Callable[[Any, Info], Any]:
    get = attrgetter(attribute)
    return lambda source, _info: get(source)


def entity(kind: ObjectType, /, **fields: str) -> None:
    """Fields that are an id and its name; the name was read together with the row."""
    for name, attribute in fields.items():
        kind.set_field(name, entity_of(attrgetter(attribute), KINDS[name]))


KINDS = {
    "character": EntityKind.CHARACTER,
    "corporation": EntityKind.CORPORATION,
    "alliance": EntityKind.ALLIANCE,
    "faction": EntityKind.FACTION,
    "shipType": EntityKind.TYPE,
    "weaponType": EntityKind.TYPE,
    "itemType": EntityKind.TYPE,
}
"""Of what a field of this name is an id."""


def entity_of(get: Callable[[Any], int | None], kind: EntityKind) -> Callable[[Any, Info], Entity | None]:
    def resolve(source: Any, info: Info) -> Entity | None:
        id_ = get(source)
        return None if id_ is None else Entity(id_, info.context.loaders.name(id_), kind)

    return resolve
