"""`killsyncd ctl`: talks to the running daemon. One module a verb; it is imported when it is chosen."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, add_json, add_socket
from killsyncd.cli.parsing import LazyParser

VERBS = {
    "status": "is it syncing, and if not, why",
    "queue": "queue users, or corporations, for a sync",
    "users": "who is logged in, and how they do",
    "sources": "the lists that killmails come from, and how they do",
    "watch": "the live feed in the terminal",
    "pause": "stop everything, the producer alone, users or corporations",
    "resume": "undo pause",
    "failed": "quarantined mails, with the reason",
    "retry": "try quarantined mails again",
    "verify": "from when to when each list is complete",
    "explain": "where a mail came from, or why it is not here",
    "group": "pilots that are one player's, for the ranking",
    "webhooks": "where killmails go, and why each went out or not",
    "logout": "take a grant back and forget the tokens",
    "login-url": "an address to log in at",
}


def add_arguments(parser: ArgumentParser) -> None:
    """The verbs."""
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
Without --socket the configuration's socket is tried, then $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/killsyncd
and /run/killsyncd. Whoever may open the socket (mode 0660: its owner and its group) may do all of this.

examples:
  killsyncd ctl status
  killsyncd ctl queue --force --user "John Doe"
  killsyncd ctl verify --json
"""
    verbs = parser.add_subparsers(
        title="verbs", metavar="VERB", dest="verb", required=True, parser_class=LazyParser
    )
    for name, summary in VERBS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        module = f"ctl.{name.replace('-', '_')}"
        verbs.add_parser(name, help=summary, description=description, module=module)


def run(args: Namespace, call: Invocation) -> int:
    """Never reached: the verb's own `run` takes its place."""
    raise AssertionError("argparse requires a verb")
