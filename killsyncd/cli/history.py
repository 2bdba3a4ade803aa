"""`killsyncd import --everef`, `--zkillboard-history`, `--refs`: killmails from before, from public archives.

The archives are read here, a day at a time; what is kept goes through the daemon, or into the database where
none runs. A day that was read is not read again unless it has grown.
"""

from __future__ import annotations

import asyncio
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from killsyncd import user_agent
from killsyncd.archives import everef
from killsyncd.archives.download import SECONDS, fetch_file, fetch_list
from killsyncd.archives.everef import Wanted
from killsyncd.cli.files import Progress
from killsyncd.config import Config
from killsyncd.core.errors import BadInput, Unavailable, UsageError
from killsyncd.core.outbound import outbound_session

if TYPE_CHECKING:
    from killsyncd.control.client import ControlClient

EVEREF = "everef"
ZKILLBOARD = "zkillboard"
FIRST_DAY = date(2007, 12, 5)
"""EVE's first killmails with an id and hash."""

STILL_GROWS = 2
"""Days back from today that zKillboard may still add to: they are read again."""

SHOWN_REFUSALS = 100
"""Of a day; all of them are counted."""


@dataclass(slots=True)
class Day:
    """What came of a day. state: `read`, `known` (was read before), `absent` (no archive), `failed`.

    mismatched: their hash is not the one that belongs to them. wanted: refs that ESI is to be asked for.
    refusals: what was refused, the first of it, with the reason.
    """

    day: date
    state: str = "read"
    mails: int = 0
    kept: int = 0
    stored: int = 0
    known: int = 0
    mismatched: int = 0
    unreadable: int = 0
    refused: int = 0
    wanted: int = 0
    reason: str | None = None
    refusals: list[str] = field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Keep a reason, unless there are many already."""
        if len(self.refusals) < SHOWN_REFUSALS:
            self.refusals.append(reason)


@dataclass(slots=True)
class Summary:
    """All days, for people and `--json`."""

    archive: str
    days: list[Day] = field(default_factory=list)

    def total(self, name: str) -> int:
        """A count over all days."""
        return sum(int(getattr(day, name)) for day in self.days)

    def document(self) -> dict[str, Any]:
        """For `--json` (docs/history.md)."""
        return {
            "archive": self.archive,
            "days": [{**asdict(day), "day": day.day.isoformat()} for day in self.days],
        }


def days_of(text: str) -> list[date]:
    """The days of `FROM..TO`, both included. Raises UsageError."""
    begun, dots, end = text.partition("..")
    try:
        first = date.fromisoformat(begun)
        last = date.fromisoformat(end) if dots else first
    except ValueError:
        raise UsageError(f"{text!r} is not FROM..TO", "two days, such as 2026-01-01..2026-01-31") from None
    today = datetime.now(UTC).date()
    first, last = max(first, FIRST_DAY), min(last, today)
    if last < first:
        raise UsageError(f"{text!r} holds no day", f"days run from {FIRST_DAY} to {today}")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


class Target:
    """Where killmails and refs go: the daemon, or the database where none runs."""

    def __init__(self, runner: asyncio.Runner, daemon: ControlClient | None, config: Config) -> None:
        self._runner = runner
        self._daemon = daemon
        self._config = config
        self._stack = AsyncExitStack()
        self._direct: Any = None

    def __enter__(self) -> Target:
        if self._daemon is None:
            self._runner.run(self._open())
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.run(self._stack.aclose())

    async def _open(self) -> None:
        from killsyncd.cli.direct import exchange_of, history_of, opened

        store = await self._stack.enter_async_context(opened(self._config, create=True))
        self._direct = exchange_of(store), history_of(store)

    def state(self, archive: str, scope: str) -> Any:
        """What was read for this scope (`days`), and who is ours."""
        if self._daemon is not None:
            return self._daemon.get("/v1/history", {"archive": archive, "scope": scope})
        from killsyncd.service import jsonable

        return jsonable(self._runner.run(self._direct[1].state(archive, scope)))

    def day_read(self, archive: str, scope: str, day: Day) -> None:
        """A day was read to its end."""
        # What went to ESI instead is settled. What did not can still be brought by `--verify`.
        refused = day.refused + max(0, day.mismatched - day.wanted)
        counts = [number_of(day.day), day.mails, day.kept, day.stored, refused]
        if self._daemon is not None:
            self._daemon.post("/v1/history", {"archive": archive, "scope": scope, "counts": counts})
            return
        from killsyncd.service.history import DayRead

        self._runner.run(self._direct[1].day_read(DayRead(archive, scope, *counts)))

    def mails(self, lines: Iterable[bytes]) -> Any:
        """Store killmails; the report of an import."""
        if self._daemon is not None:
            return self._daemon.upload("/v1/import", lines)
        from killsyncd.service import jsonable

        return jsonable(self._runner.run(self._direct[0].import_lines(_chunks(lines))))

    def refs(self, lines: Iterable[bytes]) -> Any:
        """Want killmails from ESI; the report of refs."""
        if self._daemon is not None:
            return self._daemon.upload("/v1/refs", lines)
        from killsyncd.service import jsonable

        return jsonable(self._runner.run(self._direct[1].import_refs(_chunks(lines))))


async def _chunks(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def number_of(day: date) -> int:
    """A day as archives number it: YYYYMMDD."""
    return int(day.strftime("%Y%m%d"))


def wanted_by(args: Namespace, state: Any) -> Wanted:
    """Whose killmails are kept: whom the arguments name, else ours. Raises UsageError."""
    named = (frozenset(args.character), frozenset(args.corporation), frozenset(args.alliance))
    if args.all:
        if any(named):
            raise UsageError("--all keeps everything", "leave out --character, --corporation and --alliance")
        return Wanted(everybody=True)
    if any(named):
        return Wanted(False, *named)
    ours = Wanted(False, frozenset(state["characters"]), frozenset(state["corporations"]))
    if not ours.scope:
        raise UsageError(
            "nobody has logged in yet, so there is nobody's killmails to keep",
            "log a pilot in, or name whom: --all, --character ID, --corporation ID, --alliance ID",
        )
    return ours


class Everef:
    """Reads EVE Ref's days. verify: what has a wrong hash goes to ESI as a ref."""

    def __init__(self, runner: asyncio.Runner, target: Target, config: Config, *, verify: bool) -> None:
        self._runner = runner
        self._target = target
        self._url = config.history.everef_url
        self._agent = user_agent(config.esi.contact)
        self._verify = verify

    def run(self, days: list[date], wanted: Wanted) -> Summary:
        """Read these days. Raises Unavailable, BadInput where the archive's list of days cannot be had."""
        summary = Summary(EVEREF)
        totals = self._totals()
        state = self._target.state(EVEREF, wanted.scope)
        read = {int(day): int(mails) for day, mails in state["days"].items()}
        if self._verify:
            for number in state["refused"]:
                read.pop(int(number), None)
        for each in days:
            number = number_of(each)
            day = Day(each, mails=totals.get(number, 0))
            summary.days.append(day)
            if number in read and read[number] >= totals.get(number, 0):
                day.state = "known"
                continue
            try:
                self._day(day, wanted)
            except (Unavailable, BadInput) as error:
                # What was kept of it is stored; the day is read again the next time.
                day.state, day.reason = "failed", error.message
                continue
            if day.state == "read":
                # With as many as were seen: where the list of days knows of more, it is read again.
                self._target.day_read(EVEREF, wanted.scope, day)
        return summary

    def _totals(self) -> dict[int, int]:
        async def ask() -> bytes | None:
            async with outbound_session(self._agent, seconds=SECONDS) as session:
                return await fetch_list(session, f"{self._url}/totals.json")

        try:
            body = self._runner.run(ask())
        except Unavailable as error:  # which would be asked again by itself in a daemon
            hint = "look at the network and [history] everef_url, then run the same import again"
            raise Unavailable(error.message, hint) from None
        if body is None:
            raise Unavailable(
                "the archive has no list of its days (totals.json)", "look at [history] everef_url"
            )
        return everef.totals(body)

    def _day(self, day: Day, wanted: Wanted) -> None:
        with tempfile.TemporaryDirectory(prefix="killsyncd-import-") as folder:
            path = Path(folder) / "day.tar.bz2"

            async def fetch() -> int | None:
                async with outbound_session(self._agent, seconds=SECONDS) as session:
                    url = f"{self._url}/{day.day.year}/killmails-{day.day}.tar.bz2"
                    return await fetch_file(session, url, path)

            if self._runner.run(fetch()) is None:
                day.state = "absent"
                return
            refs: list[bytes] = []
            report = self._target.mails(self._kept(path, day, wanted, refs))
            day.stored, day.known = report["stored"], report["known"]
            day.refused = report["bad"]
            for error in report["errors"]:
                day.refuse(f"the {error['line']:,}. that was kept: {error['reason']}")
            if refs and self._verify:
                day.wanted = self._target.refs(refs)["wanted"]

    def _kept(self, path: Path, day: Day, wanted: Wanted, refs: list[bytes]) -> Iterator[bytes]:
        """Lines of what is kept of a day. What has a wrong hash goes into refs instead."""
        from killsyncd.service.import_export import matches_hash

        seen, bar = 0, Progress(f"{day.day}", day.mails)
        try:
            for each in everef.members(path, wanted):
                seen += 1
                if seen % 500 == 0:
                    bar.show(seen, f"{day.kept:,} kept")
                if each.killmail_id is None:
                    day.unreadable += 1
                    day.refuse(f"the {seen:,}. file of the archive: it is no killmail")
                    continue
                if not each.wanted:
                    continue
                try:
                    line = everef.import_line(each)
                except BadInput as error:
                    day.unreadable += 1
                    day.refuse(f"killmail {each.killmail_id}: {error.message}")
                    continue
                day.kept += 1
                if matches_hash(line):
                    yield line
                else:
                    day.mismatched += 1
                    day.refuse(f"killmail {each.killmail_id}: its hash in the archive is not its own")
                    refs.append(f"{each.killmail_id},{each.killmail_hash}\n".encode())
        finally:
            bar.end()
        day.mails = seen


