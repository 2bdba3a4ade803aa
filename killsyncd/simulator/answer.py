"""An answer before it goes on the wire, and where in ESI or SSO it belongs."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

JSON_TYPE = "application/json"


@dataclass(slots=True)
class Response:
    """Status, body and headers; the server adds Date, rate-limit headers and Content-Length."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    fresh_until: float | None = None
    """Monotonic moment of Expires, where asking again before it is a breach."""


def error(status: int, message: str, **headers: str) -> Response:
    """ESI's error body (`Error` of the specification). Underscores in header names become dashes."""
    return Response(
        status,
        orjson.dumps({"error": message}),
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


@dataclass(slots=True)
class RoutedRequest:
    """A request that was recognised: the route's name and what it is about."""

    route: str
    """`esi.killmail`, `sso.token`...: what faults and counters are told by."""
    group: str | None = None
    """Rate-limit group; None: the old error limit holds."""
    scope: str | None = None
    """Needed scope; None: the route takes no token."""
    subject: int = 0
    """Character, corporation, killmail, type... of the path."""
    extra: str = ""
    """The killmail's hash."""
    page: int = 1
    character: int | None = None
    """Whose token came along, or whose list it is."""
