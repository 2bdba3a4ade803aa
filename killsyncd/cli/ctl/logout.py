"""`killsyncd ctl logout`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import count


def add_arguments(parser: ArgumentParser) -> None:
    """Who, and `--erase`."""
    parser.add_argument("user", metavar="USER", help="name or character id")
    parser.add_argument(
        "--erase",
        action="store_true",
        help="also delete killmails that only this character brought in; only a new login brings them back",
    )
    parser.epilog = """\
The tokens are deleted at once. If EVE's login server does not confirm the revocation, it is tried again
automatically. Killmails that are also on another list, or came from an import, stay, even with --erase.

examples:
  killsyncd ctl logout "John Doe"
  killsyncd ctl logout 95465499 --erase
"""


def run(args: Namespace, call: Invocation) -> int:
    """Log out."""
    answer = call.daemon(socket_of(args)).post("/v1/logout", {"user": args.user, "erase": args.erase})
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    out(f"{answer['characterName']} is logged out: {answer['message']}.")
    if answer["erased"]:
        gone = count(answer["erasedKillmails"], "killmail")
        out(f"Erased {gone} and {count(answer['erasedPending'], 'pending one')} that only they brought in.")
    return EXIT_OK
