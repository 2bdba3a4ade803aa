"""Who may do what over HTTP.

Three gates, in this order: the Host that a browser believes to talk to (DNS rebinding), the page
that a request comes from (Origin, Sec-Fetch-Site), and the token. Nothing here sends CORS
headers, so that other sites' scripts read nothing.

The dashboard's session is a cookie signed with a key derived from the token: it survives a
restart, ends when the token is changed, and does not give the token away.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from multidict import MultiMapping

from killsyncd.api.graphql.errors import Unauthenticated
from killsyncd.config import Secret, host_of, is_loopback
from killsyncd.core.clock import Clock

CSRF_HEADER = "X-Killsyncd-CSRF"
SESSION_SECONDS = 30 * 86_400.0
GUESS_SECONDS = 0.25
"""Seconds that the answer to a wrong token takes; there are no two at once."""

_MOST_GUESSES = 64
_MAX_COOKIE = 200
_ONCE = ("Host", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Authorization", CSRF_HEADER)
"""Headers that decide: of two, we and a proxy might believe different ones."""

_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,126}\.?)(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Forbidden(Exception):
    """A request that is refused whoever sent it. reason: for the one who sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Malformed(Exception):
    """A request whose headers say two things, or nothing. reason: for the one who sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Guesses:
    """Wrong tokens are answered late, and one after the other; right ones at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answering = asyncio.Lock()
        self._waiting = 0

    async def slow(self) -> None:
        """Wait before a wrong token is answered. Raises Forbidden where too many wait already."""
        if self._waiting >= _MOST_GUESSES:
            raise Forbidden("too many wrong tokens; try again in a minute")
        self._waiting += 1
        try:
            async with self._answering:
                await self._clock.sleep(GUESS_SECONDS)
        finally:
            self._waiting -= 1