class ZkillboardDays:
    """Reads zKillboard's days: ids and hashes, which become refs for ESI."""

    def __init__(self, runner: asyncio.Runner, target: Target, config: Config) -> None:
        self._runner = runner
        self._target = target
        self._url = config.history.zkillboard_url
        self._agent = user_agent(config.esi.contact)

    def run(self, days: list[date]) -> Summary:
        """Read these days."""
        summary = Summary(ZKILLBOARD)
        read = self._target.state(ZKILLBOARD, "everybody")["days"]
        recent = datetime.now(UTC).date() - timedelta(days=STILL_GROWS)
        for each in days:
            day = Day(each)
            summary.days.append(day)
            if str(number_of(each)) in read and each < recent:
                day.state = "known"
                continue
            try:
                self._day(day)
            except (Unavailable, BadInput) as error:
                day.state, day.reason = "failed", error.message
                continue
            if day.state == "read" and day.mails:  # an empty day says nothing, and is asked for again
                self._target.day_read(ZKILLBOARD, "everybody", day)
        return summary

    def _day(self, day: Day) -> None:
        async def fetch() -> bytes | None:
            async with outbound_session(self._agent, seconds=SECONDS) as session:
                return await fetch_list(session, f"{self._url}/{number_of(day.day)}.json")

        body = self._runner.run(fetch())
        if body is None:
            day.state = "absent"
            return
        pairs, day.unreadable = everef.pairs(body)
        day.mails = day.kept = len(pairs)
        lines = (f"{killmail_id},{killmail_hash}\n".encode() for killmail_id, killmail_hash in pairs)
        report = self._target.refs(lines)
        day.wanted, day.known, day.refused = report["wanted"], report["known"], report["bad"]
        for error in report["errors"]:
            day.refuse(f"the {error['line']:,}. pair: {error['reason']}")


def words_of(day: Day) -> str:
    """A day's line for people."""
    match day.state:
        case "known":
            return f"{day.day}: read before"
        case "absent":
            return f"{day.day}: the archive has no such day (yet)"
        case "failed":
            return f"{day.day}: not read to its end: {day.reason}; run the same import again"
    parts = [f"{day.mails:,} read", f"{day.kept:,} kept", f"{day.stored:,} stored", f"{day.known:,} known"]
    if day.wanted:
        parts.append(f"{day.wanted:,} wanted from ESI")
    if day.mismatched:
        parts.append(f"{day.mismatched:,} with a wrong hash")
    if day.unreadable or day.refused:
        parts.append(f"{day.unreadable + day.refused:,} unreadable")
    return f"{day.day}: {', '.join(parts)}"
