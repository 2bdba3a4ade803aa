"""Queries: parsed, measured and validated once each, then executed within limits.

Parsing and validating costs ten times what executing a small query does, so both are
remembered by the query's text, refusals too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import orjson
from ariadne import make_executable_schema
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_operation_ast,
    parse,
    recommended_rules,
    specified_rules,
    validate,
    visit,
)

from killsyncd.api.graphql.budget import Pool, QueryBudget, Reservation, TookTooLong
from killsyncd.api.graphql.context import ApiServices, Context
from killsyncd.api.graphql.cost import Costs
from killsyncd.api.graphql.errors import for_log, formatted, formatted_all, log, plain
from killsyncd.api.graphql.executor import BoundedExecutor
from killsyncd.api.graphql.limits import check_document, check_text, unlink
from killsyncd.api.graphql.resolvers import BINDABLES
from killsyncd.api.graphql.scalars import SCALARS
from killsyncd.api.graphql.turns import Turns
from killsyncd.core.errors import BadInput, KillsyncdError, Unavailable
from killsyncd.core.read_model import FeedEpoch, TooMuch
from killsyncd.core.tasks import deadline, others_turn

P = ParamSpec("P")
T = TypeVar("T")

EPOCH_SECONDS = 60.0
EPOCH_PATIENCE = 5.0

_RULES = (*specified_rules, *recommended_rules)
_SHORT_TEXT = 200  # characters; looked through in a few milliseconds
_LONGEST_MESSAGE = 1_000
_NAMED = ("name", "eft")


def make_schema() -> GraphQLSchema:
    """The executable schema."""
    return make_executable_schema(schema_text(), *BINDABLES, *SCALARS)


def schema_text() -> str:
    """The schema as it stands in its files: the base, then what each subject adds to it, by name."""
    folder = files("killsyncd.api.graphql") / "schema"
    texts = {
        each.name: each.read_text("utf-8") for each in folder.iterdir() if each.name.endswith(".graphql")
    }
    return "\n".join([texts.pop("base.graphql"), *(texts[name] for name in sorted(texts))])


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Prepared:
    """A query that was looked through: a document that can be executed, or what is wrong with it.

    key: SHA-256 of the text. names: whether it asks for any name. pages: whether it asks for any page.
    cursors: whether it asks for any mail's `feedCursor`. weight: what it costs to remember, in tokens.
    """

    key: bytes
    document: DocumentNode | None
    errors: Sequence[dict[str, Any]] = ()
    names: bool = False
    pages: bool = False
    cursors: bool = False
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, as JSON. executed: there is a `data` entry, if only null. errors: those in it."""

    content: bytes
    executed: bool
    errors: Sequence[dict[str, Any]] = ()


