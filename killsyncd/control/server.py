"""The control socket's server: HTTP with JSON, one route a command. Whoever may open the socket may do all.

docs/ctl.md has the routes. Long answers (watch, export, backup) are streamed; one that breaks off is cut
without its last chunk, so that no client takes it for whole.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import orjson
from aiohttp import web

from killsyncd.auth.login_state import LoginOrigin
from killsyncd.control import requests as bodies
from killsyncd.control.history import history_routes
from killsyncd.control.pilot_groups import group_routes
from killsyncd.control.ports import Backup
from killsyncd.control.requests import (
    answer,
    failure,
    flag,
    number,
    numbers,
    query,
    read_body,
    source_kind,
    text,
    texts,
)
from killsyncd.control.socket import ControlSocket
from killsyncd.control.statistics import statistics_routes
from killsyncd.control.webhooks import webhook_routes
from killsyncd.core.clock import utc
from killsyncd.core.errors import BadInput, KillsyncdError, NotFound, Unavailable, UsageError
from killsyncd.core.logging import get_logger
from killsyncd.http.connections import ConnectionLimits, Connections, open_files
from killsyncd.service import FeedLine, PauseChanged, jsonable
from killsyncd.service.history import HistoryImports
from killsyncd.service.import_export import ImportExport, ImportReport, parse_since
from killsyncd.service.operations import Operations
from killsyncd.service.pilot_groups import PilotGroups
from killsyncd.service.statistics_check import StatisticsCheck
from killsyncd.service.webhooks import WebhookOperations
from killsyncd.service.wording import queue_remedy

BackupMaker = Callable[[], AbstractAsyncContextManager[Backup]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SHUTDOWN_SECONDS = 2.0
"""Seconds that aiohttp gives commands under way to end, and once more, after cancelling them, to clean up."""

MOST_CONNECTIONS = 64
CHUNK = 1 << 16
NAMES_PATIENCE = 2.0
"""Seconds that a mail waits for its names before it is shown with bare ids."""

log = get_logger(__name__)


class ControlServer:
    """Serves `Operations` at a control socket.

    backup: makes a copy to send away; None where the database is backed up by other means.
    """

    def __init__(
        self,
        operations: Operations,
        exchange: ImportExport,
        backup: BackupMaker | None,
        webhooks: WebhookOperations | None = None,
        groups: PilotGroups | None = None,
        statistics: StatisticsCheck | None = None,
        history: HistoryImports | None = None,
    ) -> None:
        self._operations = operations
        self._exchange = exchange
        self._backup = backup
        self._closing = asyncio.Event()
        self._listening: ControlSocket | None = None
        self._listener: asyncio.Server | None = None
        # Whoever may open the socket may do all: nobody has to prove anything, and streams take their time.
        most = min(MOST_CONNECTIONS, open_files() // 8)
        self._connections = Connections(ConnectionLimits(most, most, send=None), "control")
        app = web.Application(middlewares=[_errors], client_max_size=bodies.MAX_BODY)
        app.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/v1/users", self._users),
                web.get("/v1/sources", self._sources),
                web.post("/v1/queue", self._queue),
                web.get("/v1/watch", self._watch),
                web.post("/v1/pause", self._pause),
                web.post("/v1/resume", self._resume),
                web.get("/v1/failed", self._failed),
                web.post("/v1/retry", self._retry),
                web.get("/v1/verify", self._verify),
                web.get("/v1/explain/{id}", self._explain),
                web.post("/v1/logout", self._logout),
                web.post("/v1/login", self._login),
                web.post("/v1/login/paste", self._paste),
                web.get("/v1/login/{id}", self._login_status),
                web.get("/v1/export", self._export),
                web.post("/v1/import", self._import),
                web.post("/v1/backup", self._send_backup),
            ]
        )
        if webhooks is not None:
            app.add_routes(webhook_routes(webhooks))
        if groups is not None:
            app.add_routes(group_routes(groups))
        if statistics is not None:
            app.add_routes(statistics_routes(statistics, self._stream))
        if history is not None:
            app.add_routes(history_routes(history))
        # A client that went away ends what it had asked for; what was committed stays.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
        )

    async def start(self, listening: ControlSocket) -> None:
        """Serve at this socket, which is closed with the server."""
        self._listening = listening
        await self._runner.setup()
        assert self._runner.server is not None, "it was set up"
        self._listener = await asyncio.get_running_loop().create_unix_server(
            self._connections.serve(self._runner.server), sock=listening.sock, backlog=64
        )
        log.debug("control socket listens", at=listening.address)

    async def close(self) -> None:
        """Take nothing new, end the streams, wait a little for the rest. Safe to call twice."""
        self._closing.set()
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()
        if self._listening is not None:
            self._listening.close()

    # -- commands ----------------------------------------------------------------------------------

    async def _status(self, request: web.Request) -> web.StreamResponse:
        query(request)
        return answer(await self._operations.status())

    async def _users(self, request: web.Request) -> web.StreamResponse:
        query(request)
        return answer({"users": await self._operations.users()})

    async def _sources(self, request: web.Request) -> web.StreamResponse:
        given = query(request, "kind").get("kind")
        return answer({"sources": await self._operations.sources.all(source_kind(given))})

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"users": texts, "corporations": texts, "force": flag, "full": flag})
        users, corporations = body.get("users") or None, body.get("corporations") or None
        how = {"force": body.get("force", False), "full": body.get("full", False)}
        # Corporations first: where one is unknown, nobody is queued.
        lists = (
            [] if users and not corporations else await self._operations.sources.queue(corporations, **how)
        )
        done = [] if corporations and not users else await self._operations.queue(users, **how)
        remedy = queue_remedy(done) if not any(each.queued for each in lists) else ""
        told = {"queued": done, "remedy": remedy}
        return answer({**told, "sources": lists} if lists or corporations else told)

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        return await self._switch(request, self._operations.pause, paused=True)

    async def _resume(self, request: web.Request) -> web.StreamResponse:
        return await self._switch(request, self._operations.resume, paused=False)

    async def _switch(
        self, request: web.Request, turn: Callable[..., Awaitable[list[PauseChanged]]], *, paused: bool
    ) -> web.StreamResponse:
        body = await read_body(request, {"producer": flag, "users": texts, "corporations": texts})
        corporations, users = body.get("corporations"), body.get("users")
        done = []
        if corporations:
            done = await self._operations.sources.pause(corporations, paused=paused)
        if not corporations or users or body.get("producer", False):
            done += await turn(producer=body.get("producer", False), users=users)
        return answer({"switched": done})

    async def _failed(self, request: web.Request) -> web.StreamResponse:
        query(request)
        unreadable = await self._operations.unreadable()
        return answer({"failed": await self._operations.failed(), "unreadable": unreadable})

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"ids": numbers, "names": flag})
        done = await self._operations.retry(body.get("ids") or None, names=body.get("names", False))
        told = {"retried": done.retried, "unknown": done.unknown}
        return answer({**told, "names": done.names} if body.get("names") else told)

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        user = query(request, "user").get("user")
        told: dict[str, Any] = {"characters": await self._operations.verify(user), "corporations": []}
        if user is None:
            told["corporations"] = await self._operations.verify_corporations()
        return answer(told)

    async def _explain(self, request: web.Request) -> web.StreamResponse:
        query(request)
        return answer(await self._operations.explain(number("the killmail id", request.match_info["id"])))

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"user": text, "erase": flag})
        if "user" not in body:
            raise UsageError("user is missing in the body")
        return answer(await self._operations.logout(body["user"], erase=body.get("erase", False)))

    # -- logins ------------------------------------------------------------------------------------

    async def _login(self, request: web.Request) -> web.StreamResponse:
        await read_body(request, {})
        begun = await self._operations.begin_login(LoginOrigin.CLI)
        return answer({"id": begun.login_id, "url": begun.url, "expiresAt": utc(begun.expires_at)})

    async def _login_status(self, request: web.Request) -> web.StreamResponse:
        query(request)
        return answer(await self._operations.login_status(text("the login", request.match_info["id"])))

    async def _paste(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"url": text})
        if "url" not in body:
            raise UsageError("url is missing in the body")
        return answer(await self._operations.finish_pasted(body["url"]))

    # -- streams -----------------------------------------------------------------------------------

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        given = query(request, "after", "freshOnly")
        lines = self._operations.follow(
            await self._operations.feed_start(given.get("after")),
            fresh_only=given.get("freshOnly", "").lower() in ("1", "true"),
            names_patience=NAMES_PATIENCE,
        )
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        with _cut_on_failure(request):
            async for line in self._until_closing(lines):
                await response.write(orjson.dumps(jsonable(line), option=orjson.OPT_APPEND_NEWLINE))
            await response.write_eof()
        return response

    async def _until_closing(self, lines: AsyncIterator[FeedLine]) -> AsyncIterator[FeedLine]:
        """The lines, until the server closes: then the client gets an end, and no broken connection."""
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while True:
                following = asyncio.ensure_future(_next(lines))
                try:
                    await asyncio.wait({following, closing}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait({following})
                if following.cancelled():
                    return
                yield following.result()
        finally:
            closing.cancel()

    async def _export(self, request: web.Request) -> web.StreamResponse:
        given = query(request, "format", "since", "character")
        chunks = self._exchange.export(
            given.get("format", "jsonl"),
            since=parse_since(given["since"]) if "since" in given else None,
            character_id=number("character", given["character"]) if "character" in given else None,
        )
        kind = "text/csv; charset=utf-8" if given.get("format") == "csv" else "application/x-ndjson"
        return await self._stream(request, chunks, {"Content-Type": kind})

    async def _send_backup(self, request: web.Request) -> web.StreamResponse:
        await read_body(request, {})
        if self._backup is None:
            raise UsageError(
                "a PostgreSQL database is backed up with PostgreSQL's own tools",
                "pg_dump, or a copy as a SQLite file: killsyncd migrate-store --to sqlite:///FILE",
            )
        async with self._backup() as made:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(made.size)}
            return await self._stream(request, made.chunks(), headers)

    async def _stream(
        self, request: web.Request, chunks: AsyncIterator[bytes], headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send chunks. What fails before the first one is an ordinary error."""
        first = await anext(chunks, b"")
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        with _cut_on_failure(request):
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        return response

    async def _import(self, request: web.Request) -> web.StreamResponse:
        query(request)
        report = ImportReport()
        try:
            await self._exchange.import_lines(request.content.iter_chunked(CHUNK), report=report)
        except Unavailable as error:
            return failure(error, {"report": report})
        log.info("imported", stored=report.stored, known=report.known, bad=report.bad, peer=_peer(request))
        return answer(report)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method == "POST":
        log.debug("control", route=request.path, peer=_peer(request))
    try:
        return await handler(request)
    except KillsyncdError as error:
        return failure(error)
    except web.HTTPNotFound:
        return failure(NotFound(f"there is no {_path(request)}", "docs/ctl.md has the routes"))
    except web.HTTPMethodNotAllowed as error:
        return failure(UsageError(f"{_path(request)} takes {' or '.join(sorted(error.allowed_methods))}"))
    except web.HTTPException:
        raise
    except web.RequestPayloadError:
        log.info("control request refused", reason="its body is no HTTP", peer=_peer(request))
        return failure(BadInput("the body is not HTTP as it should be"))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        log.exception("control command failed in a way nobody foresaw", error, route=request.path)
        return failure(KillsyncdError("an error in killsyncd", "its log has more"))


async def _next(lines: AsyncIterator[FeedLine]) -> FeedLine:
    return await anext(lines)


@contextmanager
def _cut_on_failure(request: web.Request) -> Iterator[None]:
    """An answer that has begun can't become an error: it is cut off, which the client sees."""
    try:
        yield
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        log.warning("an answer broke off", route=request.path, reason=str(error))
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("cut off") from error


def _path(request: web.Request) -> str:
    """A path as it can be shown: anything may have been asked for."""
    return ascii(request.path)[1:-1][:200]


def _peer(request: web.Request) -> str:
    """Who asks, by user id; for the log."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None or not hasattr(socket, "SO_PEERCRED"):
        return "unknown"
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f"uid {struct.unpack('3i', credentials)[1]}"
    except (OSError, struct.error):
        return "unknown"
