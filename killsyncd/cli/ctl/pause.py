"""`killsyncd ctl pause`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK


def add_arguments(parser: ArgumentParser) -> None:
    """`--producer`, `--user`, `--corporation`."""
    add_switches(parser)
    parser.epilog = """\
A pause outlasts a restart. What is under way is finished; nothing that was queued is lost.

examples:
  killsyncd ctl pause                      producer, consumer and fetcher
  killsyncd ctl pause --producer           no new background syncs; what is queued is still done
  killsyncd ctl pause --user "John Doe"
"""


def add_switches(parser: ArgumentParser) -> None:
    """What can be paused and resumed."""
    parser.add_argument(
        "--producer", action="store_true", help="only the producer, the task that asks for background syncs"
    )
    parser.add_argument(
        "--user", action="extend", nargs="+", default=[], metavar="NAME-or-ID", help="only these users"
    )
    parser.add_argument(
        "--corporation",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME-or-ID",
        help="only these corporations' lists",
    )


def run(args: Namespace, call: Invocation) -> int:
    """Pause."""
    return switch(args, call, "/v1/pause")


def switch(args: Namespace, call: Invocation, route: str) -> int:
    """Turn the switches and say what changed."""
    body = {
        "producer": args.producer,
        "users": args.user or None,
        "corporations": args.corporation or None,
    }
    answer = call.daemon(socket_of(args)).post(route, body)
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    for each in answer["switched"]:
        out(line(each))
    return EXIT_OK


def line(each: dict[str, Any]) -> str:
    """One switch."""
    what = {"daemon": "The daemon", "producer": "The producer"}.get(each["what"], each["what"])
    state = "paused" if each["paused"] else "running"
    return f"{what} is {state}{' now' if each['changed'] else ' already'}."
