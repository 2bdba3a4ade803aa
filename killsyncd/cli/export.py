"""`killsyncd export`."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import BinaryIO

from killsyncd.cli.command import Invocation, add_json, add_socket, out_json, say, socket_of, wants_json
from killsyncd.cli.files import written
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_OK, BadInput, UsageError
from killsyncd.core.text import count


def add_arguments(parser: ArgumentParser) -> None:
    """`--format`, `--since`, `--character`, `--output`."""
    new = parser.add_argument
    new(
        "--format",
        choices=("jsonl", "csv"),
        default="jsonl",
        help="format of the export (default %(default)s)",
    )
    new("--since", metavar="DATE", help="only killmails from this day or time on, in UTC: 2026-01-31")
    new("--character", metavar="ID", help="only killmails with this character as victim or attacker")
    new("--output", type=Path, metavar="FILE", help="write to this file; by default to stdout")
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
jsonl writes one killmail a line, as ESI sent it, plus killmail_hash; `killsyncd import` can read it again.
csv writes one flat line a killmail, with victim and final blow. If a daemon is running, the export goes
through it. Keep an export private: with id and hash anybody can read the killmail at ESI.

examples:
  killsyncd export --output killmails.jsonl
  killsyncd export --format csv --since 2026-01-01 --character 95465499 > losses.csv
"""


def run(args: Namespace, call: Invocation) -> int:
    """Write the export; with --json and --output a summary on stdout."""
    from killsyncd.cli.direct import daemon_or_config

    if args.character is not None and not (args.character.isascii() and args.character.isdigit()):
        raise UsageError(f"{args.character!r} is no character id", "killsyncd ctl users shows ids")
    if args.since is not None:
        _date(args.since)
    if wants_json(args) and args.output is None and args.format == "csv":
        raise UsageError(
            "--json and --format csv want different things on stdout", "name a file with --output"
        )
    daemon, config = daemon_or_config(call, socket_of(args))
    with written(args.output) as file:
        if daemon is not None:
            counted = Counted(file)
            given = {"format": args.format, "since": args.since, "character": args.character}
            for chunk in daemon.chunks("/v1/export", given):
                counted.write(chunk)
        else:
            assert config is not None, "one of the two is there"
            counted = asyncio.run(_directly(args, config, file))
    mails = counted.lines - (args.format == "csv")
    if args.output is not None:
        if wants_json(args):
            out_json({"file": str(args.output), "format": args.format, "killmails": mails})
        else:
            say(f"Exported {count(mails, 'killmail')} to {args.output}.")
    return EXIT_OK


def _date(text: str) -> None:
    """Look at --since before anything is opened. Empty is an unset variable, not "all"."""
    from killsyncd.service.import_export import parse_since

    try:
        parse_since(text)
    except BadInput as refusal:
        raise UsageError(f"--since {refusal.message}", refusal.hint) from None


class Counted:
    """A file that counts its lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.lines = 0

    def write(self, chunk: bytes) -> None:
        """Write a chunk."""
        self.lines += chunk.count(b"\n")
        self._file.write(chunk)


async def _directly(args: Namespace, config: Config, file: BinaryIO) -> Counted:
    from killsyncd.cli.direct import exchange_of, opened
    from killsyncd.service.import_export import parse_since

    counted = Counted(file)
    since = parse_since(args.since) if args.since is not None else None
    character = int(args.character) if args.character else None
    async with opened(config) as store:
        async for chunk in exchange_of(store).export(args.format, since=since, character_id=character):
            counted.write(chunk)
    return counted
