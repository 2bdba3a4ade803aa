"""`killsyncd ctl users`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import ago, table

HEAD = ("CHARACTER", "ID", "STATE", "LAST SYNC", "LAST KILLMAIL", "PENDING", "TOKEN ENDS")


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
states: ok, needs_login, owner_changed, scope_missing, left (logged out), paused. If a state is not ok, the
line below it says what to do. An access token that has expired is renewed when it is needed.

examples:
  killsyncd ctl users
  killsyncd ctl users --json | jq '.users[] | select(.state != "ok")'
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print a table of everybody."""
    answer = call.daemon(socket_of(args)).get("/v1/users")
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    users = answer["users"]
    if not users:
        out("Nobody has logged in yet.")
        say("  killsyncd login")
        return EXIT_OK
    rows = [
        (
            each["characterName"],
            str(each["characterId"]),
            each["state"],
            ago(each["lastKillmailSyncAt"]),
            str(each["lastKillmailId"] or "-"),
            str(each["pending"]),
            ago(each["expiresAt"], "-"),
        )
        for each in users
    ]
    head, *body = table(HEAD, rows)
    out(head)
    for user, row in zip(users, body, strict=True):
        out(row)
        if user["state"] != "ok":
            reason = f"{user['stateReason']}: " if user["stateReason"] else ""
            out(f"    {reason}{user['remedy']}")
    return EXIT_OK
