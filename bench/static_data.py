"""CCP's static data at their real size: what taking an export over needs of memory, by ranges and whole."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.postgres import a_database
from bench.rig import Figure, RowFailed

COUNTS = {
    "categories": 48,
    "groups": 1_570,
    "types": 51_000,
    "mapRegions": 114,
    "mapConstellations": 1_190,
    "mapSolarSystems": 8_490,
}
"""Rows of the members that are read: as many as CCP's export has."""

OTHERS = 71
"""Members that are passed over: with them, the moons and those that are read there are 79, as in CCP's."""

MOONS, OF_AN_OTHER = 224_000_000, 2_700_000
"""Bytes, unpacked, of the largest member and of each of the others: 575 MB in all, some 100 packed."""

LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "ru", "zh")
MOST = 40e6


def static_data(folder: Path, quick: bool) -> list[Figure]:
    """Peak memory above what the process had before: a first build, and one that changes little."""
    del quick  # the export's size is the point
    exports = folder / "exports"
    exports.mkdir()
    for build in (1, 2):
        _export(exports / f"eve-online-static-data-{build}-jsonl.zip", build)
    size = (exports / "eve-online-static-data-1-jsonl.zip").stat().st_size
    figures = []
    for ranges in (True, False):
        name = f"static data, {size / 1e6:.0f} MB {'by ranges' if ranges else 'whole'}"
        with _served(exports, ranges) as address:
            figures.append(_figure(f"{name}, SQLite", address, str(folder / f"{ranges}.db"), folder))
            with a_database() as url:
                if url is not None:  # measured where there is one
                    figures.append(_figure(f"{name}, PostgreSQL", address, url, folder))
    return figures


