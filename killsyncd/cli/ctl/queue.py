"""`killsyncd ctl queue`: queue users by hand, at priority 5."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import clock_time, count


def add_arguments(parser: ArgumentParser) -> None:
    """`--force`, `--full`, `--quiet`, `--user`, `--corporation`."""
    parser.add_argument("--force", action="store_true", help="also those that were synced a moment ago")
    parser.add_argument(
        "--full", action="store_true", help="read every page of the list, also those known already"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    parser.add_argument(
        "--user",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME-or-ID",
        help="only these users, by name or character id; may be given several times",
    )
    parser.add_argument(
        "--corporation",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME-or-ID",
        help="only these corporations' lists; may be given several times",
    )
    parser.epilog = """\
Without --force, whoever was synced within queue.skip_within (15 minutes by default) is skipped, and the
output says from when on they can be queued. With --force nobody is skipped. ESI's cache counts in either
case: a list is only asked for when it can hold something new.

examples:
  killsyncd ctl queue
  killsyncd ctl queue --force --user "John Doe" 95465499
  killsyncd ctl queue --force --full
  killsyncd ctl queue --corporation "Example Corporation"
"""


def run(args: Namespace, call: Invocation) -> int:
    """Queue and say what became of each; nobody to queue is no failure."""
    body = {
        "force": args.force,
        "full": args.full,
        "users": args.user or None,
        "corporations": args.corporation or None,
    }
    answer = call.daemon(socket_of(args)).post("/v1/queue", body)
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    if args.quiet:
        return EXIT_OK
    done, lists = answer["queued"], answer.get("sources", [])
    for each in (*done, *lists):
        out(line(each))
    queued = sum(each["queued"] for each in (*done, *lists))
    if queued:
        told = [count(len(done), "user")] if done or not lists else []
        told += [count(len(lists), "corporation")] if lists else []
        out(f"Queued {queued:,} of {' and '.join(told)}.")
    else:
        out("Nobody to queue.")
        say(f"  {answer['remedy']}")
    return EXIT_OK


def _when(each: dict[str, Any]) -> str:
    """When who was skipped is taken: by a plain request, and by --force."""
    if not each.get("plainAt"):
        return ""
    forced = f"from {clock_time(each['listAt'])}" if each.get("listAt") else "now"
    return f"  plain takes it again from {clock_time(each['plainAt'])}, --force asks {forced}"


def line(each: dict[str, Any]) -> str:
    """One user, or one corporation's list, in the reference's words."""
    if "user" in each:
        who = f"{each['user']['characterName']} (ID: {each['user']['characterId']})"
    else:
        subject = each["source"]["subjectId"]
        who = f"{each['name']} (ID: {subject})" if each["name"] else f"corporation {subject}"
    if not each["queued"]:
        return f"  Skipped: {who} [SKIPPED: {each['reason'] or 'nothing to do'}]{_when(each)}"
    waits = f"  {each['reason']}" if each["reason"] else ""
    return f"  Queued: {who} [{each['mode'].replace('_', ' ')}]{waits}"
