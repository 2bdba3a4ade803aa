"""The files beside ESI: CCP's static data with ranges and ETags, and EVE Ref's market history."""

from __future__ import annotations

import bz2
import io
import random
import re
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from .answer import Response, RoutedRequest, error
from .clock import SimClock, http_date, iso_date
from .config import SimulatorConfig
from .listing import etag_of, unchanged
from .market import market_history
from .universe import Universe

DAY = 86_400
FIRST_BUILD = 3_100_000
FILLER = 600_000
"""Bytes of a member that nobody needs, as the real archive has many."""

_ARCHIVE = re.compile(r"/static-data/tranquility/eve-online-static-data-(\d{1,12})-jsonl\.zip")
_HISTORY = re.compile(r"/market-history/(\d{4})/market-history-(\d{4}-\d\d-\d\d)\.csv\.bz2")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
LATEST = "/static-data/tranquility/latest.jsonl"


def export_call(method: str, path: str) -> RoutedRequest | None:
    """The file that a path names; None for everything else."""
    if method not in ("GET", "HEAD"):
        return None
    if path == LATEST:
        return RoutedRequest("files.static_latest")
    if (found := _ARCHIVE.fullmatch(path)) is not None:
        return RoutedRequest("files.static_archive", subject=int(found[1]))
    if (found := _HISTORY.fullmatch(path)) is not None:
        return RoutedRequest("files.market_history", extra=found[2])
    return None


class ExportFiles:
    """Answers for files. build: of the static data; `publish` makes another."""

    def __init__(self, config: SimulatorConfig, clock: SimClock, universe: Universe) -> None:
        self._config = config
        self._clock = clock
        self._universe = universe
        self._started = clock.wall()
        self.build = FIRST_BUILD
        self._more_types: list[tuple[int, int, str]] = []
        self._archive: tuple[int, bytes] | None = None

    def publish(self, build: int | None, types: Iterable[tuple[int, int, str]]) -> int:
        """Make another build of the static data. types: further ones, as (id, group, name)."""
        self.build = self.build + 1 if build is None else build
        self._more_types.extend(types)
        self._archive = None
        return self.build

    def answer(self, call: RoutedRequest, headers: Mapping[str, str]) -> Response:
        """The answer to a request for a file."""
        if call.route == "files.static_latest":
            return self._whole(self._latest(), headers, "application/jsonl")
        if call.route == "files.static_archive":
            if call.subject != self.build:
                return error(404, "Not found")
            return self._ranged(self._zip(), headers)
        return self._history(call.extra, headers)

    def _latest(self) -> bytes:
        released = iso_date(self._started)
        return orjson.dumps({"_key": "sde", "buildNumber": self.build, "releaseDate": released}) + b"\n"

    def _history(self, text: str, headers: Mapping[str, str]) -> Response:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return error(404, "Not found")
        number = (day - date(1970, 1, 1)).days
        # The file of a day comes on the next, about noon.
        if number * DAY + 1.5 * DAY > self._clock.wall():
            return error(404, "Not found")
        body = bz2.compress(market_history(self._universe, self._config.seed, number, text).encode())
        return self._whole(body, headers, "application/x-bzip2")

    def _whole(self, body: bytes, headers: Mapping[str, str], kind: str) -> Response:
        etag = etag_of(body)
        told = {"ETag": etag, "Last-Modified": http_date(self._started), "Accept-Ranges": "bytes"}
        if unchanged(headers.get("If-None-Match"), etag):
            return Response(304, b"", told)
        return Response(200, body, told, kind)

    def _ranged(self, body: bytes, headers: Mapping[str, str]) -> Response:
        whole = self._whole(body, headers, "application/zip")
        wanted = _RANGE.fullmatch(headers.get("Range", ""))
        if whole.status != 200 or wanted is None or not (wanted[1] or wanted[2]):
            return whole
        if headers.get("If-Range", whole.headers["ETag"]) != whole.headers["ETag"]:
            return whole
        size = len(body)
        start = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        end = min(size, int(wanted[2]) + 1 if wanted[1] and wanted[2] else size)
        if start >= end:
            return Response(416, b"", {"Content-Range": f"bytes */{size}"}, "application/zip")
        told = {**whole.headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}
        return Response(206, body[start:end], told, "application/zip")

    # The archive

    def _zip(self) -> bytes:
        if self._archive is None or self._archive[0] != self.build:
            self._archive = self.build, self._packed()
        return self._archive[1]

    def _packed(self) -> bytes:
        universe = self._universe
        members: dict[str, list[dict[str, Any]]] = {
            "_sde": [{"_key": "sde", "buildNumber": self.build, "releaseDate": iso_date(self._started)}],
            "categories": [_named(key, name) for key, name in universe.categories.items()],
            "groups": [
                {**_named(key, name), "categoryID": category, "published": True}
                for key, (name, category) in universe.groups.items()
            ],
            "types": self._types(),
            "mapRegions": [
                _named(key, named.name) for key, named in universe.names.items() if named.category == "region"
            ],
            "mapConstellations": [
                {**_named(key, name), "regionID": region}
                for key, (name, region) in universe.constellations.items()
            ],
            "mapSolarSystems": [
                {
                    **_named(key, name),
                    "constellationID": universe.places[key],
                    "regionID": universe.constellations[universe.places[key]][1],
                    "securityStatus": security,
                }
                for key, (name, security) in universe.systems.items()
            ],
        }
        made = datetime.fromtimestamp(self._started, UTC).timetuple()[:6]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, (name, rows) in enumerate(members.items()):
                info = zipfile.ZipInfo(f"{name}.jsonl", made)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, b"".join(orjson.dumps(row) + b"\n" for row in rows))
                if number == 2:
                    moons = zipfile.ZipInfo("mapMoons.jsonl", made)
                    archive.writestr(moons, random.Random(1).randbytes(FILLER))
        return buffer.getvalue()

    def _types(self) -> list[dict[str, Any]]:
        found = [(key, info.group_id, info.name) for key, info in self._universe.types.items()]
        return [
            {**_named(key, name), "groupID": group, "published": True}
            for key, group, name in [*found, *self._more_types]
        ]


def _named(key: int, name: str) -> dict[str, Any]:
    return {"_key": key, "name": {"de": name, "en": name}}
