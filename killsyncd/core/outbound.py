"""Reading from other hosts than ESI: no redirect leads to another host, and nothing is read without bounds.

For CCP's static data and the archives of third parties. ESI has a client of its own (`esi/`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from killsyncd.core.errors import BadInput, Unavailable

HOPS = 3
"""Redirects in a row that are followed, on the same host."""

AGAIN = "it is asked again later, by itself"


def sends_once(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """The same session, one request for each that is asked of it.

    aiohttp sends a GET again by itself when its connection is lost. The other side may have counted the first
    one, and our pace and budgets know of one: whether to ask again is decided by who asks.
    """
    session._retry_connection = False  # there is no public switch; a test counts what arrives
    return session


def outbound_session(user_agent: str, *, seconds: float, silence: float = 60.0) -> aiohttp.ClientSession:
    """A session for one other side. seconds: for a whole answer; silence: between two pieces of one."""
    return sends_once(
        aiohttp.ClientSession(
            headers={"User-Agent": user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=10.0, sock_read=silence),
            connector=aiohttp.TCPConnector(limit=4, keepalive_timeout=10.0),
            trust_env=False,
        )
    )


@asynccontextmanager
async def get(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """GET `url`; a redirect is followed on the same scheme, host and port alone.

    Raises Unavailable where nothing comes, BadInput where it is sent elsewhere. What happens while the caller
    reads the body is the same kind of trouble, and comes out in the same way.
    """
    address = URL(url)
    try:
        for _ in range(HOPS + 1):
            async with session.get(address, headers=headers, allow_redirects=False) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    yield answer
                    return
                target = _target(address, answer.headers.get("Location", ""))
                if target.origin() != address.origin():
                    raise BadInput(
                        f"{address.host} sends us on to another host ({target.host})",
                        "where that is right, set the address in the configuration to it",
                    )
                address = target
    except (aiohttp.ClientError, TimeoutError) as error:
        what = str(error) if isinstance(error, aiohttp.ClientConnectionError) else type(error).__name__
        raise Unavailable(
            f"{address.host} does not answer as it should: {what or 'timed out'}", AGAIN
        ) from None
    raise BadInput(f"{address.host} sends us round in a circle", AGAIN)


def _target(address: URL, location: str) -> URL:
    try:
        return address.join(URL(location))
    except ValueError:
        raise BadInput(f"{address.host} sends us on to what is no address", AGAIN) from None


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body. Raises BadInput where it has more than `most` bytes, unpacked."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > most:
            raise BadInput(f"{answer.url.host} sends more than {most >> 10} KiB where less is right", AGAIN)
    return bytes(body)
