"""Queries: parsed, measured and validated once each, then executed within limits.

Parsing and validating costs ten times what executing a small query does, so both are
remembered by the query's text, refusals too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ariadne import make_executable_schema
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    Visitor,
    execute,
    get_operation_ast,
    parse,
    recommended_rules,
    specified_rules,
    validate,
    visit,
)

from killsyncd.api.graphql.context import ApiServices, Context
from killsyncd.api.graphql.errors import for_log, formatted_all, log, plain
from killsyncd.api.graphql.limits import check_document, check_text
from killsyncd.api.graphql.resolvers import BINDABLES
from killsyncd.api.graphql.scalars import SCALARS
from killsyncd.core.errors import BadInput, KillsyncdError
from killsyncd.core.read_model import FeedEpoch, TooMuch

EPOCH_SECONDS = 60.0

_RULES = (*specified_rules, *recommended_rules)


def make_schema() -> GraphQLSchema:
    """The executable schema."""
    return make_executable_schema(schema_text(), *BINDABLES, *SCALARS)


def schema_text() -> str:
    """The schema as it stands in its file."""
    return (files("killsyncd.api.graphql") / "schema.graphql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that was looked through: a document that can be executed, or what is wrong with it.

    key: SHA-256 of the text. names: whether it asks for any `name`. pages: whether it asks for any page.
    """

    key: bytes
    document: DocumentNode | None
    errors: Sequence[dict[str, Any]] = ()
    names: bool = False
    pages: bool = False


@dataclass(frozen=True, slots=True)
class GraphqlResult:
    """What goes back. executed: there is a `data` entry, if only null."""

    body: dict[str, Any]
    executed: bool


class Engine:
    """Executes queries and mutations; `feed_hub` and `status_hub` do subscriptions with its `prepare`."""

    def __init__(self, room: ApiServices, schema: GraphQLSchema | None = None) -> None:
        self.room = room
        self.schema = schema or make_schema()
        self._limits = room.limits
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._epoch: FeedEpoch | None = None
        self._epoch_read_at = 0.0

    async def epoch(self) -> FeedEpoch:
        """The feed's epoch: it changes while no daemon runs, or where another took this one for dead."""
        now = self.room.clock.monotonic()
        if self._epoch is None or now - self._epoch_read_at > EPOCH_SECONDS:
            self._epoch, self._epoch_read_at = (await self.room.reading.feed_point()).epoch, now
        return self._epoch

    def prepare(self, text: str) -> Prepared:
        """Look through a query, or remember what was found the last time."""
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._prepared.get(key)
        if known is not None:
            self._prepared.move_to_end(key)
            return known
        prepared = self._look_through(key, text)
        self._prepared[key] = prepared
        if len(self._prepared) > self._limits.cached_queries:
            self._prepared.popitem(last=False)
        return prepared

    def operation(self, prepared: Prepared, name: str | None) -> OperationDefinitionNode:
        """The operation that is meant. Raises BadInput where that is not clear."""
        assert prepared.document is not None, "only for what can be executed"
        found = get_operation_ast(prepared.document, name)
        if found is not None:
            return found
        if name is None:
            raise BadInput("the document has several operations", "name the one you mean with operationName")
        raise BadInput("the document has no operation of this operationName", "name one that it has")

    async def execute(
        self, prepared: Prepared, variables: dict[str, Any] | None, operation_name: str | None
    ) -> GraphqlResult:
        """Execute a query or mutation. Errors end in the answer, never outside it."""
        if prepared.document is None:
            return GraphqlResult({"errors": list(prepared.errors)}, executed=False)
        try:
            if self.operation(prepared, operation_name).operation is OperationType.SUBSCRIPTION:
                raise BadInput(
                    "subscriptions do not go over HTTP",
                    "connect a WebSocket: graphql-transport-ws at /graphql",
                )
            context = Context(self.room, await self.epoch(), names=prepared.names)
        except KillsyncdError as error:
            return refusal(error)
        try:
            result = await self.run(prepared.document, context, variables, operation_name)
        except TooMuch as error:
            return refusal(error)
        finally:
            context.loaders.cancel()
        body: dict[str, Any] = {}
        if result.errors:
            body["errors"] = formatted_all(result.errors)
        # Without a path the request itself was wrong (variables): then there is no data entry at all.
        executed = result.data is not None or any(each.path for each in result.errors or ())
        if executed:
            body["data"] = result.data
        return GraphqlResult(body, executed)

    async def run(
        self,
        document: DocumentNode,
        context: Context,
        variables: dict[str, Any] | None,
        operation_name: str | None,
        root: Any = None,
    ) -> ExecutionResult:
        """Execute what was looked through. Raises TooMuch: it takes too long, or gives too much."""
        try:
            async with asyncio.timeout(self._limits.seconds) as deadline:
                context.loaders.turns.on_too_much = lambda: _expire(deadline)
                going = execute(
                    self.schema,
                    document,
                    root_value=root,
                    context_value=context,
                    variable_values=variables,
                    operation_name=operation_name,
                )
                result = going if isinstance(going, ExecutionResult) else await going
                if context.loaders.turns.too_much:
                    raise TimeoutError  # it came to its end, with holes, before it could be stopped
                return result
        except TimeoutError:
            if context.loaders.turns.too_much:
                reason = f"the answer would hold more than {self._limits.rows:,} rows"
            else:
                reason = f"the query took longer than {self._limits.seconds:g} s"
            raise TooMuch(reason, "ask for less at once") from None

    def _look_through(self, key: bytes, text: str) -> Prepared:
        try:
            check_text(text, self._limits)
            document = parse(text)
            check_document(document, self._limits)
            errors = validate(self.schema, document, _RULES, max_errors=5)
        except KillsyncdError as error:
            return Prepared(key, None, refusal(error).body["errors"])
        except GraphQLError as error:
            return Prepared(key, None, formatted_all([error]))
        except RecursionError:
            return Prepared(key, None, refusal(TooMuch("the query nests too deep")).body["errors"])
        if errors:
            return Prepared(key, None, formatted_all(errors))
        fields = _Fields()
        visit(document, fields)
        return Prepared(key, document, names="name" in fields.found, pages="killmails" in fields.found)


def _expire(deadline: asyncio.Timeout) -> None:
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time())


class _Fields(Visitor):
    """The names of all fields that are asked for, at any depth."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.found.add(node.name.value)


def refusal(error: KillsyncdError) -> GraphqlResult:
    """An answer that consists of one error, and its line in the log."""
    shown = plain(error)
    log.info("query refused", code=shown["extensions"]["code"], reason=for_log(error.message))
    return GraphqlResult({"errors": [shown]}, executed=False)
