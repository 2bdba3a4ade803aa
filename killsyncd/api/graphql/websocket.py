"""GraphQL over WebSocket, protocol `graphql-transport-ws`
(https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md): subscriptions, queries too.

One task reads a socket, one task serves each operation on it. Every operation waits for the
socket to take its message before it looks for the next one, so that a reader who does not read
holds back its own cursor and nothing else; after a while it is cut off.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import orjson
from aiohttp import ClientConnectionResetError, WSMsgType, web
from graphql import ExecutionResult, Executor, OperationType, create_source_event_stream

from killsyncd.api.auth import Access
from killsyncd.api.graphql.engine import Engine, Prepared, refusal
from killsyncd.api.graphql.errors import Unauthenticated, formatted_all
from killsyncd.api.graphql.feed import RETRY
from killsyncd.api.graphql.open_operations import OpenOperations
from killsyncd.api.graphql.shared_results import Event, PreparedSubscription, SharedResults
from killsyncd.api.graphql.subscriptions import SubscriptionContext
from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.logging import get_sparing_logger
from killsyncd.core.read_model import TooMuch
from killsyncd.core.retry import retry
from killsyncd.http.connections import Connections

PROTOCOL = "graphql-transport-ws"

PATIENT_TRIES = 60
"""How often an event is tried again, a second apart, while the database does not answer."""

log = get_sparing_logger(__name__)


class _Close(Exception):
    """The socket must be closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphqlWs:
    """The sockets at `/graphql`. Host and page were checked before."""

    def __init__(
        self, engine: Engine, access: Access, live: SubscriptionContext, connections: Connections
    ) -> None:
        self._connections = connections
        self._engine = engine
        self._access = access
        self._live = live
        self._payloads = SharedResults(engine)
        self._operations = OpenOperations(engine.services.limits)
        self._sockets: set[_Socket] = set()
        self._closing = False

    @property
    def sockets(self) -> int:
        """How many are open."""
        return len(self._sockets)

    async def handle(self, request: web.Request, *, authenticated: bool) -> web.StreamResponse:
        """Serve a socket until it closes. authenticated: the handshake showed a token or a session."""
        limits = self._engine.services.limits
        if (
            self._closing
            or len(self._sockets) >= limits.sockets
            or (authenticated and not self._connections.prove(request))
        ):
            raise web.HTTPServiceUnavailable(
                text="too many WebSockets are open\n", headers={"Retry-After": "30"}
            )
        ws = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            heartbeat=limits.ping_seconds,
            max_msg_size=limits.body,
            compress=False,
            timeout=2.0,
            autoping=False,  # its pongs wait for their reader without end
            writer_limit=0,  # whoever sends waits until that is taken
        )
        socket = _Socket(
            ws,
            request,
            self._engine,
            self._access,
            self._live,
            self._payloads,
            self._operations,
            self._connections,
            authenticated,
        )
        # Counted from here: the handshake itself waits for the network.
        self._sockets.add(socket)
        try:
            await ws.prepare(request)
            await socket.serve()
        finally:
            self._sockets.discard(socket)
        return ws

    async def close(self) -> None:
        """Tell everybody that we are going, and hang up."""
        self._closing = True
        await asyncio.gather(*(each.leave() for each in tuple(self._sockets)), return_exceptions=True)
        await self._payloads.close()