class Engine:
    """Executes queries and mutations; `feed_hub` and `status_hub` do subscriptions with its `prepare`."""

    def __init__(self, services: ApiServices, schema: GraphQLSchema | None = None) -> None:
        self.services = services
        self.schema = schema or make_schema()
        self._limits = limits = services.limits
        self._budget = QueryBudget(limits.values, limits.values_together)
        self._sending = Pool(limits.sending)
        self._turns = Turns()
        self._looking = asyncio.Lock()
        self._endings: set[asyncio.Future[None]] = set()
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._weight = 0
        # Those that somebody still uses, so that all who ask for the same share one.
        self._used: WeakValueDictionary[bytes, Prepared] = WeakValueDictionary()
        self._epoch: FeedEpoch | None = None
        self._epoch_read_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a query is under way."""
        return self._budget.busy

    async def epoch(self) -> FeedEpoch:
        """The feed's epoch: it changes while no daemon runs, or where another took this one for dead."""
        now = self.services.clock.monotonic()
        if self._epoch is None or now - self._epoch_read_at > EPOCH_SECONDS:
            async with deadline(EPOCH_PATIENCE):
                self._epoch = (await self.services.reading.feed_point()).epoch
            self._epoch_read_at = now
        return self._epoch

    async def prepare(self, text: str) -> Prepared:
        """Look through a query, or remember what was found the last time."""
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered(key)
        if known is not None:
            return known
        if len(text) <= _SHORT_TEXT:
            await self.turn()  # many may come at once
            return self._remember(self._look_through(key, text))
        async with self._looking:
            known = self._remembered(key)
            return known or self._remember(await asyncio.to_thread(self._look_through, key, text))

    async def beside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what takes long for a long query: not in the loop, and one at a time."""
        async with self._looking:
            return await asyncio.to_thread(work, *args, **kwargs)

    async def turn(self) -> None:
        """Wait for a round of the loop with time left, before some milliseconds of work of a query's own."""
        await self._turns.take(object())

    def _remembered(self, key: bytes) -> Prepared | None:
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        return self._used.get(key)

    def _remember(self, prepared: Prepared) -> Prepared:
        if prepared.document is None:
            first = prepared.errors[0]
            log.info("query refused", code=first["extensions"]["code"], reason=for_log(first["message"]))
        self._used[prepared.key] = self._prepared[prepared.key] = prepared
        self._weight += prepared.weight
        limits = self._limits
        while len(self._prepared) > limits.cached_queries or self._weight > limits.cached_tokens:
            _, oldest = self._prepared.popitem(last=False)
            self._weight -= oldest.weight
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

    @asynccontextmanager
    async def answer(
        self, prepared: Prepared, variables: dict[str, Any] | None, operation_name: str | None
    ) -> AsyncIterator[Answer]:
        """Execute a query or mutation, for as long as its answer is being sent.

        Errors end in the answer, never outside it.
        """
        if prepared.document is None:
            yield refused(list(prepared.errors))
            return
        answer = await self._execute(prepared, variables, operation_name)
        async with self.sending(len(answer.content), self._limits.patience) as admitted:
            yield answer if admitted else refusal(_busy())

    @asynccontextmanager
    async def sending(self, size: int, patience: float | None = None) -> AsyncIterator[bool]:
        """Send so many bytes when there is room for them beside the others.

        patience: seconds to wait for it; after that False comes, and nothing may be sent.
        """
        held = 0 if size <= self._limits.small else min(size, self._sending.capacity)
        try:
            async with asyncio.timeout(patience):
                await self._sending.take(held)
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._sending.give(held)

    async def _execute(
        self, prepared: Prepared, variables: dict[str, Any] | None, operation_name: str | None
    ) -> Answer:
        try:
            if self.operation(prepared, operation_name).operation is OperationType.SUBSCRIPTION:
                raise BadInput(
                    "subscriptions do not go over HTTP",
                    "connect a WebSocket: graphql-transport-ws at /graphql",
                )
            # What asks for no cursor is answered without the database: the status, while that is away.
            epoch = await self.epoch() if prepared.cursors else FeedEpoch("")
            context = Context(self.services, epoch, names=prepared.names)
        except KillsyncdError as error:
            return refusal(error)
        try:
            async with self.run(
                prepared.document, context, variables, operation_name, patience=self._limits.patience
            ) as result:
                body: dict[str, Any] = {}
                if result.errors:
                    body["errors"] = formatted_all(result.errors)
                # Without a path the request itself was wrong (variables): then there is no data entry at all.
                executed = result.data is not None or any(each.path for each in result.errors or ())
                if executed:
                    body["data"] = result.data
                return Answer(orjson.dumps(body), executed, body.get("errors", ()))
        except (TooMuch, Unavailable) as error:
            return refusal(error)
        finally:
            context.close()

    @asynccontextmanager
    async def run(
        self,
        document: DocumentNode | None,
        context: Context,
        variables: dict[str, Any] | None,
        operation_name: str | None,
        root: Any = None,
        patience: float | None = None,
        large: bool = False,
    ) -> AsyncIterator[ExecutionResult]:
        """Execute what was looked through; its values are paid for until the block ends.

        patience, large: see `QueryBudget.admit`, and what that raises, MustBeginAgain included.
        Raises TooMuch: it takes too long (TookTooLong), or gives too much.
        """
        assert document is not None, "only for what can be executed"
        await self.turn()  # a mail sets off every subscriber's at once
        executor = BoundedExecutor.build(
            self.schema,
            document,
            root_value=root,
            raw_variable_values=variables,
            operation_name=operation_name,
        )
        if isinstance(executor, list):
            yield ExecutionResult(None, executor)
            return
        assert isinstance(executor, BoundedExecutor), "it is what was built"
        fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        costs = Costs(self.schema, fragments, executor.variable_values, self._limits.page)
        reservation = await self._budget.admit(costs.of_operation(executor.operation), patience, large=large)
        try:
            executor.bound(context.of_run(reservation), costs, reservation, self._turns)
            # A mutation goes on to its end: what it asks the SSO or the database for has limits of its own.
            mutates = executor.operation.operation is OperationType.MUTATION
            clock = others_turn.set(reservation.others_first)
            try:
                result = await self._within_limits(
                    executor, reservation, None if mutates else self._limits.seconds
                )
            finally:
                others_turn.reset(clock)
            yield result
        finally:
            reservation.close()

    async def _within_limits(
        self, executor: BoundedExecutor, reservation: Reservation, seconds: float | None
    ) -> ExecutionResult:
        await self._turns.take(reservation)
        reservation.begin()
        going: Any = executor.execute_operation()
        if isinstance(going, ExecutionResult):
            return going
        task: asyncio.Future[ExecutionResult] = asyncio.ensure_future(going)
        try:
            await _one_of({task, reservation.over}, reservation, seconds)
        finally:
            if not task.done():
                # Shielded: whoever is cancelled twice must not leave it half stopped.
                ending = asyncio.ensure_future(self._wind_up(task, reservation))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)
                await asyncio.shield(ending)
        if not task.cancelled():
            return task.result()
        raise reservation.error or TookTooLong(self._limits.seconds)

    async def _wind_up(self, task: asyncio.Future[Any], reservation: Reservation) -> None:
        """Stop a query that is under way: what it began must have started before it can be cancelled."""
        reservation.end()
        self._turns.release(reservation)
        left = rounds = 4 * self._limits.depth
        while left:
            await asyncio.sleep(0)
            left = rounds if reservation.beginning else left - 1
        task.cancel()
        await asyncio.wait({task})

    def _look_through(self, key: bytes, text: str) -> Prepared:
        """What a query is. Runs beside the loop, too."""
        try:
            tokens = check_text(text, self._limits)
            document = parse(text)
            unlink(document)
            check_document(document, self._limits)
            errors = validate(self.schema, document, _RULES, max_errors=5)
        except KillsyncdError as error:
            return _unusable(key, [plain(error)])
        except GraphQLError as error:
            return _unusable(key, [formatted(error)])
        except RecursionError:
            return _unusable(key, [plain(TooMuch("the query nests too deep"))])
        if errors:
            return _unusable(key, [formatted(each) for each in errors])
        types = TypeInfo(self.schema)
        fields = _Fields(types)
        visit(document, TypeInfoVisitor(types, fields))
        return Prepared(
            key,
            document,
            names=any(name in _NAMED for _, name in fields.found),
            pages=any(name == "killmails" for _, name in fields.found),
            cursors=("Killmail", "feedCursor") in fields.found,
            weight=tokens + len(text) // 256,
        )


