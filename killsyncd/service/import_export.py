"""Killmails out to files and in from files: JSON lines in ESI's format, or flat CSV.

One line is one mail, as ESI sent it, plus `killmail_hash`. What goes out comes back in unchanged,
byte for byte. Importing is idempotent: what is stored already is passed over, so an import that was
interrupted is simply run again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import orjson

from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import Killmail, compute_hash, decode, is_hash, repaired
from killsyncd.core.killmail_rows import entity_ids
from killsyncd.core.logging import get_logger
from killsyncd.service.csv_export import csv_head, csv_lines, read_about
from killsyncd.service.ports import ImportExportRows, StoredDocument
from killsyncd.sync.batch import Arrival

log = get_logger(__name__)

PAGE = 200
"""Mails read, or stored, at once."""

IDS = 20_000
"""Ids of one character's mails that are read at once: 80 bytes each."""

BATCH_BYTES = 4_000_000
MAX_LINE = 16_000_000
"""Bytes: the largest fights of EVE make some two million."""

KEPT_ERRORS = 1000
FORMATS = ("jsonl", "csv")


def rest_of(ids: Sequence[int], asked: int, page: Sequence[StoredDocument]) -> list[int]:
    """What is still to be read after a page of the first `asked`, which may hold fewer than these."""
    reached = page[-1].killmail_id if page else ids[:asked][-1]
    return [each for each in ids if each > reached]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was not taken. line: from 1, of the file."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """How far an import is. known: stored before, or twice in the file. errors: the first bad lines."""

    lines: int = 0
    stored: int = 0
    known: int = 0
    bad: int = 0
    errors: list[BadLine] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Note a bad line."""
        self.bad += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(BadLine(line, reason))


