"""The only way to zKillboard: politely, and bounded in bytes and time.

One request a second to the lists and ten to the stream (zKillboard allows twenty), one after the other,
packed, with a User-Agent by which the operator can be reached; a slash at the end of a list's address and no
query (zKillboard refuses both others). 503 ("reinforced mode") and 429 mean: come back later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from killsyncd.core import outbound
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.zkillboard.answers import StreamFile, read_file, read_page, read_sequence
from killsyncd.zkillboard.settings import ZkillboardSettings
from killsyncd.zkillboard.walk import EntityKind, ListedPage

LIST_PACE = 1.0
STREAM_PACE = 0.1
"""Seconds from an answer to the next request."""

LIST_BYTES = 2 << 20
FILE_BYTES = 8 << 20
SEQUENCE_BYTES = 64 << 10
"""Bytes of an answer at most, unpacked."""

SECONDS = 30.0
"""For a whole answer."""

LONGEST_RETRY_AFTER = 3600.0
PLACES = {EntityKind.CHARACTER: "characterID", EntityKind.CORPORATION: "corporationID"}


class NotNow(Unavailable):
    """zKillboard does not answer, or asks us to come back later. until: seconds since 1970; 0: not said."""

    def __init__(self, message: str, until: float = 0.0) -> None:
        super().__init__(message, outbound.AGAIN)
        self.until = until


class Pace:
    """Keeps requests of one kind apart, from one's answer to the next one's start: however long a request is
    on its way, they do not arrive closer together."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._next = 0.0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the next request may leave; the block is that request."""
        async with self._lock:
            wait = self._next - self._clock.monotonic()
            if wait > 0.0:
                await self._clock.sleep(wait)
            try:
                yield
            finally:
                self._next = self._clock.monotonic() + self._seconds


class ZkillboardClient:
    """Asks zKillboard.

    Raises, from any question: NotNow; BadInput where the answer is not what it should be.
    """

    def __init__(self, settings: ZkillboardSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lists = Pace(clock, LIST_PACE)
        self._stream = Pace(clock, STREAM_PACE)
        self._session: aiohttp.ClientSession | None = None
        self.requests: Counter[tuple[str, str]] = Counter()
        """Since the start, by what was asked for (`lists`, `stream`) and the answer's status, or `failed`."""

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def list_page(self, entity: EntityKind, entity_id: int, page: int) -> ListedPage:
        """A page of what a pilot or corporation took part in, newest first."""
        url = f"{self._settings.api_url}/{PLACES[entity]}/{entity_id}/page/{page}/"
        async with self._lists.turn():
            body = await self._get(url, LIST_BYTES)
        if body is None:
            raise BadInput("zKillboard has no such list (404)")
        return read_page(body)

    async def sequence(self) -> int:
        """The number of the stream's last file."""
        async with self._stream.turn():
            body = await self._get(f"{self._settings.stream_url}/ephemeral/sequence.json", SEQUENCE_BYTES)
        if body is None:
            raise NotNow("zKillboard's stream is not there (404)")
        return read_sequence(body)

    async def stream_file(self, sequence: int) -> StreamFile | None:
        """A file of the stream; None: it is not there (yet, or any more)."""
        async with self._stream.turn():
            body = await self._get(f"{self._settings.stream_url}/ephemeral/{sequence}.json", FILE_BYTES)
        return None if body is None else read_file(body)

    async def _get(self, url: str, most: int) -> bytes | None:
        """A good answer's body; None: 404."""
        if self._session is None:
            self._session = outbound.outbound_session(self._settings.user_agent, seconds=SECONDS)
        kind = "lists" if url.startswith(f"{self._settings.api_url}/") else "stream"
        outcome = "failed"
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        try:
            async with outbound.get(self._session, url, headers) as answer:
                outcome = str(answer.status)
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    until = self._until(answer.headers.get("Retry-After", ""))
                    raise NotNow(_refusal(answer.status), until)
                return await outbound.read_bounded(answer, most)
        except NotNow:
            raise
        except Unavailable as error:
            raise NotNow(error.message) from None
        finally:
            self.requests[kind, outcome] += 1

    def _until(self, retry_after: str) -> float:
        text = retry_after.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            return 0.0
        return self._clock.now() + min(float(text), LONGEST_RETRY_AFTER)


def _refusal(status: int) -> str:
    match status:
        case 503:
            return "zKillboard is in reinforced mode (503) and asks us to come back later"
        case 429:
            return "zKillboard asks us to come back later (429)"
        case 401 | 403:
            return f"zKillboard refuses us ({status}); it knows us by [esi] contact in the User-Agent"
        case _:
            return f"zKillboard answered {status}"
