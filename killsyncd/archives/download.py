"""Archives' files over HTTP: one at a time, to a file of ours, bounded in bytes and time."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from killsyncd.core import outbound
from killsyncd.core.errors import BadInput, Unavailable

MOST_ARCHIVE = 512 << 20
MOST_LIST = 64 << 20
"""Bytes of a day, packed, and of a list."""

SECONDS = 3600.0
"""For a whole file."""


async def fetch_file(session: aiohttp.ClientSession, url: str, path: Path) -> int | None:
    """Write a file; its size, or None where there is none (404). Raises Unavailable, BadInput."""
    async with outbound.get(session, url, {"Accept-Encoding": "identity"}) as answer:
        if not _there(answer):
            return None
        size = 0
        with path.open("wb") as file:
            async for chunk in answer.content.iter_chunked(1 << 16):
                size += len(chunk)
                if size > MOST_ARCHIVE:
                    raise BadInput(f"{answer.url.host} sends more than {MOST_ARCHIVE >> 20} MiB for a day")
                file.write(chunk)
        return size


async def fetch_list(session: aiohttp.ClientSession, url: str) -> bytes | None:
    """A list, whole; None where there is none (404). Raises Unavailable, BadInput."""
    async with outbound.get(session, url, {"Accept-Encoding": "gzip"}) as answer:
        return await outbound.read_bounded(answer, MOST_LIST) if _there(answer) else None


def _there(answer: aiohttp.ClientResponse) -> bool:
    if answer.status == 404:
        return False
    if answer.status != 200:
        raise Unavailable(f"{answer.url.host} answered {answer.status}", "run the same import again later")
    return True