async def _one_of(futures: set[asyncio.Future[Any]], reservation: Reservation, seconds: float | None) -> None:
    """Until one of these is done, or the query has taken so many seconds of its own."""
    while True:
        left = None if seconds is None else max(0.01, seconds - reservation.seconds)
        done, _ = await asyncio.wait(futures, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done or (seconds is not None and reservation.seconds >= seconds):
            return


def _unusable(key: bytes, errors: list[dict[str, Any]]) -> Prepared:
    for each in errors:
        each["message"] = each["message"][:_LONGEST_MESSAGE]
    return Prepared(key, None, errors)


def _busy() -> Unavailable:
    return Unavailable("the daemon is busy sending other answers", "try again in a moment")


class _Fields(Visitor):
    """All fields that are asked for, at any depth: of which type, and their name."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: set[tuple[str, str]] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        kind = self._types.get_parent_type()
        self.found.add((kind.name if kind is not None else "", node.name.value))


def refusal(error: KillsyncdError) -> Answer:
    """An answer that consists of one error, and its line in the log."""
    shown = plain(error)
    log.info("query refused", code=shown["extensions"]["code"], reason=for_log(error.message))
    return refused([shown])


def refused(errors: Sequence[dict[str, Any]]) -> Answer:
    """An answer that consists of errors."""
    return Answer(orjson.dumps({"errors": errors}), executed=False, errors=errors)
