"""CCP's static data over real sockets: by ranges, whole, broken, and changed while they come."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.static_data import archive
from killsyncd.static_data.records import BUILD_MEMBER, TABLES, Build, Row, build_of, rows_of
from tests.support import real_static

SMALL = {
    BUILD_MEMBER: '{"_key": "sde", "buildNumber": 7, "releaseDate": "2026-11-01T11:00:00Z"}\n',
    "categories.jsonl": '{"_key": 6, "name": {"en": "Ship", "de": "Schiff"}, "published": true}\n',
    "groups.jsonl": '{"_key": 25, "categoryID": 6, "name": {"en": "Frigate"}}\n',
    "types.jsonl": '{"_key": 587, "groupID": 25, "name": {"en": "Rifter"}, "metaGroupID": 1}\n'
    '{"_key": 588, "groupID": 25, "name": {"en": "Reaper"}}\n',
    "mapRegions.jsonl": '{"_key": 10000002, "name": {"en": "The Forge"}}\n',
    "mapConstellations.jsonl": '{"_key": 20000020, "regionID": 10000002, "name": {"en": "Kimotoro"}}\n',
    "mapSolarSystems.jsonl": '{"_key": 30000142, "constellationID": 20000020, "regionID": 10000002,'
    ' "securityStatus": 0.9459131360054016, "name": {"en": "Jita"}}\n',
}
MOONS = 3_000_000
"""Bytes of a member that we don't read, not compressible: what ranges are there to leave out."""


