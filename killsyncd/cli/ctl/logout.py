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
        help="also delete what only this character brought in; there is no way back but a new login",
    )
    parser.epilog = """\
The tokens are forgotten at once. Where the SSO does not confirm, the revocation is tried again by itself.
Mails that another character's list (or an import) has as well stay, with --erase too.

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
