"""`killsyncd ctl watch`: each killmail as it is stored."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, json_line, out, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_UNAVAILABLE
from killsyncd.core.text import fight, parse_time


def add_arguments(parser: ArgumentParser) -> None:
    """`--after`, `--fresh-only`."""
    parser.add_argument(
        "--after",
        metavar="CURSOR",
        help="begin with what was stored after this feedCursor; `start` begins with the first killmail",
    )
    parser.add_argument(
        "--fresh-only",
        action="store_true",
        help="only killmails that were at most an hour old when first listed",
    )
    parser.epilog = """\
Ctrl-C ends it. With --json each line is a JSON object. Pass its feedCursor to --after in the next call, and
nothing is missed in between.

examples:
  killsyncd ctl watch
  killsyncd ctl watch --json --after "$CURSOR" | while read -r mail; do ...; done
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print mails until Ctrl-C, or until the daemon ends."""
    daemon = call.daemon(socket_of(args))
    parameters = {"after": args.after, "freshOnly": "true" if args.fresh_only else None}
    if not wants_json(args):
        say("Watching for killmails; Ctrl-C ends.")
    cursor = args.after
    for mail in daemon.lines("/v1/watch", parameters):
        cursor = mail["feedCursor"]
        if wants_json(args):
            sys.stdout.write(json_line(mail))
        else:
            out(line(mail))
        sys.stdout.flush()
    say("The daemon has stopped." + (f" Go on later with: --after {cursor}" if cursor else ""))
    return EXIT_UNAVAILABLE


def line(mail: dict[str, Any]) -> str:
    """One mail: when, what, whose, where, by whom."""
    when = parse_time(mail["killmailTime"])
    what = fight(
        ship=mail["ship"] or f"type {mail['shipTypeId']}",
        victim=mail["victim"] or mail["corporation"] or mail["victimId"] or mail["corporationId"],
        system=mail["solarSystem"] or f"system {mail['solarSystemId']}",
        final_blow=mail["finalBlow"] or mail["finalBlowId"],
        attackers=mail["attackerCount"],
    )
    return f"{when:%Y-%m-%d %H:%M}  {mail['killmailId']}  {what}{'' if mail['fresh'] else '  (history)'}"
