"""`killsyncd ctl failed`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import ago, count


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
A killmail is quarantined after it was refused several times. It is tried again once a day; all others go on
meanwhile. Entries of a list that cannot be read are set aside; the list's other entries are taken.

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
    for each in answer["unreadable"]:
        out(f"{each['entry']}  {each['reason']}; on the list of {each['character']}, {ago(each['listedAt'])}")
    if answer["unreadable"]:
        say("Entries without a usable id or hash are ESI's mistake: they are read anew with every full walk.")
    if answer["failed"]:
        say("To try them again: killsyncd ctl retry")
    elif not answer["unreadable"]:
        out("No mail is quarantined.")
    return EXIT_OK
