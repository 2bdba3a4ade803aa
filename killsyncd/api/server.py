"""The HTTP server of the daemon: routes, gates, security headers, and its life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
from aiohttp import web

from killsyncd.api.auth import Access, Forbidden, Malformed
from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.engine import Engine, schema_text
from killsyncd.api.graphql.errors import BAD_USER_INPUT, INTERNAL, Unauthenticated, plain
from killsyncd.api.graphql.feed import FeedHub
from killsyncd.api.graphql.http import GraphqlHttp, prefers_html, respond
from killsyncd.api.graphql.mail_documents import MailDocuments
from killsyncd.api.graphql.status_feed import StatusHub
from killsyncd.api.graphql.subscriptions import SubscriptionContext
from killsyncd.api.graphql.websocket import GraphqlWs
from killsyncd.api.listening import bound, told_address
from killsyncd.api.ports import EndedSessions
from killsyncd.api.web.pages import (
    CALLBACK_PATH,
    LOGIN_PATH,
    LoginPages,
    SessionPages,
    forbidden,
    page,
    refuse,
    wrong_host,
)
from killsyncd.api.web.static import load_folder, make_file, send
from killsyncd.config import ApiConfig
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import get_sparing_logger
from killsyncd.http.connections import ConnectionLimits, Connections, open_files, share_of_files

READY_SECONDS = 5.0
SESSIONS_AGAIN = 5.0
"""Seconds until ended sessions are read again after the database did not answer."""

_FOR_ANYBODY = frozenset({"/healthz", "/readyz"})  # probes come by address, and learn nothing
_IMAGE_SERVER = "https://images.evetech.net"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Why the daemon is not ready (database not writable, schema not current, draining); empty when it is."""

MetricsText = Callable[[], Awaitable[bytes]]
"""The metrics in Prometheus' text format."""

log = get_sparing_logger(__name__)


