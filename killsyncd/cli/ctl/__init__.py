"""`killsyncd ctl`: talks to the running daemon. One module a verb; it is imported when it is chosen.

Knows control's client, cli and core: it must start fast, and needs no access to the database.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, add_json, add_socket
from killsyncd.cli.parsing import LazyParser

VERBS = {
    "status": "say whether killmails are being synced, and if not, why",
    "queue": "ask for a sync of users' or corporations' lists",
    "users": "show who is logged in, and in which state each is",
    "sources": "show the lists that killmails come from, and in which state each is",
    "watch": "print killmails as they are stored",
    "pause": "pause everything, only the producer, or single users or corporations",
    "resume": "go on with what was paused",
    "failed": "show the killmails that could not be fetched (quarantined), with the reason",
    "retry": "try quarantined killmails again",
    "verify": "show from when to when each list is complete",
    "explain": "show where a killmail came from, or why it is not stored",
    "group": "show or set which pilots belong to one player, for the ranking",
    "webhooks": "show where killmails are sent, and why each was sent or not; test, replay, pause",
    "logout": "log a user out: revoke the login at EVE and delete the tokens",
    "login-url": "print an address to log in at",
}


def add_arguments(parser: ArgumentParser) -> None:
    """The verbs."""
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
Without --socket the configured socket is tried, then $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/killsyncd and
/run/killsyncd. Everybody who may open the socket (mode 0660: its owner and its group) may use every verb.

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