class Access:
    """The gates. token: None where everybody who gets here may do all (loopback without a token file).

    callback_url, listen_host, allowed_hosts: names that the daemon answers to, besides loopback's.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        token: Secret | None,
        callback_url: str,
        listen_host: str,
        allowed_hosts: tuple[str, ...] = (),
        cookie_suffix: str = "",
    ) -> None:
        self._clock = clock
        self._token = token
        self._callback_origin = _origin_parts(callback_url)
        self.guesses = Guesses(clock)
        # The cookie of a dashboard that is reached over https must never go out over http.
        self.secure = urlsplit(callback_url).scheme == "https"
        self._ended: dict[str, float] = {}
        self._hosts = {host_of(callback_url), *(_host_name(each) for each in allowed_hosts)}
        if not _is_wildcard(listen_host):
            self._hosts.add(listen_host.lower())
        self._key = b"" if token is None else _derive(token.reveal().encode(), "session key")
        # Cookies know no ports: two daemons on one machine must not take each other's.
        self.cookie = f"killsyncd_session{cookie_suffix}"

    @property
    def open_to_all(self) -> bool:
        """Whether no token is asked for."""
        return self._token is None

    # -- the Host ----------------------------------------------------------------------------------

    def host_allowed(self, host: str | None) -> bool:
        """Whether a Host header names us. A page elsewhere that rebinds its name to us sends its own."""
        name = _host_name(host or "")
        return bool(name) and (is_loopback(name) or name in self._hosts)

    @staticmethod
    def check_form(headers: MultiMapping[str], target: str) -> None:
        """Refuse what says two things. target: the request's, as it was sent. Raises Malformed."""
        for name in _ONCE:
            if len(headers.getall(name, ())) > 1:
                raise Malformed(f"this request has the header {name} twice")
        host = headers.get("Host")
        if not host:
            raise Malformed("this request has no Host")
        if target.startswith("/"):
            return
        parts = urlsplit(target) if target.startswith(("http://", "https://")) else None
        if parts is None or parts.netloc.lower() != host.lower():
            raise Malformed("this request is for another host than its Host says")

    # -- the page ----------------------------------------------------------------------------------

    @staticmethod
    def check_navigation(headers: Mapping[str, str]) -> None:
        """Refuse what another site's page fetches without going there: pictures, frames. Raises Forbidden."""
        if headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return
        if headers.get("Sec-Fetch-Mode") != "navigate" or headers.get("Sec-Fetch-Dest") != "document":
            raise Forbidden("another site's page asks for this without showing it")

    def check_page(self, headers: Mapping[str, str], *, strict: bool = False) -> None:
        """Refuse what another site's page sends. Raises Forbidden.

        strict: an Origin is required (WebSockets with a cookie: no other header of theirs tells).
        """
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Forbidden("this request comes from another site's page")
        origin = headers.get("Origin")
        if origin is None:
            if strict:
                raise Forbidden("this request does not say which page it comes from")
            return
        parts = _origin_parts(origin)
        if parts is None:
            raise Forbidden("this request comes from a page without an address of its own")
        if parts == self._callback_origin:
            return
        scheme, host, port = parts
        there = _host_and_port(headers.get("Host", ""))
        if there is None or (host, port) != (there[0], there[1] or _DEFAULT_PORTS[scheme]):
            raise Forbidden(
                "this request comes from another site's page; behind a proxy: it must pass the Host header on"
            )

    # -- the token ---------------------------------------------------------------------------------

    def check_token(self, authorization: str | None) -> None:
        """Whether this is `Bearer` and our token, in constant time. Raises Unauthenticated."""
        if self._token is None:
            return
        scheme, _, candidate = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not self._token.matches(candidate.strip()):
            raise Unauthenticated

    def check(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """The token as bearer, or the dashboard's cookie with its CSRF header. Raises Unauthenticated."""
        if self._token is None:
            return
        if "Authorization" in headers:
            self.check_token(headers["Authorization"])
            return
        session = cookies.get(self.cookie, "")
        given = headers.get(CSRF_HEADER, "")
        if not self.session_holds(session) or not _same(given, self.csrf(session)):
            raise Unauthenticated

    # -- the dashboard's session -------------------------------------------------------------------

    def token_matches(self, candidate: str) -> bool:
        """Whether this is the token; for the form."""
        return self._token is not None and self._token.matches(candidate.strip())

    def new_session(self) -> str:
        """A cookie's value for a browser that showed the token."""
        body = f"{int(self._clock.now() + SESSION_SECONDS)}.{secrets.token_urlsafe(18)}"
        return f"{body}.{self._sign('session', body)}"

    def session_holds(self, value: str) -> bool:
        """Whether a cookie's value is ours, under today's token, and not too old."""
        if self._token is None or not value or len(value) > _MAX_COOKIE:
            return False
        body, _, mac = value.rpartition(".")
        end = body.partition(".")[0]
        if not _same(mac, self._sign("session", body)) or body in self._ended:
            return False
        return end.isascii() and end.isdigit() and int(end) > self._clock.now()

    def end_session(self, value: str) -> str:
        """Take a session back: its cookie lets nobody in again. Answers its name, if it held."""
        if not self.session_holds(value):
            return ""
        body = value.rpartition(".")[0]
        self.ended({body: float(body.partition(".")[0])})
        return body

    def ended(self, sessions: Mapping[str, float]) -> None:
        """Sessions that were taken back, and until when they would have held."""
        now = self._clock.now()
        self._ended = {body: until for body, until in {**self._ended, **sessions}.items() if until > now}

    def csrf(self, session: str) -> str:
        """What pages of ours send along with this session: other sites can't read it."""
        return self._sign("csrf", session)

    def _sign(self, what: str, value: str) -> str:
        mac = hmac.new(self._key, f"{what}:{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")


def _derive(secret: bytes, what: str) -> bytes:
    return hmac.new(secret, f"killsyncd {what}".encode(), hashlib.sha256).digest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _host_and_port(host: str) -> tuple[str, int | None] | None:
    """A Host header as name, in lower case and without brackets, and port; None where it is none."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match["name"].lower()
    if name.startswith("["):
        try:
            name = str(ip_address(name[1:-1]))
        except ValueError:
            return None
    port = int(match["port"]) if match["port"] else None
    return None if port is not None and port > 65535 else (name.removesuffix("."), port)


def _host_name(host: str) -> str:
    parts = _host_and_port(host)
    return parts[0] if parts is not None else ""


def _origin_parts(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an Origin or an address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    there = _host_and_port(parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or there is None:
        return None
    return parts.scheme, there[0], there[1] or _DEFAULT_PORTS[parts.scheme]


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
