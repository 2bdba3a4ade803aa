"""`killsyncd ctl group`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK, UsageError


def add_arguments(parser: ArgumentParser) -> None:
    """A name and its pilots."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="name of the group; without it all groups are shown"
    )
    parser.add_argument(
        "pilots",
        nargs="*",
        metavar="PILOT",
        help="users who belong to this group from now on, and to no other",
    )
    parser.add_argument(
        "--end", action="store_true", help="dissolve the group: each of its pilots stands alone again"
    )
    parser.epilog = """\
examples:
  killsyncd ctl group
  killsyncd ctl group "Aldo and alts" "Aldo Abrakov" "Aldo Alt" 90000003
  killsyncd ctl group "Aldo and alts" --end
"""


def run(args: Namespace, call: Invocation) -> int:
    """Make, end or show groups."""
    daemon = call.daemon(socket_of(args))
    if args.name is None:
        answer = daemon.get("/v1/groups")
    elif bool(args.pilots) is args.end:
        raise UsageError(
            "a group is made of pilots, or ended",
            "killsyncd ctl group NAME PILOT ..., or killsyncd ctl group NAME --end",
        )
    else:
        answer = daemon.post("/v1/groups", {"name": args.name, "users": args.pilots})
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    for each in answer["groups"]:
        out(f"{each['name']}: {', '.join(each['pilots'])}")
    if not answer["groups"]:
        out("There are no groups: each pilot stands alone in the ranking.")
    return EXIT_OK
