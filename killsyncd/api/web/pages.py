"""Logins in a browser, the dashboard's session, and the few pages that are no files.

What the SSO brings back (code, state, tokens) never gets into a page, an address of ours
or a log line.
"""

from __future__ import annotations

import asyncio
import codecs
import html
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from killsyncd.api.auth import Access, Forbidden
from killsyncd.api.graphql.errors import UNAUTHENTICATED
from killsyncd.api.graphql.http import prefers_html
from killsyncd.api.ports import EndedSessions
from killsyncd.auth.login import LIFE, cookie_name
from killsyncd.auth.login_state import LoginOrigin, LoginReturn, LoginState
from killsyncd.config import host_of
from killsyncd.core.deployment import for_pilot
from killsyncd.core.errors import KillsyncdError, LoginRefused, Unavailable
from killsyncd.core.logging import get_sparing_logger
from killsyncd.core.model import UserState
from killsyncd.service.operations import Operations

CALLBACK_PATH = "/auth/callback"
LOGIN_PATH = "/auth/login"
_HOP = "here"
_UP = "../"  # from /auth/...

_SHEETS = ("dashboard/tokens.css", "dashboard/base.css", "plain/page.css")  # the dashboard's look

_BODY_SECONDS = 10.0

T = TypeVar("T")

log = get_sparing_logger(__name__)


def page(
    title: str,
    *paragraphs: str,
    status: int = 200,
    good: bool = True,
    again: bool = False,
    root: str = "/",
) -> web.Response:
    """A plain page; texts are escaped here. again: with the way to begin a login anew.

    root: the way to `/`, which a proxy may have put elsewhere.
    """
    body = "".join(f"<p>{html.escape(_sentence(each))}</p>" for each in paragraphs if each)
    ways = f'<a class="button primary" href="{root}auth/login">Log in again</a>' if again else ""
    ways += f'<a class="button{"" if again else " primary"}" href="{root}">To the dashboard</a>'
    sheets = "".join(f'<link rel="stylesheet" href="{root}{each}">' for each in _SHEETS)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)} - killsyncd</title>"
        f'<link rel="icon" href="{root}dashboard/favicon.svg" type="image/svg+xml">'
        f'<script src="{root}dashboard/theme.js"></script>{sheets}</head>'
        f'<body><main class="{"good" if good else "bad"}">'
        f'<p class="brand"><img class="logo" src="{root}dashboard/favicon.svg" alt="">killsyncd</p>'
        f'<div class="sheet"><h1>{html.escape(title)}</h1>{body}<p class="ways">{ways}</p></div>'
        "</main></body></html>"
    )
    return web.Response(
        text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"}
    )


def _sentence(text: str) -> str:
    """As a page wants it: errors begin small and end without a stop."""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def refuse(
    request: web.Request, status: int, title: str, *paragraphs: str, code: str = UNAUTHENTICATED
) -> web.Response:
    """A refusal, as a page for browsers and as JSON for programs."""
    if prefers_html(request.headers.getall("Accept", [])):
        return page(title, *paragraphs, status=status, good=False)
    body = {"errors": [{"message": " ".join((title, *paragraphs)), "extensions": {"code": code}}]}
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


class LoginPages:
    """`/auth/login` and `/auth/callback`."""

    def __init__(self, operations: Operations, callback_url: str) -> None:
        self._operations = operations
        parts = urlsplit(callback_url)
        self._callback_host = host_of(callback_url)
        self._secure = parts.scheme == "https"
        self.callback_path = parts.path or "/"
        prefix = self.callback_path.removesuffix(CALLBACK_PATH)
        if prefix == self.callback_path:
            prefix = ""
        self._login_url = f"{parts.scheme}://{parts.netloc}{prefix}{LOGIN_PATH}?{_HOP}=1"

    async def login(self, request: web.Request) -> web.StreamResponse:
        """To the SSO; first to the callback's host, so that the cookie set here comes back there."""
        if host_of(f"//{request.host}") != self._callback_host and _HOP not in request.query:
            return _redirect(self._login_url)
        try:
            begun = await self._operations.begin_login(LoginOrigin.BROWSER)
        except Unavailable as error:
            return _failed("The login cannot begin", error, 503)
        response = _redirect(begun.url)
        assert begun.cookie is not None, "a login from a browser has a cookie"
        response.set_cookie(
            cookie_name(begun.state),
            begun.cookie,
            max_age=int(LIFE),
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self._secure,
        )
        return response

    async def callback(self, request: web.Request) -> web.StreamResponse:
        """The pilot is back from the SSO."""
        query = dict(request.query)
        name = cookie_name(query.get("state", ""))
        try:
            ended = await self._operations.finish_login(
                LoginReturn.CALLBACK, query, request.cookies.get(name)
            )
        except LoginRefused as error:
            log.info("login refused", reason=error.message)
            response = _failed("This login did not work", error, 400)
        except KillsyncdError as error:
            log.warning("login failed", reason=error.message)
            response = _failed("This login did not work", error, 503)
        else:
            good = ended.status is LoginState.DONE and (
                ended.user is None or ended.user.state is UserState.OK
            )
            who = ended.user.character_name if ended.user else "The pilot"
            title = f"{who} is logged in" if good else f"{who} cannot be synced yet"
            message = for_pilot(ended.message.removeprefix(title).lstrip("; "))  # the title says it already
            ending = "New killmails show up on the dashboard by themselves. You can close this page."
            response = page(title, message, ending if good else "", good=good, again=not good, root=_UP)
        if name in request.cookies:
            response.del_cookie(name, path="/", httponly=True, samesite="Lax", secure=self._secure)
        return response


