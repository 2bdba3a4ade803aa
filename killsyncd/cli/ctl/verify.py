"""`killsyncd ctl verify`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.cli.files import Progress
from killsyncd.control.client import ControlClient
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, DaemonUnreachable
from killsyncd.core.text import count, day_time


def add_arguments(parser: ArgumentParser) -> None:
    """`--user`."""
    parser.add_argument("--user", metavar="NAME-or-ID", help="only this character")
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="count the statistics again from the stored JSON, and compare",
    )
    parser.epilog = """\
Complete means: every killmail of that span that ESI listed for the character is stored, except for those
counted as pending or quarantined. ESI lists a character's losses and final blows of the last 90 days, not the
kills that the character only helped with; a corporation's list holds those of its members. docs/ctl.md says
exactly what is claimed, and why.

examples:
  killsyncd ctl verify
  killsyncd ctl verify --user "John Doe" --json
  killsyncd ctl verify --statistics
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print what can be claimed for each character and each corporation."""
    if args.statistics:
        return _statistics(args, call)
    answer = call.daemon(socket_of(args)).get("/v1/verify", {"user": args.user})
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    for each in answer["characters"]:
        out(line(each))
        if each["zkillboard"]:
            out(f"  {zkillboard_line(each['zkillboard'])}")
    for each in answer["corporations"]:
        out(line(each))
        if each["stateReason"]:
            out(f"  {each['state']}: {each['stateReason']} -> {each['remedy']}")
        if each["zkillboard"]:
            out(f"  {zkillboard_line(each['zkillboard'])}")
    if not answer["characters"]:
        out("Nobody has logged in yet.")
        say("  killsyncd login")
    return EXIT_OK


def _statistics(args: Namespace, call: Invocation) -> int:
    answer = _recounted(call.daemon(socket_of(args)), args.user)
    if wants_json(args):
        out_json(answer)
    else:
        for each in answer["pilots"]:
            sums = f"{count(each['kills'], 'kill')}, {count(each['losses'], 'loss', 'losses')}"
            verdict = "as the killmails say" if each["agrees"] else f"DIFFERENT: {each['why']}"
            out(f"{each['characterName']} ({each['characterId']}): {sums}: {verdict}")
    return EXIT_OK if all(each["agrees"] for each in answer["pilots"]) else EXIT_FAILED


def _recounted(daemon: ControlClient, user: str | None) -> dict[str, Any]:
    """The last line that the daemon sends; those before say how far it is, in killmails."""
    bar: Progress | None = None
    for told in daemon.lines("/v1/verify/statistics", {"user": user}):
        if "pilots" in told:
            if bar is not None:
                bar.end()
            found: dict[str, Any] = told
            return found
        bar = bar or Progress("recounting", told["of"])
        bar.show(told["read"], count(told["read"], "killmail"))
    raise DaemonUnreachable(
        f"the daemon at {daemon.path} ended before it had counted everything",
        "it may be stopping; its log says more",
    )


def line(each: dict[str, Any]) -> str:
    """One character, or one corporation."""
    kind = "character" if "characterId" in each else "corporation"
    who = f"{each[f'{kind}Name'] or kind} ({each[f'{kind}Id']})"
    if each["completeFrom"]:
        claim = f"complete by ESI from {day_time(each['completeFrom'])} to {day_time(each['completeTo'])}"
    else:
        claim = f"nothing can be claimed yet: {each['why']}"
    parts = [
        f"{each['listed']:,} listed",
        f"{each['pending']:,} pending",
        f"{each['quarantined']:,} quarantined",
    ]
    if each["missing"]:
        parts.append(f"{each['missing']:,} MISSING (report this)")
    if each["unreadable"]:
        parts.append(f"{each['unreadable']:,} unreadable (killsyncd ctl failed)")
    if each["walksCut"]:
        parts.append(f"{count(each['walksCut'], 'walk')} cut short by [producer] max_pages")
    if each["walksTorn"]:
        parts.append(f"{count(each['walksTorn'], 'walk')} torn")
    if each["keptSince"]:
        parts.append(f"oldest mail {each['keptSince'][:10]}")
    return f"{who}: {claim}; {', '.join(parts)}"


def zkillboard_line(told: dict[str, Any]) -> str:
    """What zKillboard told of a character."""
    begun = told["knownFrom"][:10] if told["knownFrom"] else "nothing yet"
    if told["knownTo"]:
        claim = f"known through zKillboard from {begun} to {day_time(told['knownTo'])}"
    else:
        claim = "zKillboard's list was not read to its end yet"
    parts = [f"{told['listed']:,} mails", f"{told['neverListed']:,} that ESI never listed"]
    if told["pending"] or told["quarantined"]:
        parts.append(f"{told['pending']:,} pending, {told['quarantined']:,} quarantined")
    if told["badEntries"]:
        parts.append(f"{count(told['badEntries'], 'entry', 'entries')} unreadable")
    return f"{claim}; {', '.join(parts)}"