class ApiServer:
    """Everything on `api.listen`.

    config: section `[api]`. callback_url: `sso.callback_url`. metrics: None where `/metrics` answers 404.
    """

    def __init__(
        self,
        config: ApiConfig,
        callback_url: str,
        services: ApiServices,
        *,
        sessions: EndedSessions,
        events: Events,
        readiness: Readiness,
        metrics: MetricsText | None = None,
    ) -> None:
        self._config = config
        self._limits = services.limits
        self._clock = services.clock
        self._readiness = readiness
        self._metrics = metrics
        self._events = events
        self.access = Access(
            services.clock,
            token=config.token,
            callback_url=callback_url,
            listen_host=config.host,
            allowed_hosts=config.allowed_hosts,
            cookie_suffix=f"_{config.port}" if config.port else "",
        )
        self._engine = Engine(services)
        self.documents = MailDocuments(self._engine)
        """Mails as GraphQL gives them, for webhooks."""
        self._live = SubscriptionContext(services, FeedHub(services), StatusHub(services))
        self._http = GraphqlHttp(self._engine)
        self._logins = LoginPages(services.operations, callback_url)
        self._session = SessionPages(
            self.access, sessions, images=config.images, told=lambda: events.tell("sessions")
        )
        self._sessions = sessions
        self._sessions_ended = Wakeup()
        self._dashboard = load_folder("dashboard")
        self._explorer = load_folder("explorer")
        self._plain = load_folder("plain")
        self._schema = make_file("schema.graphql", schema_text().encode())
        self._csp = content_security_policy(images=config.images)
        most = share_of_files(open_files(), self._limits.connections)
        self.connections = Connections(
            ConnectionLimits(most, min(512, max(8, most // 4)), send=self._limits.send_seconds), "api"
        )
        self._ws = GraphqlWs(self._engine, self.access, self._live, self.connections)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: list[Callable[[], None]] = []
        self.address = ""

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Begin to listen; answers the address, with the port really taken. Raises Refused, Unavailable."""
        self.access.ended(await self._sessions.load())
        runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        host, port = self._config.host, self._config.port
        try:
            assert runner.server is not None, "it was set up"
            factory = self.connections.serve(runner.server)
            for each in bound(host, port):
                self._listeners.append(await asyncio.get_running_loop().create_server(factory, sock=each))
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        taken = self._listeners[0].sockets[0].getsockname()[1]
        self.address = f"http://{told_address(host, taken)}"
        feed, status = self._live.feed, self._live.status
        works = (feed.run(), status.run(), self._hear_of_sessions())
        self._tasks = [asyncio.create_task(each, name="api") for each in works]
        self._unsubscribe = [
            self._events.on("feed", feed.look),
            self._events.on("sessions", self._sessions_ended.ring),
            *(self._events.on(channel, status.look) for channel in ("wants", "switches")),
        ]
        return self.address

    async def close(self) -> None:
        """Hang up on everybody and stop listening. Safe to call twice."""
        for off in self._unsubscribe:
            off()
        self._unsubscribe = []
        for each in self._listeners:
            each.close()
        self._listeners = []
        await self._ws.close()
        for task in self._tasks:
            while not task.done():
                # Again, should somebody on the way down have taken the first for his own.
                task.cancel()
                await asyncio.wait({task}, timeout=0.2)
        self._tasks = []
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _hear_of_sessions(self) -> None:
        """What another daemon of this database has ended lets nobody in here either."""
        while True:
            await self._sessions_ended.wait(self._clock)
            try:
                self.access.ended(await self._sessions.load())
            except Unavailable as error:
                log.warning("ended sessions cannot be read", reason=error.message)
                await self._clock.sleep(SESSIONS_AGAIN)
                self._sessions_ended.ring()

    @property
    def sockets(self) -> int:
        """WebSockets that are open."""
        return self._ws.sockets

    @property
    def busy(self) -> bool:
        """Whether a query is under way."""
        return self._engine.busy

    @property
    def followers(self) -> int:
        """Subscriptions to the live feed."""
        return self._live.feed.followers

    # -- routes ------------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=self._limits.body, middlewares=[self._check_request])
        app.on_response_prepare.append(self._headers)
        route, page_at = app.router.add_route, app.router.add_get  # the latter answers HEAD too
        route("POST", "/graphql", self._graphql)
        route("GET", "/graphql", self._graphql)
        page_at("/graphql/schema.graphql", self._schema_file)
        page_at("/explorer/{name}", self._explorer_file)
        page_at("/plain/{name}", self._plain_file)
        page_at("/", self._index)
        page_at("/favicon.ico", self._dashboard_file)
        page_at("/dashboard/{name:.+}", self._dashboard_file)
        route("GET", LOGIN_PATH, self._login)
        for path in {CALLBACK_PATH, self._logins.callback_path} - {"/", LOGIN_PATH, "/graphql"}:
            route("GET", path, self._logins.callback)
        route("GET", "/session", self._session_show)
        route("POST", "/session", self._session_begin)
        route("DELETE", "/session", self._session_end)
        route("GET", "/metrics", self._show_metrics)
        page_at("/healthz", self._healthz)
        page_at("/readyz", self._readyz)
        return app

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        html = not upgrade and prefers_html(request.headers.getall("Accept", []))
        if html and request.method == "GET":
            # The explorer: a page without data, which anybody may link to.
            return send(request, self._explorer.get("index.html"))
        self.access.check_page(request.headers)
        if upgrade:
            return await self._ws.handle(request, authenticated=self._may_upgrade(request))
        self.access.check(request.headers, request.cookies)
        self.connections.prove(request)
        return await self._http.handle(request)

    def _may_upgrade(self, request: web.Request) -> bool:
        """Whether a handshake shows who it is; if not, connection_init must.

        Raises Unauthenticated, Forbidden.
        """
        if self.access.open_to_all:
            return True
        if "Authorization" in request.headers:
            self.access.check_token(request.headers["Authorization"])
            return True
        if self.access.session_holds(request.cookies.get(self.access.cookie, "")):
            # A browser lets any page open a socket with our cookie; only the Origin tells them apart.
            self.access.check_page(request.headers, strict=True)
            return True
        return False

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if "index.html" in self._dashboard:
            return send(request, self._dashboard["index.html"])
        return page("killsyncd", "The daemon is running. Its data is at /graphql.")

    async def _dashboard_file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name") or request.path.lstrip("/")
        return send(request, self._dashboard.get(name))

    async def _explorer_file(self, request: web.Request) -> web.StreamResponse:
        return send(request, self._explorer.get(request.match_info["name"]))

    async def _plain_file(self, request: web.Request) -> web.StreamResponse:
        return send(request, self._plain.get(request.match_info["name"]))

    async def _schema_file(self, request: web.Request) -> web.StreamResponse:
        return send(request, self._schema)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        self.access.check_navigation(request.headers)
        return await self._logins.login(request)

    async def _session_show(self, request: web.Request) -> web.StreamResponse:
        self.access.check_page(request.headers)
        return await self._session.show(request)

    async def _session_begin(self, request: web.Request) -> web.StreamResponse:
        self.access.check_page(request.headers)
        return await self._session.begin(request)

    async def _session_end(self, request: web.Request) -> web.StreamResponse:
        self.access.check_page(request.headers)
        return await self._session.end(request)

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        self.access.check_page(request.headers)
        self.access.check(request.headers, request.cookies)
        self.connections.prove(request)
        if self._metrics is None:
            raise web.HTTPNotFound(text="there are no metrics\n")
        media = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(
            body=await self._metrics(), headers={"Content-Type": media, "Cache-Control": "no-store"}
        )

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        return _json({"alive": True}, 200)

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(READY_SECONDS):
                reasons = list(await self._readiness())
        except TimeoutError:
            reasons = ["the database does not answer in time"]
        except Exception as error:
            log.exception("readiness could not be told", error)
            reasons = ["an error in killsyncd; its log says more"]
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    # -- around every request ----------------------------------------------------------------------

    @web.middleware
    async def _check_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self.access.check_form(request.headers, request.raw_path)
            if request.path not in _FOR_ANYBODY and not self.access.host_allowed(request.headers["Host"]):
                return wrong_host(request)
            return await handler(request)
        except web.HTTPException:
            raise
        except Forbidden as error:
            return forbidden(request, error)
        except Malformed as error:
            log.info("request refused", reason=error.reason, peer=request.remote)
            return refuse(request, 400, "Bad request.", error.reason, code=BAD_USER_INPUT)
        except Unauthenticated as error:
            if "Authorization" in request.headers:
                try:
                    await self.access.guesses.slow()
                except Forbidden as too_many:
                    return forbidden(request, too_many, status=429)
            return _unauthenticated(request, error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except web.RequestPayloadError as error:
            kind = type(error.__cause__ or error).__name__
            log.info("request refused", reason="its body is no HTTP", kind=kind, peer=request.remote)
            return refuse(
                request, 400, "Bad request.", "Its body is not HTTP as it should be.", code=BAD_USER_INPUT
            )
        except Exception as error:
            log.exception("a request failed", error, method=request.method, path=request.path)
            return refuse(request, 500, "Something went wrong.", "The daemon's log says what.", code=INTERNAL)

    async def _headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers["Content-Security-Policy"] = self._csp
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["X-Frame-Options"] = "DENY"
        headers.popall("Server", None)


def content_security_policy(*, images: bool) -> str:
    """What pages of ours may load: only what is here, and CCP's pictures where that is wanted."""
    pictures = f" {_IMAGE_SERVER}" if images else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self' data:{pictures}; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    )


def _unauthenticated(request: web.Request, error: Unauthenticated) -> web.StreamResponse:
    log.info("request refused", path=request.path, reason="no token, or not ours", peer=request.remote)
    headers = {"WWW-Authenticate": 'Bearer realm="killsyncd"'}
    return respond(orjson.dumps({"errors": [plain(error)]}), 401, "application/json", headers)


def _json(body: dict[str, object], status: int) -> web.Response:
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
