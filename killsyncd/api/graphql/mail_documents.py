"""A mail as GraphQL gives it, for those who are sent it instead of asking: webhooks.

The query is made from the schema, so that a field that is added to `Killmail` is sent, too. Left out are
the raw JSON and the hash, by which anybody can read the mail at ESI, and what of a pilot is only the
operator's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    parse,
)

from killsyncd.api.graphql.context import Context
from killsyncd.api.graphql.engine import Engine
from killsyncd.api.graphql.errors import cause_of
from killsyncd.core.errors import KillsyncdError, NotFound, Unavailable
from killsyncd.core.read_model import TooMuch

LEFT_OUT = frozenset({("Killmail", "raw"), ("Killmail", "killmailHash"), ("Killmail", "sources")})

ONLY: Mapping[str, frozenset[str]] = {"User": frozenset({"id", "characterId", "characterName"})}
"""Types of which these fields alone are sent."""

ENTITIES: Mapping[str, str] = {
    "solarSystem": "{ id name security securityClass region { id name } constellation { id name } }",
    "shipType": "{ id name group { id name } category { id name } }",
}
"""What is sent of entities by the field they stand in, beyond id and name: not six nulls for each pilot."""

NESTING = 3
"""Containers in containers; EVE has one level."""

LONG = frozenset({("Killmail", "attackers"), ("Killmail", "items"), ("Killmail", "fitting")})
"""Lists without bound: a mail that is too large for one answer is sent without them."""


PATIENCE = 30.0
"""Seconds that a mail waits while people's queries use everything."""


class MailDocuments:
    """Reads mails as documents, by the API's own engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._whole: DocumentNode | None = None
        self._short: DocumentNode | None = None

    async def of(self, killmail_id: int) -> Mapping[str, Any]:
        """A mail. Raises NotFound where there is none, Unavailable."""
        if self._whole is None:
            self._whole = parse(query_text(self._engine.schema))
            self._short = parse(query_text(self._engine.schema, LEFT_OUT | LONG))
        try:
            return await self._read(self._whole, killmail_id)
        except TooMuch:
            assert self._short is not None, "made with the other"
            return await self._read(self._short, killmail_id)

    async def _read(self, document: DocumentNode, killmail_id: int) -> Mapping[str, Any]:
        engine = self._engine
        context = Context(engine.services, await engine.epoch())
        try:
            async with engine.run(
                document, context, {"id": str(killmail_id)}, None, patience=PATIENCE
            ) as result:
                for each in result.errors or ():
                    cause = cause_of(each)
                    raise (
                        cause
                        if isinstance(cause, KillsyncdError)
                        else Unavailable("a killmail could not be read whole", "the log has more")
                    )
                found = (result.data or {}).get("killmail")
        finally:
            context.close()
        if found is None:
            raise NotFound(f"there is no killmail {killmail_id}")
        return dict(found)


def query_text(schema: GraphQLSchema, left_out: frozenset[tuple[str, str]] = LEFT_OUT) -> str:
    """The query for a mail with everything that is sent."""
    killmail = schema.type_map["Killmail"]
    assert isinstance(killmail, GraphQLObjectType), "the schema has it"
    return f"query($id: ID!) {{ killmail(id: $id) {_selection(killmail, (), left_out)} }}"


def _selection(kind: GraphQLObjectType, above: tuple[str, ...], left_out: frozenset[tuple[str, str]]) -> str:
    parts = []
    for name, field in kind.fields.items():
        if (kind.name, name) in left_out or name not in ONLY.get(kind.name, {name}) or not _plain(field):
            continue
        inside = get_named_type(field.type)
        if is_leaf_type(inside):
            parts.append(name)
        elif isinstance(inside, GraphQLObjectType):
            path = (*above, kind.name)
            if inside.name == "Entity":
                parts.append(f"{name} {ENTITIES.get(name, '{ id name }')}")
            elif path.count(inside.name) < NESTING:
                parts.append(f"{name} {_selection(inside, path, left_out)}")
    return "{ " + " ".join(parts) + " }"


def _plain(field: GraphQLField) -> bool:
    """Whether it can be asked for without arguments, and is no page of a longer list."""
    if "first" in field.args or field.deprecation_reason is not None:
        return False
    return not any(is_required_argument(each) for each in field.args.values())
