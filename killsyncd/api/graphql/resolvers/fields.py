"""Short ways to say how a field is read."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from ariadne import ObjectType
from graphql import GraphQLResolveInfo

from killsyncd.api.graphql.context import Context, Entity

Info = GraphQLResolveInfo


def context_of(info: Info) -> Context:
    context: Context = info.context
    return context


def plain(kind: ObjectType, **fields: str) -> None:
    """Fields that are attributes under another name."""
    for name, attribute in fields.items():
        kind.set_field(name, attribute_of(attribute))


def attribute_of(attribute: str) -> Callable[[Any, Info], Any]:
    get = attrgetter(attribute)
    return lambda source, _info: get(source)


def entity(kind: ObjectType, **fields: str) -> None:
    """Fields that are an id and its name; the name was read together with the row."""
    for name, attribute in fields.items():
        kind.set_field(name, entity_of(attrgetter(attribute)))


def entity_of(get: Callable[[Any], int | None]) -> Callable[[Any, Info], Entity | None]:
    def resolve(source: Any, info: Info) -> Entity | None:
        id_ = get(source)
        return None if id_ is None else Entity(id_, info.context.loaders.name(id_))

    return resolve
