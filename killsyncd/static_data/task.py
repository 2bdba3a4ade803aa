"""Keeps CCP's static data up to date: asks once a day which build is the newest, and takes that over whole.

What is new is found outside of any transaction, by comparing the archive with the tables; the transaction
that changes them holds only the differences, so that nobody who stores mails waits for it. A build that is
broken, cut short or older than ours changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from killsyncd.core import outbound
from killsyncd.core.background import REMEDY, STATIC_DATA, PeriodicTask, TaskRows, TaskState, Turn
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.static_data import archive
from killsyncd.static_data.ports import StaticDataRows, TableChange
from killsyncd.static_data.records import BUILD_MEMBER, TABLES, Build, Row, Table, build_of, rows_of

DAY = 86_400.0
MOST_LATEST = 64 * 1024
"""Bytes of `latest.jsonl`, which has some 100."""

COMPARE = 5000
"""Rows of a table that are compared at once."""

BELIEVED = 6
"""So often in a row a 304 is believed; then, and once a process, `latest.jsonl` is asked for without
If-None-Match: a node that answers 304 for ever would keep an old build here for ever."""

SHRINKS = 0.5
"""A table that has lost more than this part of its rows was cut short."""


log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StaticDataSettings:
    """url: what `latest.jsonl` lies below. folder: where the archive is kept while it is read."""

    url: str
    folder: Path
    user_agent: str
    timeout: float = 3600.0
    """Seconds for a whole archive."""


class StaticDataTask(PeriodicTask):
    """The task. tell: called when another build has been taken over."""

    name = STATIC_DATA

    def __init__(
        self,
        settings: StaticDataSettings,
        tables: StaticDataRows,
        rows: TaskRows,
        clock: Clock,
        rng: random.Random,
        tell: Callable[[], None],
    ) -> None:
        super().__init__(rows, clock, rng, tell)
        self._settings = settings
        self._tables = tables
        self._left = 0

    async def turn(self, state: TaskState) -> Turn:
        """Look which build is the newest, and take it over. Raises Unavailable, BadInput."""
        have = await self._tables.build()
        # A day, and up to an hour apart from the others: the export changes about once a week.
        wait = DAY + self._rng.uniform(0.0, 3600.0)
        async with outbound.outbound_session(
            self._settings.user_agent, seconds=self._settings.timeout
        ) as session:
            found, etag = await self._latest(session, self._believed(state) if have else None)
            if found is None or found.number == have:
                return Turn(wait, have, etag or state.validator)
            if found.number < have:
                raise BadInput(
                    f"CCP's newest static data are build {found.number}, older than ours ({have})", REMEDY
                )
            taken = await self._take(session, found, have)
        log.info("static data renewed", build=found.number, released=found.released, changed=taken)
        return Turn(wait, found.number, etag, changed=True)

    def _believed(self, state: TaskState) -> str | None:
        """The ETag of what is known, as long as it may be asked by it."""
        if self._left <= 0:
            self._left = BELIEVED
            return None
        self._left -= 1
        return state.validator

    async def _latest(
        self, session: aiohttp.ClientSession, etag: str | None
    ) -> tuple[Build | None, str | None]:
        """The newest build and the ETag that says so; None where nothing has changed since."""
        headers = {"If-None-Match": etag} if etag else {}
        async with outbound.get(session, f"{self._settings.url}/latest.jsonl", headers) as answer:
            if answer.status == 304 and etag:
                return None, etag
            if answer.status != 200:
                raise Unavailable(f"the static data's server answered {answer.status}", outbound.AGAIN)
            body = await outbound.read_bounded(answer, MOST_LATEST)
            return build_of(body.splitlines()), answer.headers.get("ETag", "")[:200] or None

    async def _take(self, session: aiohttp.ClientSession, found: Build, have: int) -> int:
        """Take a build over; answers how many rows it changed."""
        async with self._file() as path:
            url = f"{self._settings.url}/eve-online-static-data-{found.number}-jsonl.zip"
            await archive.fetch(session, url, path)
            build, tables = await asyncio.to_thread(_parsed, path)
        if build.number != found.number:
            raise BadInput(
                f"the archive of build {found.number} says that it is build {build.number}", REMEDY
            )
        changes = [await self._change(table, tables.pop(table.table)) for table in TABLES]
        if not await self._tables.swap(found, have, changes):
            raise Unavailable("the static data were changed by somebody else meanwhile", outbound.AGAIN)
        return sum(len(each.put) + len(each.gone) for each in changes)

    @contextlib.asynccontextmanager
    async def _file(self) -> AsyncIterator[Path]:
        """Where the archive goes; nothing of it stays, nor of one whose process was killed."""
        folder = self._settings.folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{PREFIX}{self._rng.getrandbits(48):012x}{SUFFIX}"
            _remove_leftovers(folder)
        except OSError as error:
            raise Unavailable(
                f"{folder} cannot be written: {error.strerror}", f"let killsyncd write in {folder}"
            ) from None
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _change(self, table: Table, rows: dict[int, Row]) -> TableChange:
        """What differs from the table as it stands."""
        change, after, had, total = TableChange(table), -1, 0, len(rows)
        while known := await self._tables.rows(table, after, COMPARE):
            had, after = had + len(known), int(known[-1][0])
            for row in known:
                fresh = rows.pop(row[0], None)
                if fresh is None:
                    change.gone.append(row[0])
                elif fresh != row:
                    change.put.append(fresh)
        change.put.extend(rows.values())
        if total < had * SHRINKS:
            raise BadInput(f"{table.member} has {total} lines, of {had} that were there", REMEDY)
        return change


PREFIX, SUFFIX = "static-data-", ".zip.part"


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f"{PREFIX}*{SUFFIX}"):
        left.unlink(missing_ok=True)


def _parsed(path: Path) -> tuple[Build, dict[str, dict[int, Row]]]:
    """The archive's build and its tables, by id. Blocking: for a thread."""
    by_member = {table.member: table for table in TABLES}
    found: dict[str, dict[int, Row]] = {}
    builds: list[Build] = []

    def each(name: str, lines: Iterator[bytes]) -> None:
        if name == BUILD_MEMBER:
            builds.append(build_of(lines))
        else:
            table = by_member[name]
            found[table.table] = {int(row[0]): row for row in rows_of(table, lines)}

    archive.read(path, each)
    return builds[0], found
