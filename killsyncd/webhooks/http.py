"""One request to a webhook: bounded in bytes and time, no redirects, and nothing of the address in what is
said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from killsyncd import __version__
from killsyncd.core.outbound import sends_once
from killsyncd.webhooks.answers import Answer

TIMEOUT = 25.0
"""Seconds for a whole request; zKillboard answers after 28 by itself and gets more."""

ZKILLBOARD_TIMEOUT = 40.0
CONNECT_TIMEOUT = 10.0
LONGEST_ANSWER = 64 * 1024

WITHHELD = "it was not sent: meanwhile another daemon may have taken over, or the channel was asked to wait"

_HEADERS = (
    "Retry-After",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset-After",
    "X-RateLimit-Global",
    "X-RateLimit-Scope",
)


class WebhookSender:
    """Sends requests; one for all webhooks."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: float = TIMEOUT,
        ours: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """Send a body. Never raises for what the other side does.

        ours: asked when the connection stands; where it says no, nothing leaves.
        """
        outgoing = _Body(body, ours)
        try:
            async with self._open().post(
                url,
                data=outgoing,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout, connect=CONNECT_TIMEOUT),
            ) as response:
                return Answer(response.status, _told(response), await _beginning(response))
        except aiohttp.ClientConnectorError as error:
            return Answer(error=f"no connection: {_kind(error)}")
        except aiohttp.ConnectionTimeoutError:
            return Answer(error="no connection in time")
        except (aiohttp.InvalidURL, UnicodeError):
            return Answer(error="no connection: its address is none that a request can be sent to")
        except TimeoutError:
            return Answer(error=f"no answer in {timeout:g} s", lost=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if outgoing.withheld:
                return Answer(error=WITHHELD, withheld=True)
            return Answer(error=f"the connection broke: {type(error).__name__}", lost=True)

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection each: on one that is kept nobody knows whether a request has arrived when the other
            # side closes it just then.
            self._session = sends_once(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(force_close=True, limit=0),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    # Nothing packed: a small answer must not unpack into a large one.
                    headers={"User-Agent": f"killsyncd/{__version__}", "Accept-Encoding": "identity"},
                    auto_decompress=False,
                )
            )
        return self._session


class _Body(aiohttp.BytesPayload):
    """A body that is held back where, by the time that it could leave, it must not any more."""

    def __init__(self, value: bytes, ours: Callable[[], bool]) -> None:
        super().__init__(value)
        self._ours = ours
        self.withheld = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send it. Raises ConnectionAbortedError."""
        if not self._ours():
            self.withheld = True
            raise ConnectionAbortedError
        await super().write_with_length(writer, content_length)


def _told(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers that mean something; Retry-After in seconds, also where it is a date."""
    told = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    if "Retry-After" in told:
        try:
            until = parsedate_to_datetime(told["Retry-After"])
            theirs = parsedate_to_datetime(response.headers["Date"])
            told["Retry-After"] = str(max(0.0, (_aware(until) - _aware(theirs)).total_seconds()))
        except (ValueError, KeyError, TypeError, OverflowError):
            pass  # a number, or nothing that one could read
    return told


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body, or nothing where it is longer than any that means something, or breaks off.

    The status stands by then: a broken body changes nothing of what it says.
    """
    kept = b""
    try:
        async for chunk in response.content.iter_chunked(8192):
            kept += chunk
            if len(kept) > LONGEST_ANSWER:
                return b""
    except (aiohttp.ClientError, OSError, TimeoutError):
        return b""
    return kept


def _kind(error: aiohttp.ClientConnectorError) -> str:
    """What the system says, without the host, which may be private."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate does not hold"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    # Not its `strerror`: asyncio puts the address into that.
    return os.strerror(error.os_error.errno) if error.os_error.errno else type(error.os_error).__name__