def zipped(members: dict[str, str], moons: int = MOONS) -> bytes:
    """An export with a large member that nobody wants in the middle, as CCP's has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for number, (name, text) in enumerate(members.items()):
            made.writestr(name, text)
            if number == 2:
                made.writestr(zipfile.ZipInfo("mapMoons.jsonl"), b"\x00\xff" * (moons // 2))
    return buffer.getvalue()


class Server:
    """A web server with one file. ranges: whether it answers them. changed: called before each answer."""

    def __init__(self, body: bytes, *, ranges: bool = True, etag: str = '"one"') -> None:
        self.body = body
        self.ranges = ranges
        self.etag = etag
        self.sent = 0
        self.changed: Callable[[Server], None] = lambda _: None

    async def handle(self, request: web.Request) -> web.Response:
        self.changed(self)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if_range = request.headers.get("If-Range", self.etag)
        headers = {"ETag": self.etag}
        if not self.ranges or wanted is None or if_range != self.etag:
            self.sent += len(self.body)
            return web.Response(body=self.body, headers=headers)
        size = len(self.body)
        start = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        end = min(size, int(wanted[2]) + 1 if wanted[1] else size)
        self.sent += end - start
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return web.Response(status=206, body=self.body[start:end], headers=headers)


@asynccontextmanager
async def fetched(server: Server, path: Path) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/static.zip", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as session:
            port = runner.addresses[0][1]
            yield await archive.fetch(session, f"http://127.0.0.1:{port}/static.zip", path)
    finally:
        await runner.cleanup()


def tables_of(path: Path) -> tuple[Build, dict[str, list[Row]]]:
    found: dict[str, list[Row]] = {}
    builds: list[Build] = []
    by_member = {table.member: table for table in TABLES}

    def each(name: str, lines: object) -> None:
        if name == BUILD_MEMBER:
            builds.append(build_of(lines))
        else:
            found[by_member[name].table] = list(rows_of(by_member[name], lines))

    archive.read(path, each)
    return builds[0], found


EXPECTED = {
    "type_categories": [(6, "Ship")],
    "type_groups": [(25, 6, "Frigate")],
    "types": [(587, 25, 1, "Rifter"), (588, 25, None, "Reaper")],
    "regions": [(10000002, "The Forge")],
    "constellations": [(20000020, 10000002, "Kimotoro")],
    "solar_systems": [(30000142, 20000020, 10000002, 0.9459131360054016, "Jita")],
}


@pytest.mark.parametrize(("ranges", "etag"), [(True, '"one"'), (True, 'W/"one"'), (False, '"one"')])
async def test_ranges_where_they_are_safe_and_the_whole_elsewhere(
    tmp_path: Path, ranges: bool, etag: str
) -> None:
    moons = b"".join(bytes([n % 251, n % 13]) for n in range(MOONS // 2))
    body = zipped(SMALL).replace(b"\x00\xff" * 1000, moons[:2000])
    server = Server(body, ranges=ranges, etag=etag)
    async with fetched(server, tmp_path / "a.zip") as got:
        build, tables = tables_of(tmp_path / "a.zip")
    assert build == Build(7, "2026-11-01T11:00:00Z")
    assert tables == EXPECTED
    assert (tmp_path / "a.zip").stat().st_size == len(body)
    by_ranges = ranges and not etag.startswith("W/")
    assert (got < len(body)) is by_ranges


async def test_a_file_that_changes_while_it_comes_is_not_mixed(tmp_path: Path) -> None:
    server = Server(zipped(SMALL))
    asked = 0

    def changed(it: Server) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            it.body, it.etag = zipped({**SMALL, BUILD_MEMBER: '{"_key": "sde", "buildNumber": 8}\n'}), '"two"'

    server.changed = changed
    with pytest.raises(Unavailable, match="changed while they were fetched"):
        async with fetched(server, tmp_path / "a.zip"):
            pass


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda body: body[: len(body) // 2], "no ZIP archive"),
        (lambda _: b"<html>maintenance</html>", "no ZIP archive"),
        (lambda body: body.replace(b"types.jsonl", b"tapes.jsonl"), "no types.jsonl"),
        (lambda body: body[:60] + b"\x00" * 40 + body[100:], "_sde.jsonl in the static data is broken"),
        (lambda _: zipped({**SMALL, "types.jsonl": ""}), "types.jsonl is empty"),
        (lambda _: zipped({**SMALL, "types.jsonl": '{"_key": 1}\n'}), "types.jsonl, line 1: KeyError"),
        (lambda _: zipped({**SMALL, "groups.jsonl": "[]\n"}), "groups.jsonl, line 1: not an object"),
        (lambda _: zipped({**SMALL, BUILD_MEMBER: '{"_key": "x"}\n'}), "no build number"),
        (lambda _: zipped({**SMALL, "types.jsonl": "x" * (2 << 20)}), "larger than anything of CCP's"),
    ],
)
async def test_what_is_broken_is_named(tmp_path: Path, broken: Callable[[bytes], bytes], says: str) -> None:
    async def whole() -> None:
        async with fetched(Server(broken(zipped(SMALL, 1000)), ranges=False), tmp_path / "a.zip"):
            tables_of(tmp_path / "a.zip")

    with pytest.raises(BadInput, match=says):
        await whole()


@real_static.needs_static
async def test_the_real_export_is_read(tmp_path: Path) -> None:
    server = Server(real_static.ARCHIVE.read_bytes())
    async with fetched(server, tmp_path / "a.zip"):
        build, tables = tables_of(tmp_path / "a.zip")
    assert build.number == 2000001
    assert {name: len(rows) for name, rows in tables.items()}["types"] == 24627
    assert len(tables["solar_systems"]) == 8436
    assert (30000142, 20000020, 10000002) in {row[:3] for row in tables["solar_systems"]}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_whatever_is_bent_is_no_archive(tmp_path: Path, method: int) -> None:
    """Byte by byte: what comes of it is what was there, or a word why not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, text in SMALL.items():
            made.writestr(name, text)
    good, path, rng = buffer.getvalue(), tmp_path / "bent.zip", random.Random(method)
    for place in (*range(len(good) - 700, len(good)), *rng.sample(range(len(good) - 700), 300)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << rng.randrange(8)]) + good[place + 1 :])
        with suppress(BadInput):
            tables_of(path)


@pytest.mark.parametrize("security", ['"nan"', '"0.5"', "true", "null", "2.0", "[0.5]"])
def test_a_security_that_is_none(security: str) -> None:
    line = SMALL["mapSolarSystems.jsonl"].replace("0.9459131360054016", security)
    with pytest.raises(BadInput, match="line 1"):
        list(rows_of(TABLES[-1], [line.encode()]))
