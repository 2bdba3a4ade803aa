"""`killsyncd import`."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

from killsyncd.cli.command import Invocation, add_json, add_socket, out, out_json, say, socket_of, wants_json
from killsyncd.cli.files import Progress
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, KillsyncdError, Unavailable, UsageError
from killsyncd.core.text import count

CHUNK = 1 << 16
SHOWN_ERRORS = 50
_AGAIN = "run the same import again: what is stored is passed over"


def add_arguments(parser: ArgumentParser) -> None:
    """Files, or archives and whose killmails of them."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="killmails as JSON lines, may be compressed (.gz); - is stdin",
    )
    new = parser.add_argument
    new(
        "--refs",
        metavar="FILE",
        help="lines of killmail_id,killmail_hash; the killmails are fetched from ESI; - is stdin",
    )
    new("--everef", metavar="FROM..TO", help="read these days of EVE Ref's archive (a third party)")
    new(
        "--zkillboard-history",
        metavar="FROM..TO",
        help="read these days of zKillboard's ids and hashes (a third party), "
        "and fetch the killmails from ESI; needs --all",
    )
    new(
        "--all",
        action="store_true",
        help="keep every killmail of a day, not only those with one of your pilots or corporations",
    )
    for kind in ("character", "corporation", "alliance"):
        new(
            f"--{kind}",
            metavar="ID",
            type=entity_id,
            action="append",
            default=[],
            help=f"keep those with this {kind}, instead of your own; may be given several times",
        )
    new(
        "--verify",
        action="store_true",
        help="if a hash in the archive does not fit its killmail, ask ESI for that killmail",
    )
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
A file holds one killmail a line, in ESI's format. If a line has a killmail_hash, it must be right; otherwise
it is computed. Killmails that are stored already are skipped, so an interrupted import can simply be run
again. A bad line is reported with its number and skipped; the exit code is then 1. If a daemon is running,
the import goes through it.

Archives are read day by day, FROM and TO included. Of each day the killmails with one of your pilots or
corporations are kept. A day that was read is only read again if it has grown. docs/history.md has more.

