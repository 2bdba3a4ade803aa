"""`killsyncd ctl retry`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, UsageError
from killsyncd.core.text import count


def add_arguments(parser: ArgumentParser) -> None:
    """Killmail ids."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="killmail ids; without any, all that are quarantined"
    )
    parser.add_argument(
        "--names",
        action="store_true",
        help="ask again only for names that ESI did not know, not for killmails",
    )
    parser.epilog = """\
examples:
  killsyncd ctl retry
  killsyncd ctl retry 128000001 128000002
  killsyncd ctl retry --names
"""


def run(args: Namespace, call: Invocation) -> int:
    """Put mails back; exit 1 when one that was named is not known as failed."""
    for each in args.ids:
        if not (each.isascii() and each.isdigit()):
            raise UsageError(f"{each!r} is no killmail id", "it is a number, such as 128000001")
    answer = call.daemon(socket_of(args)).post("/v1/retry", {"ids": args.ids or None, "names": args.names})
    if wants_json(args):
        out_json(answer)
    elif args.names and not args.ids:
        out(f"{count(answer['names'], 'name')} will be asked for again.")
    else:
        out(f"{count(len(answer['retried']), 'mail')} will be tried again.")
    for each in answer["unknown"]:
        say(f"{each} is neither quarantined nor pending: killsyncd ctl explain {each}")
    return EXIT_FAILED if answer["unknown"] else EXIT_OK