class ImportExport:
    """Exports and imports over one database. stored: called when mails were stored, so that others look."""

    def __init__(
        self, rows: ImportExportRows, clock: Clock, stored: Callable[[], None] = lambda: None
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._stored = stored

    async def export(
        self, format: str = "jsonl", *, since: datetime | None = None, character_id: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stored mails in chunks of bytes, by id: all, those since a time, those with a character on them."""
        if format not in FORMATS:
            raise BadInput(f"there is no export format {format!r}", f"allowed are {' and '.join(FORMATS)}")
        if format == "csv":
            yield csv_head()
        pages = self._all(since) if character_id is None else self._of(character_id, since)
        async for page in pages:
            if format == "jsonl":
                yield b"".join(map(json_line, page))
            else:
                yield await self._csv_page(page)

    async def _all(self, since: datetime | None) -> AsyncIterator[list[StoredDocument]]:
        after = 0
        while page := await self._rows.documents_after(after, PAGE, since=since):
            yield page
            after = page[-1].killmail_id

    async def _of(self, character_id: int, since: datetime | None) -> AsyncIterator[list[StoredDocument]]:
        after = 0
        while ids := await self._rows.ids_of(character_id, after, IDS):
            after = ids[-1]
            while ids:
                page = await self._rows.documents_of(ids[:PAGE], since)
                if page:
                    yield page
                ids = rest_of(ids, PAGE, page)

    async def _csv_page(self, page: Sequence[StoredDocument]) -> bytes:
        mails = [(each.killmail_hash, mail) for each, mail in _decoded(page)]
        return csv_lines(mails, await read_about([mail for _, mail in mails], self._rows))

    async def import_lines(
        self,
        chunks: AsyncIterator[bytes],
        progress: Callable[[ImportReport], None] = lambda report: None,
        report: ImportReport | None = None,
    ) -> ImportReport:
        """Store what a file holds. A bad line is reported and passed over.

        report: filled as it goes, so that whoever gets an exception still knows how far it came.
        Raises Unavailable when the database does not take any more.
        """
        report = report if report is not None else ImportReport()
        source = await self._rows.import_source()
        batch: dict[int, Arrival] = {}
        numbers: dict[int, int] = {}
        size = 0
        async for number, line in split_lines(chunks):
            report.lines = number
            if line is not None and not line.strip():
                continue
            try:
                arrival = read_line(line, self._clock.now())
            except BadInput as error:
                report.refuse(number, error.message + (f" ({error.hint})" if error.hint else ""))
                continue
            before = batch.get(arrival.killmail.killmail_id)
            if before is not None and before.raw == arrival.raw:
                report.known += 1
                continue
            if before is not None:  # the database may refuse the one and take the other
                await self._store(source, batch, numbers, report)
                batch, numbers, size = {}, {}, 0
            batch[arrival.killmail.killmail_id] = arrival
            numbers[arrival.killmail.killmail_id] = number
            size += len(arrival.raw)
            if len(batch) >= PAGE or size >= BATCH_BYTES:
                await self._store(source, batch, numbers, report)
                progress(report)
                batch, numbers, size = {}, {}, 0
        if batch:
            await self._store(source, batch, numbers, report)
        progress(report)
        return report

    async def _store(
        self, source: int, batch: dict[int, Arrival], numbers: dict[int, int], report: ImportReport
    ) -> None:
        arrivals = list(batch.values())
        names = sorted({number for each in arrivals for number in entity_ids(each.killmail)})
        stored = await self._rows.import_mails(source, arrivals, names, self._clock.now())
        report.stored += len(stored.mails)
        report.known += len(stored.known)
        for killmail_id, reason in stored.refused:
            report.refuse(numbers[killmail_id], reason)
        if stored.mails:
            self._stored()


# --- lines --------------------------------------------------------------------------------------


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes | None]]:
    """(number, line) from chunks of any size; None for a line longer than MAX_LINE, which is not kept."""
    number, parts, size = 1, list[bytes](), 0
    async for chunk in chunks:
        begun = 0
        while (end := chunk.find(b"\n", begun)) >= 0:
            size += end - begun
            parts.append(chunk[begun:end])
            yield number, b"".join(parts) if size <= MAX_LINE else None
            number, parts, size, begun = number + 1, [], 0, end + 1
        size += len(chunk) - begun
        if size <= MAX_LINE:
            parts.append(chunk[begun:])
        else:
            parts = []
    if size:
        yield number, b"".join(parts) if size <= MAX_LINE else None


class _Hash(msgspec.Struct, gc=False):
    killmail_hash: str | None = None


_hash_decoder = msgspec.json.Decoder(_Hash)
_OUR_TAIL = re.compile(rb',"killmail_hash":"([0-9a-f]{40})"\}\s*\Z')


def read_line(line: bytes | None, at: float) -> Arrival:
    """One mail of a file. Raises BadInput, which never repeats what the line holds.

    Its hash is computed; one that stands in the line must be the same.
    """
    if line is None:
        raise BadInput(f"longer than {MAX_LINE} bytes, so it is no killmail")
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    if line.startswith(b"["):
        raise BadInput(
            "a list, not a killmail", "one killmail a line; make lines of a list with: jq -c '.[]'"
        )
    if line.startswith(b"\x1f\x8b"):
        raise BadInput("compressed", "name the file with .gz at its end, or pass it through gunzip")
    killmail = decode(line)
    computed = compute_hash(killmail)
    try:
        given = _hash_decoder.decode(line).killmail_hash
    except msgspec.ValidationError:
        raise BadInput("killmail_hash is not a text of 40 hexadecimal digits") from None
    if given is None:
        return Arrival(killmail, computed, line, at)
    if not is_hash(given.lower()):
        raise BadInput("killmail_hash is not a text of 40 hexadecimal digits")
    if given.lower() != computed:
        raise BadInput("killmail_hash does not belong to this killmail: hash or mail was changed")
    return Arrival(killmail, computed, _without_hash(line), at)


def matches_hash(line: bytes) -> bool:
    """Whether the hash in a line is that of its killmail; True where the line holds none, or no killmail."""
    try:
        killmail, given = decode(line), _hash_decoder.decode(line).killmail_hash
    except (BadInput, msgspec.MsgspecError):
        return True  # read_line says what is wrong
    return given is None or given.lower() == compute_hash(killmail)


def _without_hash(line: bytes) -> bytes:
    tail = _OUR_TAIL.search(line)
    if tail is not None and line.count(b'"killmail_hash"') == 1:
        return line[: tail.start()] + b"}"  # as we wrote it: the rest stays byte for byte
    document = orjson.loads(line)
    del document["killmail_hash"]
    return orjson.dumps(document)


def _decoded(page: Sequence[StoredDocument]) -> Iterator[tuple[StoredDocument, Killmail]]:
    """The mails of a page; one that cannot be read does not keep the others back."""
    for each in page:
        try:
            yield each, decode(repaired(each.raw))
        except BadInput as error:
            log.warning("left out of the export", killmail=each.killmail_id, reason=error.message)


def json_line(document: StoredDocument) -> bytes:
    """A mail as a line: ESI's bytes with the hash put in before the last brace."""
    raw = document.raw.strip()
    if b"\n" in raw or b"\r" in raw:
        raw = orjson.dumps(orjson.loads(repaired(raw)))
    comma = b"" if raw == b"{}" else b","
    return raw[:-1] + comma + b'"killmail_hash":"' + document.killmail_hash.encode("ascii") + b'"}\n'


# --- CSV ----------------------------------------------------------------------------------------


def parse_since(text: str) -> datetime:
    """`2026-01-31` or a time of RFC 3339; without a zone it is UTC, as everything in EVE. Raises BadInput."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # a zone can shift the year 1 or 9999 out of the calendar
        raise BadInput(f"{text!r} is not a date", "write 2026-01-31 or 2026-01-31T18:00:00Z") from None
