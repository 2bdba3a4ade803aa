"""`killsyncd ctl explain`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, UsageError
from killsyncd.core.text import count, day_time


def add_arguments(parser: ArgumentParser) -> None:
    """A killmail's id."""
    parser.add_argument("id", metavar="KILLMAIL_ID", help="the killmail's id")
    parser.epilog = """\
Exit code 1 for a mail that is not known.

examples:
  killsyncd ctl explain 128000001
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print a mail's way through the daemon."""
    if not (args.id.isascii() and args.id.isdigit()):
        raise UsageError(f"{args.id!r} is no killmail id", "it is a number, such as 128000001")
    answer = call.daemon(socket_of(args)).get(f"/v1/explain/{args.id}")
    if wants_json(args):
        out_json(answer)
    else:
        for line in lines(answer):
            out(line)
    return EXIT_FAILED if answer["state"] == "unknown" else EXIT_OK


HOW = {
    "ESI_AVERAGE": "by ESI's average prices",
    "MARKET_HISTORY": "by the market's history",
    "OVERRIDE": "by your own prices",
    "LATER": "by the first prices known after the kill",
}


def _value_lines(answer: dict[str, Any]) -> list[str]:
    """What it was worth and how that is known."""
    value = answer["value"]
    if value is None:
        why = "not valued yet: no prices of its day or a later one are known"
        return [f"  value    {why}"] if answer["state"] == "stored" else []

    def told(total: float, method: str, day: str) -> str:
        return f"{total:,.2f} ISK {HOW.get(method, method)} ({day})"

    found = [f"  value    {told(value['total'], value['method'], value['pricedOn'])}"]
    if value["unpriced"]:
        types = ", ".join(str(each) for each in value["unpriced"][:10])
        found.append(
            f"  without  a price, and counted as nothing: {count(len(value['unpriced']), 'type')} ({types})"
        )
    if value["unknown"]:
        found.append(f"  unknown  to the static data: {count(value['unknown'], 'type')}")
    if value["changes"]:
        before = told(value["earlierTotal"], value["earlierMethod"], value["earlierPricedOn"])
        changed = f"{day_time(value['valuedAt'])}, the last of {count(value['changes'], 'change')}"
        found.append(f"  before   {before}; changed {changed}")
    return found


def lines(answer: dict[str, Any]) -> list[str]:
    """The mail's way, one step a line."""
    found = [f"{answer['killmailId']}: {answer['verdict']}"]
    if answer["killmailTime"]:
        found.append(f"  killed   {day_time(answer['killmailTime'])}")
    for each in answer["seen"]:
        found.append(f"  listed   {day_time(each['listedAt'])} through {_through(each)}")
    if answer["fetchedAt"]:
        found.append(f"  fetched  {day_time(answer['fetchedAt'])}")
    if answer["storedAt"]:
        fresh = " (fresh: at most an hour old when first listed)" if answer["fresh"] else ""
        found.append(f"  stored   {day_time(answer['storedAt'])}{fresh}")
    found += _value_lines(answer)
    if answer["reason"]:
        found.append(f"  reason   {answer['reason']}")
    if answer["nextTryAt"]:
        found.append(f"  again    {day_time(answer['nextTryAt'])}")
    return found


def _through(seen: dict[str, Any]) -> str:
    """The source that listed it, in words."""
    who = str(seen["characterName"] or seen.get("subjectName") or seen.get("subjectId") or "nobody known")
    match seen["source"]:
        case "import":
            return "an import"
        case "corporation":
            return f"the corporation {who}"
        case "zkillboard":
            return f"zKillboard, which says that {who} was on it"
        case _:
            return who
