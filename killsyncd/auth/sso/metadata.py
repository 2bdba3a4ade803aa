"""Where the SSO's endpoints are: RFC 8414 metadata, fetched once an hour, trusted within bounds."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from killsyncd.auth.grant import SsoUnavailable
from killsyncd.auth.sso.http import SsoHttp, SsoResponse, refused
from killsyncd.core.clock import Clock
from killsyncd.core.errors import ConfigError

PATH = "/.well-known/oauth-authorization-server"
LIFE = 3600.0
_BAD = (
    "Check sso.base_url. If it is right, somebody stands between this machine and the SSO, or CCP changed it."
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints, each checked by `Bounds`. `revocation` and `issuer` may be empty."""

    issuer: str
    authorization: str
    token: str
    jwks: str
    revocation: str


class Bounds:
    """Which addresses a metadata document may send us (and our client secret) to.

    https only, and the host of `base_url`, one below it, or a sibling of it. With a simulator
    on plain-http loopback: any loopback address.

    Raises ConfigError when `base_url` is neither https nor loopback.
    """

    def __init__(self, base_url: str) -> None:
        try:
            parts = urlsplit(base_url)
            self._host = parts.hostname or ""
        except ValueError:
            parts, self._host = urlsplit(""), ""
        self.plain = parts.scheme == "http" and is_loopback(self._host)
        if not self._host or not (parts.scheme == "https" or self.plain):
            raise ConfigError(
                f"sso.base_url = {base_url!r} is refused: tokens would travel in the clear",
                "Use https (https://login.eveonline.com), or http on loopback for the simulator.",
            )

    def allows(self, url: str) -> bool:
        """Whether `url` is an endpoint we would talk to."""
        try:
            parts = urlsplit(url)
            port_is_fine = parts.port != 0
        except ValueError:
            return False
        host = parts.hostname or ""
        if parts.username is not None or parts.fragment or not port_is_fine:
            return False
        if self.plain and parts.scheme in ("http", "https") and is_loopback(host):
            return True
        return parts.scheme == "https" and self._is_related(host)

    def _is_related(self, host: str) -> bool:
        if host == self._host or host.endswith("." + self._host):
            return True
        # The sibling rule needs a parent that is not a top-level domain, and no IP address.
        parent = self._host.partition(".")[2]
        return "." in parent and not _is_address(self._host) and host.endswith("." + parent)


class MetadataSource:
    """The document, cached for an hour; beyond that an old one serves while the SSO does not answer."""

    def __init__(self, http: SsoHttp, base_url: str, clock: Clock) -> None:
        self._http = http
        self._url = base_url.rstrip("/") + PATH
        self._bounds = Bounds(base_url)
        self._clock = clock
        self._known: Metadata | None = None
        self._good_until = 0.0
        self._failures = 0
        self._failure: SsoUnavailable | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Metadata:
        """The endpoints.

        Raises SsoUnavailable (`answered` is True: whatever was to be asked has not been asked).
        """
        seen = self._failures
        async with self._lock:
            if self._known is None and self._failure is not None and self._failures > seen:
                # It failed while we stood in line. Asking once more each would take a time-out each.
                raise SsoUnavailable(
                    self._failure.message,
                    self._failure.hint,
                    answered=True,
                    retry_after=self._failure.retry_after,
                )
            if self._known is None or self._clock.monotonic() >= self._good_until:
                try:
                    self._known = self._read(await self._http.get(self._url))
                    self._good_until = self._clock.monotonic() + LIFE
                except SsoUnavailable as error:
                    if self._known is None:
                        error.answered = True
                        self._failures += 1
                        self._failure = error
                        raise
                    self._good_until = self._clock.monotonic() + 60.0
            return self._known

    def _read(self, answer: SsoResponse) -> Metadata:
        document = answer.document
        if answer.status != 200 or document is None:
            raise refused(answer, "the question for its endpoints")

        def endpoint(name: str, *, required: bool = True) -> str:
            url = document.get(name)
            if url is None and not required:
                return ""
            if not isinstance(url, str) or not self._bounds.allows(url):
                raise SsoUnavailable(
                    f"{self._url} names a {name} that is refused: https and the SSO's own domain are wanted",
                    _BAD,
                    answered=True,
                )
            return url

        issuer = document.get("issuer")
        related = isinstance(issuer, str) and self._bounds.allows(
            issuer if "://" in issuer else "https://" + issuer
        )
        return Metadata(
            issuer=str(issuer) if related else "",
            authorization=endpoint("authorization_endpoint"),
            token=endpoint("token_endpoint"),
            jwks=endpoint("jwks_uri"),
            revocation=endpoint("revocation_endpoint", required=False),
        )


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine: `localhost`, a name below it, 127/8 or ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
