"""`killsyncd ctl failed`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import ago, count


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
A mail is quarantined after several refusals; everything else goes on without it.

examples:
  killsyncd ctl failed
  killsyncd ctl failed --json | jq '.failed[].killmailId'
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print quarantined mails."""
    answer = call.daemon(socket_of(args)).get("/v1/failed")
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    for each in answer["failed"]:
        through = f" (through {', '.join(each['characters'])})" if each["characters"] else ""
        tries = count(each["attempts"], "attempt")
        out(f"{each['killmailId']}  {each['reason']}; {tries}, listed {ago(each['listedAt'])}{through}")
    if answer["failed"]:
        say("To try them again: killsyncd ctl retry")
    else:
        out("No mail is quarantined.")
    return EXIT_OK
