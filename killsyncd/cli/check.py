"""`killsyncd check`: one line for each thing that must be in order. It creates and changes nothing."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence

from killsyncd.cli import check_start, checking
from killsyncd.cli.check_addresses import addresses
from killsyncd.cli.check_documents import documents
from killsyncd.cli.check_prices import overrides
from killsyncd.cli.command import Invocation, add_json, out, out_json, say, wants_json
from killsyncd.config.ownership import explained
from killsyncd.core.errors import EXIT_CONFIG, EXIT_OK, KillsyncdError


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    add_json(parser)
    parser.epilog = """\
Checks everything that the daemon needs to start: configuration, database, queue, key, file modes, port,
callback, clock and disk space. It may be run while a daemon is running. Exit code 0 when nothing failed
(warnings do not count as failures), 78 otherwise.

examples:
  killsyncd check
  killsyncd check --json | jq '.checks[] | select(.status != "ok")'
"""


def run(args: Namespace, call: Invocation) -> int:
    """Look at everything; 78 when something failed."""
    checks = list(_checks(call))
    ok = all(each.status != "fail" for each in checks)
    if wants_json(args):
        out_json({"ok": ok, "checks": [each.document() for each in checks]})
    else:
        for each in checks:
            out(each.line())
        if not ok:
            say("The daemon would not start or work like this; what failed says what to do.")
    return EXIT_OK if ok else EXIT_CONFIG


def _checks(call: Invocation) -> Iterator[checking.Finding]:
    try:
        config = call.config()
    except KillsyncdError as error:
        yield checking.failed("configuration", error)
        return
    yield checking.Finding("configuration", "ok", f"{config.source}")
    answers = checking.control(config)
    runs = answers.message.startswith("runs")
    looks: Sequence[tuple[str, Callable[[], checking.Finding | None]]] = (
        ("user", lambda: check_start.user(config)),
        ("database", lambda: asyncio.run(checking.database(config))),
        ("documents", lambda: asyncio.run(documents(config))),
        ("queue", lambda: asyncio.run(checking.queue(config))),
        ("key", lambda: asyncio.run(checking.key(config))),
        ("modes", lambda: checking.modes(config)),
        ("places", lambda: check_start.places(config)),
        ("daemon", lambda: check_start.in_use(config, runs=runs) or checking.control(config)),
        ("listen", lambda: check_start.listening(config, runs=runs, asked=answers.status == "ok")),
        ("callback", lambda: check_start.callback(config)),
        ("addresses", lambda: addresses(config)),
        ("prices", lambda: overrides(config)),
        ("clock", lambda: checking.clock(config)),
        ("space", lambda: checking.space(config)),
    )
    for name, look in looks:
        try:
            found = look()
        except OSError as error:
            found = checking.failed(name, explained(error))
        if found is not None:
            yield found
