"""`killsyncd check`: one line for each thing that must be in order. It creates and changes nothing."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from killsyncd.cli import checking
from killsyncd.cli.check_documents import documents
from killsyncd.cli.command import Invocation, add_json, out, out_json, say, wants_json
from killsyncd.core.errors import EXIT_CONFIG, EXIT_OK, KillsyncdError


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    add_json(parser)
    parser.epilog = """\
Looks at configuration, database, queue, key, modes, clock and space, also beside a running daemon.
Exit code 0 when nothing failed (warnings are no failure), 78 otherwise.

examples:
  killsyncd check
  killsyncd check --json | jq '.checks[] | select(.status != "ok")'
"""


def run(args: Namespace, call: Invocation) -> int:
    """Look at everything; 78 when something failed."""
    checks = list(_checks(call))
    ok = all(each.status != "fail" for each in checks)
    if wants_json(args):
        fields = ("name", "status", "message", "remedy")
        out_json({"ok": ok, "checks": [{name: getattr(each, name) for name in fields} for each in checks]})
    else:
        for each in checks:
            out(each.line())
        if not ok:
            say("killsyncd run would not work like this; what failed says what to do.")
    return EXIT_OK if ok else EXIT_CONFIG


def _checks(call: Invocation) -> Iterator[checking.Finding]:
    try:
        config = call.config()
    except KillsyncdError as error:
        yield checking.failed("configuration", error)
        return
    yield checking.Finding("configuration", "ok", f"{config.source}")
    each: Callable[[], checking.Finding | None]
    for each in (
        lambda: asyncio.run(checking.database(config)),
        lambda: asyncio.run(documents(config)),
        lambda: asyncio.run(checking.queue(config)),
        lambda: asyncio.run(checking.key(config)),
        lambda: checking.modes(config),
        lambda: checking.control(config),
        lambda: checking.clock(config),
        lambda: checking.space(config),
    ):
        if (found := each()) is not None:
            yield found