def _figure(name: str, address: str, database: str, folder: Path) -> Figure:
    done = subprocess.run(
        [sys.executable, "-m", "bench.static_data", address, database, str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RowFailed(done.stderr[-2000:])
    turns = json.loads(done.stdout)
    peaks = [turn["peak"] for turn in turns]
    seconds = ", ".join(f"{turn['seconds']:.1f} s" for turn in turns)
    return Figure(
        f"{name}: memory on top of a first build and the next ({seconds})",
        ", ".join(f"{peak / 1e6:.0f} MB" for peak in peaks),
        f"{turns[0]['rows'] / 1e6:.0f} MB (its rows, in a list)",
        f"≤ {MOST / 1e6:.0f} MB",
        max(peaks) / turns[0]["rows"],
        max(peaks) <= MOST,
    )


@contextmanager
def _served(exports: Path, ranges: bool) -> Iterator[str]:
    """A server of `/BUILD/latest.jsonl` and `/BUILD/` the archive of that build."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _, build, name = self.path.split("/")
            if name == "latest.jsonl":
                body = json.dumps({"_key": "sde", "buildNumber": int(build)}).encode()
                self._answer(200, len(body), f'"latest-{build}"')
                self.wfile.write(body)
                return
            with (exports / name).open("rb") as file:
                size, start = (exports / name).stat().st_size, 0
                length, wanted = size, re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
                if ranges and wanted:
                    start = int(wanted[1]) if wanted[1] else size - int(wanted[2])
                    length = (min(size, int(wanted[2]) + 1) if wanted[1] else size) - start
                    self._answer(206, length, f'"{build}"', f"bytes {start}-{start + length - 1}/{size}")
                else:
                    self._answer(200, size, f'"{build}"')
                file.seek(start)
                while length > 0:
                    piece = file.read(min(length, 1 << 16))
                    self.wfile.write(piece)
                    length -= len(piece)

        def _answer(self, status: int, length: int, etag: str, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", etag)
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _export(path: Path, build: int) -> None:
    """An archive of CCP's form and size. A later build names some types anew."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghiklmnoprstuvz", k=rng.randint(3, 11))) for _ in range(6_000)]
    others = [f"other{number:02}.jsonl" for number in range(OTHERS)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("_sde.jsonl", json.dumps({"_key": "sde", "buildNumber": build, "releaseDate": "2026"}))
        for number, (member, count) in enumerate(COUNTS.items()):
            with made.open(f"{member}.jsonl", "w") as file:
                for record in _records(member, count, build, rng, words):
                    file.write(json.dumps(record).encode() + b"\n")
            for other in others[number * 12 : (number + 1) * 12]:
                made.writestr(other, _filling(OF_AN_OTHER, rng))
        with made.open("mapMoons.jsonl", "w") as file:
            for _ in range(MOONS // 1_000_000):
                file.write(_filling(1_000_000, rng))


def _filling(size: int, rng: random.Random) -> bytes:
    """Text that deflates to a sixth, as the export does."""
    noise = rng.randbytes(size // 6).hex()
    return (noise + " " * (size - len(noise))).encode()


def _records(
    member: str, count: int, build: int, rng: random.Random, words: list[str]
) -> Iterator[dict[str, Any]]:
    for key in range(1, count + 1):
        renamed = build > 1 and key % 500 == 0
        name = " ".join(rng.choices(words, k=3)).title() + (f" {build}" if renamed else "")
        record: dict[str, Any] = {"_key": key, "name": dict.fromkeys(LANGUAGES, name), "published": True}
        if member == "types":
            text = " ".join(rng.choices(words, k=40))
            record["description"] = {language: text + language for language in LANGUAGES}
            record |= {"groupID": 1 + key % COUNTS["groups"], "metaGroupID": key % 20, "volume": 5.0}
        elif member == "groups":
            record["categoryID"] = 1 + key % COUNTS["categories"]
        elif member.startswith("map"):
            record["regionID"] = 1 + key % COUNTS["mapRegions"]
            record["constellationID"] = 1 + key % COUNTS["mapConstellations"]
            record["securityStatus"] = rng.uniform(-1.0, 1.0)
        yield record


# --- in a process of its own ----------------------------------------------------------------------


async def _take_over(address: str, database: str, folder: str) -> list[dict[str, float]]:
    """Take over one build after the other. Of each turn: bytes on top, seconds, bytes of the rows."""
    from killsyncd.core.background import TaskState
    from killsyncd.core.clock import SystemClock
    from killsyncd.static_data.records import TABLES
    from killsyncd.static_data.task import StaticDataSettings, StaticDataTask
    from killsyncd.storage.migrations import migrate
    from killsyncd.storage.postgres.store import PostgresStore
    from killsyncd.storage.repositories.background import BackgroundTasks
    from killsyncd.storage.repositories.daemons import Membership
    from killsyncd.storage.repositories.static_data import StaticDataRepository
    from killsyncd.storage.sqlite.store import SqliteStore

    clock, found = SystemClock(), list[dict[str, float]]()
    on_postgres = database.startswith("postgresql:")
    store = await (PostgresStore.open(database) if on_postgres else SqliteStore.open(Path(database), clock))
    try:
        await migrate(store)
        member = await Membership.join(store, clock, egress="bench", version="0")
        tables, rows = StaticDataRepository(store), BackgroundTasks(store, member.id)
        for build in (1, 2):
            settings = StaticDataSettings(f"{address}/{build}", Path(folder), "killsyncd-bench/1")
            task = StaticDataTask(settings, tables, rows, clock, random.Random(1), lambda: None)
            _reset_peak()
            before, began = _memory("VmRSS"), time.perf_counter()
            await task.turn(TaskState(name=task.name))
            assert await tables.build() == build, "the build was taken over"
            found.append({"peak": _memory("VmHWM") - before, "seconds": time.perf_counter() - began})
        kept = [row for table in TABLES for row in await tables.rows(table, 0, 1_000_000)]
        assert len(kept) == sum(COUNTS.values())
        found[0]["rows"] = sum(sys.getsizeof(row) + sum(map(sys.getsizeof, row)) for row in kept)
    finally:
        await store.close()
    return found


def _memory(name: str) -> int:
    """Bytes, of this process: VmRSS now, VmHWM at the most since `_reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_take_over(*sys.argv[1:]))))