class _Socket:
    """One connection."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        request: web.Request,
        engine: Engine,
        access: Access,
        live: SubscriptionContext,
        payloads: SharedResults,
        shared: OpenOperations,
        connections: Connections,
        authenticated: bool,
    ) -> None:
        self._ws = ws
        self._request = request
        self._engine = engine
        self._limits = engine.services.limits
        self._access = access
        self._live = live
        self._payloads = payloads
        self._shared = shared
        self._connections = connections
        # One answer at a time is made for a reader: one who does not read has no second one waiting.
        self._answering = asyncio.Lock()
        self._authenticated = authenticated
        self._introduced = False
        self._acknowledged = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read messages until the socket closes."""
        if self._ws.ws_protocol != PROTOCOL:
            await self._ws.close(code=4406, message=b"Subprotocol not acceptable")
            return
        patience = asyncio.get_running_loop().call_later(self._limits.init_seconds, self._lose_patience)
        try:
            await self._read()
        except _Close as close:
            log.info("socket closed", code=close.code, reason=close.reason)
            await self._end(close.code, close.reason)
        except (TimeoutError, ConnectionError, ClientConnectionResetError):
            self._abort()
        finally:
            patience.cancel()
            for task in self._tasks:
                task.cancel()
            if self._ending is not None:
                await self._ending
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # Cancelled, each holds us by where it was, in a circle that only the collector would end.
            self._operations.clear()

    async def leave(self) -> None:
        """The daemon stops."""
        await self._end(1001, "The daemon is stopping")

    def _lose_patience(self) -> None:
        if not self._acknowledged:
            ending = self._end(4408, "Connection initialisation timeout")
            self._ending = asyncio.get_running_loop().create_task(ending)

    async def _end(self, code: int, reason: str) -> None:
        """Close politely, or not, where the reader does not even take that."""
        try:
            async with asyncio.timeout(3.0):
                await self._ws.close(code=code, message=reason.encode()[:120])
        except (TimeoutError, ConnectionError, ClientConnectionResetError):
            self._abort()

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    # -- what comes in -----------------------------------------------------------------------------

    async def _read(self) -> None:
        async for frame in self._ws:
            # Those that are here already come without a pause, and others want the loop, too.
            await self._engine.turn()
            if frame.type is WSMsgType.TEXT:
                await self._message(frame.data)
            elif frame.type is WSMsgType.BINARY:
                raise _Close(4400, "Messages are text")
            elif frame.type is WSMsgType.PING:
                async with asyncio.timeout(self._limits.send_seconds):
                    await self._ws.pong(frame.data)

    async def _message(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except ValueError:
            raise _Close(4400, "Invalid message: no JSON") from None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "connection_init":
            await self._introduce(message.get("payload"))
        elif kind == "ping":
            _payload(message)
            await self._send({"type": "pong"})
        elif kind == "pong":
            _payload(message)
        elif kind == "subscribe":
            await self._subscribe(message, len(text))
        elif kind == "complete":
            task = self._operations.pop(_id(message), None)
            if task is not None:
                task.cancel()
        else:
            raise _Close(4400, "Invalid message: unknown type")

    async def _introduce(self, payload: Any) -> None:
        if self._introduced:
            raise _Close(4429, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Close(4400, "Invalid message: payload is not an object")
        self._introduced = True
        if not self._authenticated:
            given = {str(name).lower(): value for name, value in (payload or {}).items()}
            authorization = given.get("authorization")
            try:
                self._access.check_token(authorization if isinstance(authorization, str) else None)
            except Unauthenticated:
                raise _Close(4403, "Forbidden") from None
            if not self._connections.prove(self._request):
                raise _Close(1013, "Too many connections: try again later")
        self._acknowledged = True
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, message: dict[str, Any], size: int) -> None:
        id_ = _id(message)
        payload = message.get("payload")
        query = payload.get("query") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or not isinstance(query, str):
            raise _Close(4400, "Invalid message: payload.query is missing")
        variables, name = payload.get("variables"), payload.get("operationName")
        if not (variables is None or isinstance(variables, dict)) or not (
            name is None or isinstance(name, str)
        ):
            raise _Close(4400, "Invalid message: variables is no object, or operationName no string")
        if not self._acknowledged:
            raise _Close(4401, "Unauthorized")
        if id_ in self._operations:
            raise _Close(4409, f"Subscriber for {id_[:60]} already exists")
        try:
            # Those that were completed may still be ending.
            most = self._limits.subscriptions
            if len(self._operations) >= most or len(self._tasks) >= 2 * most:
                raise TooMuch(f"more than {most} operations on one socket", "open another socket")
            self._shared.begin(size)
        except TooMuch as error:
            await self._send({"id": id_, "type": "error", "payload": refusal(error).errors})
            return
        task = asyncio.create_task(self._operate(id_, query, variables or {}, name or None))
        self._operations[id_] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(done, size))

    def _over(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._shared.end(size)

    # -- operations --------------------------------------------------------------------------------

    async def _operate(self, id_: str, query: str, variables: dict[str, Any], name: str | None) -> None:
        """Serve one operation to its end, and tell the client which end."""
        try:
            errors = await self._results(id_, query, variables, name)
        except (ConnectionError, ClientConnectionResetError):
            return
        except TimeoutError:
            log.info("socket closed", reason="its reader does not read")
            self._abort()
            return
        except (TooMuch, Unavailable) as error:
            # The subscriber knows its last cursor, and comes again.
            errors = refusal(error).errors
        except Exception as error:
            log.exception("an operation on a socket failed", error)
            errors = refusal(KillsyncdError("something went wrong inside the daemon")).errors
        # Free before the client hears of it: it may use the id again at once.
        if self._operations.get(id_) is asyncio.current_task():
            del self._operations[id_]
        end = {"id": id_, "type": "error", "payload": errors} if errors else {"id": id_, "type": "complete"}
        try:
            await self._send(end)
        except (TimeoutError, ConnectionError, ClientConnectionResetError):
            self._abort()

    async def _results(
        self, id_: str, query: str, variables: dict[str, Any], name: str | None
    ) -> Sequence[dict[str, Any]] | None:
        """Send results; answers errors where there is nothing to send."""
        prepared = await self._engine.prepare(query)
        if prepared.document is None:
            return prepared.errors
        try:
            operation = self._engine.operation(prepared, name)
        except KillsyncdError as error:
            return refusal(error).errors
        head = orjson.dumps({"id": id_, "type": "next"})[:-1] + b',"payload":'
        if operation.operation is not OperationType.SUBSCRIPTION:
            async with self._answering, self._engine.answer(prepared, variables, name) as answer:
                if not answer.executed:
                    return answer.errors
                await self._send_bytes(head + answer.content + b"}")
            return None
        with self._shared.subscribed(prepared):
            await self._engine.turn()
            stream = await self._stream(prepared, variables, name)
            if isinstance(stream, list):
                return stream
            shape = await self._payloads.shape_of(prepared, name, variables)
            asked = PreparedSubscription(prepared.document, variables, name, shape, pages=prepared.pages)
            try:
                async for event in stream:
                    await self._tell(head, event, asked)
            finally:
                await stream.aclose()
        return None

    async def _tell(self, head: bytes, event: Event, asked: PreparedSubscription) -> None:
        await self._engine.turn()  # a mail wakes all subscribers in one round
        async with self._answering:
            payload = await self._payload(event, asked)
            async with self._engine.sending(len(payload)):
                await self._send_bytes(head + payload + b"}")

    async def _payload(self, event: Event, asked: PreparedSubscription) -> bytes:
        """An event's answer; while the database is away, waited for. Raises Unavailable at last."""
        return await retry(
            lambda: self._payloads.of(event, asked),
            on=Unavailable,
            wait=RETRY,
            sleep=self._engine.services.clock.sleep,
            stop=lambda attempts: attempts > PATIENT_TRIES,
        )

    async def _stream(
        self, prepared: Prepared, variables: dict[str, Any], name: str | None
    ) -> AsyncGenerator[Event, None] | list[dict[str, Any]]:
        assert prepared.document is not None, "looked at before"
        executor = Executor.build(
            self._engine.schema,
            prepared.document,
            context_value=self._live,
            raw_variable_values=variables,
            operation_name=name,
        )
        if isinstance(executor, list):
            return formatted_all(executor)
        stream: Any = create_source_event_stream(executor)
        if inspect.isawaitable(stream):
            stream = await stream
        if isinstance(stream, ExecutionResult):
            return formatted_all(stream.errors or [])
        return cast("AsyncGenerator[Event, None]", stream)

    # -- what goes out -----------------------------------------------------------------------------

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_bytes(orjson.dumps(message))

    async def _send_bytes(self, message: bytes) -> None:
        """Raises TimeoutError where the reader does not take it, ConnectionError where it is gone."""
        async with asyncio.timeout(self._limits.send_seconds):
            await self._ws.send_frame(message, WSMsgType.TEXT)


def _id(message: dict[str, Any]) -> str:
    id_ = message.get("id")
    if not isinstance(id_, str) or not id_:
        raise _Close(4400, "Invalid message: id is missing, or not a string")
    return id_


def _payload(message: dict[str, Any]) -> None:
    if not isinstance(message.get("payload"), dict | None):
        raise _Close(4400, "Invalid message: payload is not an object")
