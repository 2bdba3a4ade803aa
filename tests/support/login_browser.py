"""What a pilot's browser does at a login: our button, EVE's page, and back. Standard library only."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


class LoginFailed(Exception):
    """The way ended somewhere else than on our page."""


def log_in(daemon: str, eve: str, character_id: int) -> str:
    """Log a simulated pilot in; answers the page that the pilot sees in the end."""
    cookies: dict[str, str] = {}
    address = f"{daemon}/auth/login"
    for _ in range(6):
        if address.startswith(eve) and "_sim_character" not in address:
            address += f"&_sim_character={character_id}"
        status, headers, body = _get(address, cookies if address.startswith(daemon) else {})
        if status != 302:
            if status != 200:
                raise LoginFailed(f"{status}: {body[:500]}")
            return body
        address = headers["Location"]
        if address.startswith("/"):
            address = daemon + address
    raise LoginFailed("too many redirects")


def _get(address: str, cookies: dict[str, str]) -> tuple[int, http.client.HTTPMessage, str]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        headers = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        )
        connection.request(
            "GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers
        )
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
        return answer.status, answer.headers, body
    finally:
        connection.close()
