"""Who may do what over HTTP.

Three gates, in this order: the Host that a browser believes to talk to (DNS rebinding), the page
that a request comes from (Origin, Sec-Fetch-Site), and the token. Nothing here sends CORS
headers, so that other sites' scripts read nothing.

The dashboard's session is a cookie signed with a key derived from the token: it survives a
restart, ends when the token is changed, and does not give the token away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from killsyncd.api.graphql.errors import Unauthenticated
from killsyncd.config import Secret, host_of, is_loopback
from killsyncd.core.clock import Clock

CSRF_HEADER = "X-Killsyncd-CSRF"
SESSION_SECONDS = 30 * 86_400.0
_MAX_COOKIE = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Forbidden(Exception):
    """A request that is refused whoever sent it. reason: for the one who sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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

    # -- the page ----------------------------------------------------------------------------------

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
        if not _same(mac, self._sign("session", body)):
            return False
        return end.isascii() and end.isdigit() and int(end) > self._clock.now()

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
    """A Host header as name, in lower case and without brackets, and port."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return name.rstrip("."), port


def _host_name(host: str) -> str:
    parts = _host_and_port(host)
    return parts[0] if parts is not None else ""


def _origin_parts(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an Origin or an address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.rstrip("."), port or _DEFAULT_PORTS[parts.scheme]


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