class SessionPages:
    """`/session`: whether a browser is let in, and letting it in."""

    def __init__(
        self, access: Access, sessions: EndedSessions, *, images: bool, told: Callable[[], None]
    ) -> None:
        """told: called when a session has ended, for other daemons of this database."""
        self._told = told
        self._access = access
        self._sessions = sessions
        self._images = images

    async def show(self, request: web.Request) -> web.Response:
        """What the dashboard must know before it asks for data."""
        session = request.cookies.get(self._access.cookie, "")
        return self._answer(session if self._access.session_holds(session) else None)

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """The form, or JSON, with the token; a cookie for whoever has the right one."""
        if self._access.open_to_all:
            return self._done(request, None)
        if request.content_type == "application/json":
            try:
                body = orjson.loads(await _body(request.read()))
            except ValueError:
                raise web.HTTPBadRequest(text="the body is not JSON\n") from None
            given = body.get("token") if isinstance(body, dict) else None
        else:
            given = await _form_field(request, "token")
        if not isinstance(given, str) or not self._access.token_matches(given):
            log.warning("wrong token for the dashboard", peer=request.remote)
            try:
                await self._access.guesses.slow()
            except Forbidden as error:
                return forbidden(request, error, status=429)
            return refuse(
                request, 401, "This is not the token.", "It is what the file of [api] token_file holds."
            )
        session = self._access.new_session()
        response = self._done(request, session)
        response.set_cookie(
            self._access.cookie,
            session,
            max_age=30 * 86_400,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self._is_secure(request),
        )
        return response

    async def end(self, request: web.Request) -> web.StreamResponse:
        """Log the browser out of the dashboard, and whoever copied its cookie, too."""
        ended = self._access.end_session(request.cookies.get(self._access.cookie, ""))
        if ended:
            try:
                await self._sessions.end(ended, float(ended.partition(".")[0]))
            except Unavailable as error:
                log.warning("a session ends with this daemon only until it restarts", reason=error.message)
            else:
                self._told()
        response = web.Response(status=204)
        response.del_cookie(
            self._access.cookie, path="/", httponly=True, samesite="Lax", secure=self._is_secure(request)
        )
        return response

    def _is_secure(self, request: web.Request) -> bool:
        """Whether the browser speaks https with us, or with the proxy before us."""
        forwarded = request.headers.get("X-Forwarded-Proto", "") == "https"
        return self._access.secure or request.secure or forwarded

    def _done(self, request: web.Request, session: str | None) -> web.StreamResponse:
        if request.content_type == "application/json":
            return self._answer(session)
        return web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})

    def _answer(self, session: str | None) -> web.Response:
        body = {
            "required": not self._access.open_to_all,
            "authenticated": self._access.open_to_all or session is not None,
            "csrf": self._access.csrf(session) if session else None,
            "images": self._images,
        }
        return web.Response(
            body=orjson.dumps(body), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


async def _body(read: Awaitable[T]) -> T:
    """A body, as long as it comes in time."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await read
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not come in time\n") from None


async def _form_field(request: web.Request, name: str) -> object:
    """A field of a form. Raises HTTPBadRequest for what is none."""
    if request.content_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise web.HTTPUnsupportedMediaType(text="send the token as JSON, or as a form\n")
    try:
        codecs.lookup(request.charset or "utf-8")
        return (await _body(request.post())).get(name)
    except (web.HTTPException, web.RequestPayloadError, ConnectionError):
        raise
    except Exception:  # aiohttp's reader of forms raises whatever it stumbles over
        raise web.HTTPBadRequest(text="the body is no form\n") from None


def forbidden(request: web.Request, error: Forbidden, *, status: int = 403) -> web.Response:
    """The answer to what another site's page sent, or somebody who guesses."""
    log.info("request refused", path=request.path, reason=error.reason)
    return refuse(request, status, "Refused.", error.reason)


def wrong_host(request: web.Request) -> web.Response:
    """The answer to whoever calls us by a name that is not ours."""
    name = (request.headers.get("Host") or "")[:200]
    log.info("request refused", path=request.path, reason="its Host is not one of ours")
    bare = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    return refuse(
        request,
        421,
        "Misdirected request.",
        f"killsyncd does not answer to the name {bare!r}: another site could have bent that name to this "
        "address.",
        f'If it is yours, allow it in the configuration: [api] allowed_hosts = ["{bare}"], and restart.',
    )


def _failed(title: str, error: KillsyncdError, status: int) -> web.Response:
    return page(title, error.message, for_pilot(error.hint), status=status, good=False, again=True, root=_UP)


def _redirect(url: str) -> web.Response:
    return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
