"""`killsyncd ctl sources`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK
from killsyncd.core.text import ago, day_time, table

KINDS = ("character", "corporation", "zkillboard", "import")
HEAD = ("KIND", "SUBJECT", "ID", "STATE", "VIA", "LAST SYNC", "LAST KILLMAIL", "PENDING", "COMPLETE")


def add_arguments(parser: ArgumentParser) -> None:
    """`--kind`."""
    parser.add_argument("--kind", choices=KINDS, help="only sources of this kind")
    parser.epilog = """\
A pilot's list holds the pilot's losses and final blows. A corporation's list holds those of all its
members; it is read with a Director's login. zKillboard's holds the killmails that it knows a pilot or
corporation on.

states: ok, role_missing, scope_missing, no_token, paused, unavailable. If a state is not ok, the line below
it says why and what to do. VIA is the pilot whose login the list is read with. COMPLETE is the span in
which everything that ESI listed is stored, except for what is pending.

examples:
  killsyncd ctl sources --kind corporation
  killsyncd ctl sources --json | jq '.sources[] | select(.state != "ok")'
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print a table of every source."""
    route = "/v1/sources" if args.kind is None else f"/v1/sources?kind={args.kind}"
    answer = call.daemon(socket_of(args)).get(route)
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    sources = answer["sources"]
    if not sources:
        out("There is no source of this kind." if args.kind else "There is no source yet.")
        say("  killsyncd login")
        return EXIT_OK
    head, *body = table(HEAD, [row(each) for each in sources])
    out(head)
    for source, line in zip(sources, body, strict=True):
        out(line)
        if source["state"] != "ok":
            out(f"    {' -> '.join(each for each in (source['stateReason'], source['remedy']) if each)}")
    return EXIT_OK


def row(source: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    via = [each["characterName"] for each in source["via"]]
    more = f" and {len(via) - 1} more" if len(via) > 1 else ""
    files = source["kind"] == "import"
    return (
        source["kind"],
        "imported files" if files else source["subject"]["name"] or "?",
        "-" if files else str(source["subject"]["id"]),
        source["state"],
        via[0] + more if via else "-",
        ago(source["lastSyncAt"], "-" if files else "never"),
        str(source["lastKillmailId"] or "-"),
        str(source["pending"]),
        f"{day_time(source['completeFrom'])} .. {day_time(source['completeTo'])}"
        if source["completeFrom"]
        else "-",
    )
