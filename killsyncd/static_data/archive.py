"""The export's archive: fetched to a temporary file, by ranges where the server allows it, read by members.

A ZIP archive has its directory at its end. Where the server answers ranges, that and the members we read
are fetched into a sparse file of the archive's size, a few MB instead of some 100; where it does not, the
whole is. `zipfile` reads either, and checks each member's CRC.
"""

from __future__ import annotations

import asyncio
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import aiohttp

from killsyncd.core import outbound
from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.core.outbound import AGAIN
from killsyncd.static_data.records import BUILD_MEMBER, MAX_LINE, TABLES

TAIL = 256 * 1024
"""Bytes fetched first: the directory of 79 members takes some 8 KB, and the end record may have a comment."""

MAX_ARCHIVE = 1 << 30
MAX_MEMBER = 512 << 20
"""Bytes of one member, unpacked: the largest that we read, `types`, has some 150 MB."""

SPARE = 256 << 20
"""Bytes that stay free on the disk beside the archive."""

LOCAL_HEADER = 30 + 2 * 65_535
"""Bytes that a member's own header can take at most; its name and extra field differ from the directory's."""

CHUNK = 1 << 16
PLAIN = {"Accept-Encoding": "identity"}
"""Ranges are of the archive itself, not of something packed once more."""

MEMBERS = (BUILD_MEMBER, *(table.member for table in TABLES))


async def fetch(session: aiohttp.ClientSession, url: str, path: Path) -> int:
    """Fetch what we read of the archive at `url` into `path`, a new file; answers the bytes that came.

    Raises Unavailable where it does not come (now), BadInput where it can't be an archive.
    """
    try:
        async with outbound.get(session, url, {**PLAIN, "Range": f"bytes=-{TAIL}"}) as answer:
            size, etag = _size(answer), answer.headers.get("ETag", "")
            # Only a strong validator vouches that two ranges are of one version (RFC 9110, 13.1.5).
            by_ranges = answer.status == 206 and size is not None and etag.startswith('"')
            if answer.status == 200:
                return await _whole(answer, path)
            got = 0
            if by_ranges and size is not None:
                _need_space(path, TAIL)
                got = await _part(answer, path, max(0, size - TAIL), min(size, TAIL), size)
        if not by_ranges or size is None:
            async with outbound.get(session, url, PLAIN) as answer:
                return await _whole(answer, path)
        ranges = await asyncio.to_thread(_ranges, path)
        _need_space(path, sum(end - start for start, end in ranges))
        for start, end in ranges:
            headers = {**PLAIN, "Range": f"bytes={start}-{end - 1}", "If-Range": etag}
            async with outbound.get(session, url, headers) as answer:
                if answer.status != 206 or answer.headers.get("ETag", etag) != etag:
                    raise Unavailable("the static data changed while they were fetched", AGAIN)
                came = await _part(answer, path, start, end - start, size)
                if came < end - start:
                    raise Unavailable("a part of the static data ended too early", AGAIN)
                got += came
        return got
    except OSError as error:
        raise Unavailable(f"the static data cannot be kept: {error.strerror}", AGAIN) from None


def _size(answer: aiohttp.ClientResponse) -> int | None:
    """The whole archive's size, as Content-Range has it (RFC 9110, 14.4)."""
    _, _, total = answer.headers.get("Content-Range", "").rpartition("/")
    if not total.isascii() or not total.isdigit():
        return None
    if int(total) > MAX_ARCHIVE:
        raise BadInput(f"the static data have more than {MAX_ARCHIVE >> 20} MiB")
    return int(total)


async def _whole(answer: aiohttp.ClientResponse, path: Path) -> int:
    if answer.status != 200:
        raise Unavailable(f"the static data's server answered {answer.status}", AGAIN)
    _need_space(path, answer.content_length or MAX_ARCHIVE // 4)
    return await _part(answer, path, 0, MAX_ARCHIVE, None)


async def _part(answer: aiohttp.ClientResponse, path: Path, start: int, most: int, size: int | None) -> int:
    """Write a body at its place; the file is `size` bytes long, with holes where nothing came yet.

    most: bytes that the body may have.
    """
    got = 0
    with closing(open(path, "r+b" if path.exists() else "w+b")) as file:  # noqa: ASYNC230
        if size is not None:
            file.truncate(size)
        file.seek(start)
        async for chunk in answer.content.iter_chunked(CHUNK):
            got += len(chunk)
            if got > most:
                raise BadInput(
                    f"the static data's server sends more than {most >> 10} KiB where that was asked"
                )
            await asyncio.to_thread(file.write, chunk)
    return got


def _need_space(path: Path, more: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < more + SPARE:
        raise Unavailable(
            f"{free >> 20} MiB are free at {path.parent}; the static data need {(more + SPARE) >> 20} MiB",
            "make room there",
        )


def _ranges(path: Path) -> list[tuple[int, int]]:
    """Where the members lie that we read, neighbours joined."""
    with _opened(path) as archive:
        size = os.path.getsize(path)
        found = sorted(
            (info.header_offset, min(size, info.header_offset + LOCAL_HEADER + info.compress_size))
            for info in (_member(archive, name) for name in MEMBERS)
        )
    joined: list[tuple[int, int]] = []
    for start, end in found:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    # zipfile's word for versions and methods that it does not know, and for what is encrypted.
    NotImplementedError,
    RuntimeError,
)
"""What comes of an archive that somebody cut, bent or made otherwise."""


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _BROKEN as error:
        raise BadInput(f"the static data are no ZIP archive ({error})") from None


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BadInput(f"the static data have no {name}") from None
    if info.file_size > MAX_MEMBER:
        raise BadInput(f"{name} has more than {MAX_MEMBER >> 20} MiB")
    return info


def read(path: Path, each: Callable[[str, Iterator[bytes]], None]) -> None:
    """Give each member's lines to `each`, one member after the other. Blocking: for a thread.

    Raises BadInput where the archive is broken or cut; what was given out until then is worth nothing.
    """
    with _opened(path) as archive:
        for name in MEMBERS:
            info = _member(archive, name)
            try:
                with archive.open(info) as file:
                    each(name, _lines(file, name))
            except _BROKEN as error:
                raise BadInput(f"{name} in the static data is broken ({error})") from None


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    total = 0
    while line := file.readline(MAX_LINE + 1):
        total += len(line)
        if len(line) > MAX_LINE or total > MAX_MEMBER:
            raise BadInput(f"{name} in the static data is larger than anything of CCP's")
        yield line
