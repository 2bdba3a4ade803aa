"""HTTP to ESI: one request, one answer, bounded in time and size. No policy in here.

Every request carries `X-Compatibility-Date` and a `User-Agent` by which CCP can reach the operator
(CCP's ESI documentation, "Best practices"). Redirects are not followed, cookies not kept, proxies of the
environment not used. Texts of aiohttp's errors hold addresses, and those hold killmail hashes: only their
kind is passed on.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from killsyncd.core.clock import Clock
from killsyncd.core.outbound import sends_once
from killsyncd.esi.timeouts import Deadlines

KIB = 1024
LIST_CAP = 4 * KIB * KIB
DETAIL_CAP = 8 * KIB * KIB
OTHER_CAP = 4 * KIB * KIB
PRICES_CAP = 8 * KIB * KIB
ERROR_CAP = 64 * KIB
"""Bytes of an answer after decompression. An error's text is cut there, not refused."""


class ConnectFailed(Exception):
    """No connection: nothing was sent. The text is safe to show."""


class NoResponse(Exception):
    """Sent, perhaps, and no status line came back. early: before a byte of the answer, by a lost
    connection rather than a time-out. The text is safe to show."""

    def __init__(self, text: str, *, early: bool) -> None:
        super().__init__(text)
        self.early = early


class BrokenResponse(enum.Enum):
    """What makes a body unusable."""

    NONE = "none"
    SHORT = "short"
    """It ends in the middle."""
    LARGE = "large"
    CODING = "coding"
    """It is not encoded as it says."""


@dataclass(slots=True)
class HttpResponse:
    """status and headers as sent. body: decompressed. flaw: what kind of thing makes the body unusable, if
    any, and broken: why, for people. sent, received: monotonic seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    flaw: BrokenResponse
    broken: str
    sent: float
    received: float


class EsiHttp:
    """A pool of connections to one ESI."""

    def __init__(
        self,
        *,
        base_url: str,
        user_agent: str,
        compatibility_date: str,
        timeout: float,
        max_connections: int,
        clock: Clock,
    ) -> None:
        """timeout: seconds for a whole answer. max_connections: at once."""
        self._base = URL(base_url.rstrip("/"))
        self._clock = clock
        self._common = {
            "User-Agent": user_agent,
            "X-Compatibility-Date": compatibility_date,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        self._deadlines = Deadlines(timeout)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, 10.0))
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ConnectFailed("the daemon is stopping")
        if self._session is None:
            self._session = sends_once(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=self._max_connections, ttl_dns_cache=300, keepalive_timeout=15.0
                    ),
                    headers=self._common,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=self._timeout,
                    # Unpacked here, where the size is watched: 1 KiB of gzip can hold 1 MiB.
                    auto_decompress=False,
                    trust_env=False,
                )
            )
        return self._session

    async def close(self) -> None:
        """Close all connections, for good."""
        self._closed = True
        self._deadlines.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        cap: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Ask once. cap: bytes of a good answer's body, unpacked. Raises ConnectFailed, NoResponse."""
        session = self._open()
        answer: HttpResponse | None = None
        try:
            with self._deadlines.limit():
                sent = self._clock.monotonic()
                async with session.request(
                    method,
                    self._url(path),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as response:
                    # Both ends of the interval in which ESI stamped its `Date` and took its price.
                    received = self._clock.monotonic()
                    answer = HttpResponse(
                        response.status, response.headers, b"", BrokenResponse.NONE, "", sent, received
                    )
                    await self._read(response, answer, cap if response.status < 300 else ERROR_CAP)
                    return answer
        except aiohttp.ClientConnectorError as error:
            raise ConnectFailed(f"no connection: {_why(error)}") from None
        except aiohttp.ConnectionTimeoutError:
            raise ConnectFailed("no connection: timed out") from None
        except TimeoutError:
            if answer is None:
                raise NoResponse("timed out", early=False) from None
            answer.flaw, answer.broken = BrokenResponse.SHORT, "it stopped in the middle (time-out)"
            return answer
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
            raise NoResponse("the connection was lost", early=True) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise NoResponse(f"unreadable as HTTP ({type(error).__name__})", early=False) from None

    def _url(self, path: str) -> URL:
        """path: as it is sent, its query included."""
        path, _, query = path.partition("?")
        # Not parsed anew for every mail: that alone costs as much as what it is joined with.
        url = self._base.with_path(self._base.raw_path.rstrip("/") + path, encoded=True)
        return url.with_query(query) if query else url

    async def _read(self, response: aiohttp.ClientResponse, answer: HttpResponse, cap: int) -> None:
        """Fill in the body. What goes wrong from here on is a property of the answer."""
        lenient = answer.status >= 300
        if not lenient and response.content_length is not None and response.content_length > cap:
            return _refuse(response, answer, cap)
        packed: bytes | bytearray = bytearray()
        try:
            if response.content_length is not None and not lenient:
                packed = await response.content.read()  # no more of it than was promised
            else:
                async for piece in response.content.iter_any():
                    packed += piece
                    if len(packed) > cap:
                        if lenient:
                            break
                        return _refuse(response, answer, cap)
        except (aiohttp.ClientError, ConnectionError, ValueError):
            answer.flaw, answer.broken = BrokenResponse.SHORT, "it ends in the middle"
            return None
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            answer.body = bytes(packed)
        elif encoding in ("gzip", "x-gzip"):
            _unpack(response, answer, bytes(packed), cap)
        else:
            answer.flaw, answer.broken = BrokenResponse.CODING, "its encoding was not asked for"
        return None


def _refuse(response: aiohttp.ClientResponse, answer: HttpResponse, cap: int) -> None:
    answer.flaw, answer.broken = BrokenResponse.LARGE, f"longer than {cap // (KIB * KIB)} MiB"
    response.close()  # the rest is not read, so the connection cannot be used again


def _unpack(response: aiohttp.ClientResponse, answer: HttpResponse, packed: bytes, cap: int) -> None:
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        body = unpacker.decompress(packed, cap + 1)
    except zlib.error:
        answer.flaw, answer.broken = BrokenResponse.CODING, "it is not gzip, as it says"
        return
    if len(body) > cap:
        _refuse(response, answer, cap)
    elif not unpacker.eof and answer.status < 300:
        answer.flaw, answer.broken = BrokenResponse.SHORT, "it ends in the middle (gzip)"
    else:
        answer.body = body


def _why(error: aiohttp.ClientConnectorError) -> str:
    """The operating system's words, without the address."""
    return error.os_error.strerror or type(error.os_error).__name__
