"""Answers that many subscribers share.

A thousand subscribers mostly ask for the same of the same mail. What they ask for is the
document without the arguments of its root field (those say where to begin and what to leave
out), so an event is executed and serialized once per such shape.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    OperationDefinitionNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    print_ast,
    visit,
)

from killsyncd.api.graphql.budget import MustBeginAgain, TookTooLong
from killsyncd.api.graphql.context import Context
from killsyncd.api.graphql.engine import Engine, Prepared, refusal
from killsyncd.api.graphql.errors import cause_of, formatted_all
from killsyncd.core.errors import Unavailable
from killsyncd.core.read_model import TooMuch

FRESH_SECONDS = 2.0
"""For how long an answer is good for others: names get resolved and users change their state."""

_ROOT_FIELDS = frozenset({"newKillmail", "workerStatusUpdates"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that subscribers are told. key: names it among all events; root: the field's value.

    context: returns a new context, or the one that others load with. A subscriber that waits for its
    reader keeps only this factory, not what was loaded.
    """

    key: Hashable
    root: Any
    context: Callable[[], Context]


@dataclass(frozen=True, slots=True)
class PreparedSubscription:
    """A subscription that was looked through.

    shape: equal for those that get the same answers. pages: whether it asks for pages of mails; those
    multiply, so that it gets a context of its own, in which they are counted.
    """

    document: DocumentNode
    variables: dict[str, Any]
    operation_name: str | None
    shape: bytes
    pages: bool = False


class SharedResults:
    """Executes events, once for all who ask for the same at about the same time.

    The last answers are kept, up to a size in bytes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limits = engine.services.limits
        self._clock = engine.services.clock
        self._kept: OrderedDict[Hashable, tuple[bytes, float]] = OrderedDict()
        self._size = 0
        self._making: dict[Hashable, asyncio.Task[bytes]] = {}
        self._texts: OrderedDict[bytes, SharedText] = OrderedDict()

    async def shape_of(
        self, prepared: Prepared, operation_name: str | None, variables: dict[str, Any]
    ) -> bytes:
        """The shape of a subscription; most of it is remembered, for many clients ask the same."""
        assert prepared.document is not None, "only for what can be executed"
        text = self._texts.pop(prepared.key, None)
        if text is None:
            text = await self._engine.beside(text_of, prepared.document)
        self._texts[prepared.key] = text
        if len(self._texts) > self._limits.cached_queries:
            self._texts.popitem(last=False)
        return text.shape(operation_name, variables)

    async def of(self, event: Event, asked: PreparedSubscription) -> bytes:
        """The answer for an event, as JSON.

        Raises Unavailable: the database does not answer. Better late than with holes, for a mail
        that was shown without its data would not come again.
        """
        key = (event.key, asked.shape)
        known = self._kept.get(key)
        if known is not None and self._clock.monotonic() - known[1] <= FRESH_SECONDS:
            return known[0]
        return await self._once(key, lambda: self._execute(event, asked))

    async def _once(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._keep(key, done))
        # Shielded: the one who asked first may hang up, and the others still want it.
        return await asyncio.shield(task)

    def _keep(self, key: Hashable, task: asyncio.Task[bytes]) -> None:
        self._making.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return
        if key in self._kept:
            self._size -= len(self._kept.pop(key)[0])
        now = self._clock.monotonic()
        self._kept[key] = (task.result(), now)
        self._size += len(task.result())
        while self._kept:
            answer, made = next(iter(self._kept.values()))
            if self._size <= self._limits.payloads and now - made <= FRESH_SECONDS:
                break
            self._kept.popitem(last=False)
            self._size -= len(answer)

    async def _execute(self, event: Event, asked: PreparedSubscription) -> bytes:
        try:
            return await self._run(event, asked)
        except MustBeginAgain:
            return await self._run(event, asked, large=True)

    async def _run(self, event: Event, asked: PreparedSubscription, *, large: bool = False) -> bytes:
        context = event.context()
        if asked.pages:
            context = Context(self._engine.services, context.epoch)
        try:
            async with self._engine.run(
                asked.document,
                context,
                asked.variables,
                asked.operation_name,
                root=event.root,
                large=large,
            ) as result:
                body: dict[str, Any] = {"data": result.data}
                if result.errors:
                    for each in result.errors:
                        cause = cause_of(each)
                        if isinstance(cause, Unavailable):
                            raise Unavailable(cause.message, cause.hint)
                    body["errors"] = formatted_all(result.errors)
                return orjson.dumps(body)
        except TookTooLong as error:
            # At another time it may be quick; the mail must not be passed over.
            raise Unavailable(error.message, error.hint) from error
        except TooMuch as error:
            return refusal(error).content
        finally:
            if asked.pages:
                context.close()

    async def close(self) -> None:
        """Stop what is being made."""
        for task in tuple(self._making.values()):
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)


@dataclass(frozen=True, slots=True)
class SharedText:
    """What of a document makes its answers: all but the arguments of root fields.

    digest: SHA-256 of its text. variables: names of those that it uses.
    """

    digest: str
    variables: frozenset[str]

    def shape(self, operation_name: str | None, variables: dict[str, Any]) -> bytes:
        """What two subscriptions must share to get the same answers to the same events."""
        given = {name: value for name, value in variables.items() if name in self.variables}
        known = orjson.dumps([self.digest, operation_name, given], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(known).digest()


def text_of(document: DocumentNode) -> SharedText:
    """The text that subscriptions may share. Takes milliseconds for a long one."""
    stripped = visit(document, _Stripped())
    used = _Used()
    visit(stripped, used)
    text = print_ast(visit(stripped, _Undefine(used.names)))
    return SharedText(hashlib.sha256(text.encode()).hexdigest(), frozenset(used.names))


class _Stripped(Visitor):
    """Leaves out the arguments of root fields."""

    def enter_field(self, node: FieldNode, *_: Any) -> FieldNode | None:
        if node.name.value not in _ROOT_FIELDS or not node.arguments:
            return None
        return FieldNode(
            name=node.name,
            alias=node.alias,
            arguments=(),
            directives=node.directives,
            selection_set=node.selection_set,
        )


class _Used(Visitor):
    """Which variables are used; being defined is no use."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable_definition(self, _node: VariableDefinitionNode, *_: Any) -> Any:
        return self.SKIP

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.add(node.name.value)


class _Undefine(Visitor):
    """Leaves out the definitions of variables that are not used."""

    def __init__(self, used: set[str]) -> None:
        super().__init__()
        self._used = used

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> OperationDefinitionNode:
        return OperationDefinitionNode(
            operation=node.operation,
            name=node.name,
            variable_definitions=tuple(
                each for each in node.variable_definitions or () if each.variable.name.value in self._used
            ),
            directives=node.directives,
            selection_set=node.selection_set,
        )