examples:
  killsyncd import killmails.jsonl
  zcat old/*.jsonl.gz | killsyncd import -
  killsyncd import --everef 2026-01-01..2026-03-31
  killsyncd import --everef 2020-01-01..2020-12-31 --corporation 98000001
  killsyncd import --refs refs.csv
"""


def run(args: Namespace, call: Invocation) -> int:
    """Import the files one after the other; exit 1 when a line was bad."""
    from killsyncd.cli.direct import daemon_or_config

    if _of_archives(args):
        return _from_archives(args, call)

    for name in args.files:  # before anything is stored: a name mistyped at the end shall not surprise
        if name != "-":
            _open(name).close()
    daemon, config = daemon_or_config(call, socket_of(args))
    troubles: list[str] = []
    if daemon is not None:
        reports = [(name, daemon.upload("/v1/import", _Upload(name, troubles))) for name in args.files]
    else:
        assert config is not None, "one of the two is there"
        reports = asyncio.run(_directly(args.files, config, troubles))
    total = {key: sum(report[key] for _, report in reports) for key in ("lines", "stored", "known", "bad")}
    if wants_json(args):
        out_json({**total, "files": [{"file": name, **report} for name, report in reports]})
    for name, report in reports:
        _show_errors(name, report)
    for trouble in troubles:
        say(trouble)
    if not wants_json(args):
        words = f"{count(total['stored'], 'killmail')} stored, {total['known']:,} known before"
        out(f"{words}, {count(total['bad'], 'bad line')}.")
    return EXIT_FAILED if total["bad"] or troubles else EXIT_OK


def _show_errors(name: str, report: dict[str, Any]) -> None:
    for each in report["errors"][:SHOWN_ERRORS]:
        say(f"{name}:{each['line']}: {each['reason']}")
    more = report["bad"] - min(len(report["errors"]), SHOWN_ERRORS)
    if more > 0:
        say(f"{name}: and {count(more, 'bad line')} more; --json has the first thousand")


class _Upload:
    """A file in chunks, with a bar that follows what the daemon has taken."""

    def __init__(self, name: str, troubles: list[str]) -> None:
        self._name = name
        self._troubles = troubles

    def __iter__(self) -> Iterator[bytes]:
        with _Reading(self._name, self._troubles) as reading:
            yield from iter(reading.chunk, b"")


class _Reading:
    """A file, or stdin, read in chunks while its progress is shown.

    troubles: told where it cannot be read to its end; what came before that is imported, and so are the
    files after it.
    """

    def __init__(self, name: str, troubles: list[str]) -> None:
        self._name = name
        self._troubles = troubles
        self._raw = sys.stdin.buffer if name == "-" else _open(name)
        self._zipped = name.endswith(".gz")
        self._file: Any = gzip.GzipFile(fileobj=self._raw) if self._zipped else self._raw
        total = 0 if name == "-" else Path(name).stat().st_size
        self._progress = Progress(f"importing {name}", total)
        self._read = 0

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.end()
        if self._name != "-":
            self._raw.close()

    def chunk(self, note: str = "") -> bytes:
        """The next chunk; empty at the end, and where it cannot be read any further."""
        try:
            # read1: what came before the place where a file is cut off is not thrown away with it.
            data: bytes = self._file.read1(CHUNK) if self._zipped else self._file.read(CHUNK)
            done = self._raw.tell() if self._name != "-" else self._read + len(data)
        except (OSError, EOFError, zlib.error) as error:
            self._troubles.append(f"{self._name} cannot be read to its end: {error}")
            return b""
        self._read += len(data)
        self._progress.show(done, note)
        return data


def _open(name: str) -> IO[bytes]:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise KillsyncdError(f"{name} cannot be read: {error.strerror}", "nothing was imported") from None


async def _directly(
    names: list[str], config: Config, troubles: list[str]
) -> list[tuple[str, dict[str, Any]]]:
    from killsyncd.cli.direct import exchange_of, opened
    from killsyncd.service import jsonable
    from killsyncd.service.import_export import ImportReport

    reports = []
    async with opened(config, create=True) as store:
        exchange = exchange_of(store)
        for name in names:
            report = ImportReport()
            with _Reading(name, troubles) as reading:
                try:
                    await exchange.import_lines(_chunks(reading.chunk, report), report=report)
                except Unavailable as error:
                    raise KillsyncdError(
                        f"{name}: after line {report.lines}: {error.message}", _AGAIN
                    ) from None
            reports.append((name, jsonable(report)))
    return reports


async def _chunks(read: Callable[[str], bytes], report: Any) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(read, f"{report.stored:,} stored, {report.known:,} known"):
        yield data


def entity_id(text: str) -> int:
    """An id of EVE's on the command line."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise ArgumentTypeError(f"{text!r} is no id: it is a number, such as 98000001")
    return int(text)


def _of_archives(args: Namespace) -> bool:
    """Whether archives or refs are meant. Raises UsageError for what does not go together."""
    given = [name for name in ("refs", "everef", "zkillboard_history") if getattr(args, name)]
    if len(given) + bool(args.files) != 1:
        raise UsageError(
            "one of FILE ..., --refs, --everef and --zkillboard-history", "killsyncd import --help"
        )
    chosen = bool(args.all or args.character or args.corporation or args.alliance)
    if (chosen or args.verify) and not (args.everef or args.zkillboard_history):
        raise UsageError("--all, --character, --corporation, --alliance and --verify choose from archives")
    if args.zkillboard_history and (
        args.verify or not args.all or args.character or args.corporation or args.alliance
    ):
        raise UsageError(
            "zKillboard's days are ids and hashes: who was on a killmail is not known before ESI tells it",
            "give --all alone (20,000 killmails a day, of which ESI gives 7,200 an hour), or use --everef",
        )
    return bool(given)


def _from_archives(args: Namespace, call: Invocation) -> int:
    """Import refs, or days of an archive; exit 1 where something was refused or not read to its end."""
    from killsyncd.cli import history
    from killsyncd.cli.direct import daemon_or_config

    days = history.days_of(args.everef or args.zkillboard_history) if not args.refs else []
    daemon, config = daemon_or_config(call, socket_of(args))
    config = config or call.config()
    with asyncio.Runner() as runner, history.Target(runner, daemon, config) as target:
        if args.refs:
            return _show_refs(args, target)
        if args.zkillboard_history:
            summary = history.ZkillboardDays(runner, target, config).run(days)
        else:
            wanted = history.wanted_by(args, target.state(history.EVEREF, ""))
            summary = history.Everef(runner, target, config, verify=args.verify).run(days, wanted)
    return _show_days(args, summary)


def _show_refs(args: Namespace, target: Any) -> int:
    troubles: list[str] = []
    report = target.refs(_Upload(args.refs, troubles))
    if wants_json(args):
        out_json(report)
    _show_errors(args.refs, report)
    for trouble in troubles:
        say(trouble)
    if not wants_json(args):
        words = f"{count(report['wanted'], 'killmail')} wanted from ESI, {report['known']:,} known before"
        out(f"{words}, {count(report['bad'], 'bad line')}.")
    return EXIT_FAILED if report["bad"] or troubles else EXIT_OK


def _show_days(args: Namespace, summary: Any) -> int:
    from killsyncd.cli.history import SHOWN_REFUSALS, words_of

    if wants_json(args):
        out_json(summary.document())
    else:
        for day in summary.days:
            out(words_of(day))
            for reason in day.refusals[:SHOWN_ERRORS]:
                say(f"  {reason}")
            if len(day.refusals) > SHOWN_ERRORS:
                say(f"  and more; --json has the first {SHOWN_REFUSALS}")
        read, kept = summary.total("mails"), summary.total("kept")
        stored, wanted = count(summary.total("stored"), "killmail"), summary.total("wanted")
        out(f"{read:,} read, {kept:,} kept, {stored} stored, {wanted:,} wanted from ESI.")
    failed = any(day.state == "failed" for day in summary.days)
    return EXIT_FAILED if failed or summary.total("refused") or summary.total("mismatched") else EXIT_OK
