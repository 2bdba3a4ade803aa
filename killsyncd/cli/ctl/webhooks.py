"""`killsyncd ctl webhooks`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any
from urllib.parse import quote

from killsyncd.cli.command import Invocation, out, out_json, say, socket_of, wants_json
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, UsageError
from killsyncd.core.text import ago, count, day_time, soon

VERBS = ("test", "replay", "pause", "resume")


def add_arguments(parser: ArgumentParser) -> None:
    """A verb and a name, a name, or nothing."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help=f"the webhook's name; before it, if wanted, one of {', '.join(VERBS)}",
    )
    parser.add_argument("--since", metavar="DATE", help="for replay: send killmails from this day on (UTC)")
    parser.add_argument("--explain", metavar="KILLMAIL_ID", help="say why this killmail was sent, or not")
    parser.epilog = """\
Without test, replay, pause or resume it shows the state of each webhook, and for its last ten killmails why
each was sent or not.

examples:
  killsyncd ctl webhooks
  killsyncd ctl webhooks corp-kills --explain 128000001
  killsyncd ctl webhooks test corp-kills                        one real killmail, marked as a test
  killsyncd ctl webhooks replay corp-kills --since 2026-11-01   send once more, fresh or not
  killsyncd ctl webhooks pause corp-kills
"""


def run(args: Namespace, call: Invocation) -> int:
    """Show, explain, or pull a lever."""
    verb = args.words[0] if args.words and args.words[0] in VERBS else ""
    names = args.words[1:] if verb else args.words
    if len(names) > 1 or (verb and not names):
        raise UsageError("name one webhook", f"killsyncd ctl webhooks {verb or '[VERB]'} NAME")
    if bool(args.since) != (verb == "replay"):
        raise UsageError("replay needs --since, and nothing else takes it", "--since 2026-11-01")
    name = names[0] if names else None
    if args.explain is not None:
        if verb or name is None:
            raise UsageError("--explain needs a webhook's name", "killsyncd ctl webhooks NAME --explain ID")
        return _explain(args, call, name)
    if verb:
        return _pull(args, call, verb, names[0])
    answer = call.daemon(socket_of(args)).get("/v1/webhooks", {"name": name} if name else {})
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    for each in answer["webhooks"]:
        for line in lines(each):
            out(line)
    if not answer["webhooks"]:
        out("No webhook is configured.")
        say("  docs/webhooks.md shows how to make one")
    return EXIT_OK


def _explain(args: Namespace, call: Invocation, name: str) -> int:
    if not (args.explain.isascii() and args.explain.isdigit()):
        raise UsageError(f"{args.explain!r} is no killmail id", "it is a number, such as 128000001")
    route = f"/v1/webhooks/{quote(name, safe='')}/explain/{args.explain}"
    answer = call.daemon(socket_of(args)).get(route)
    if wants_json(args):
        out_json(answer)
        return EXIT_OK
    out(f"{answer['killmailId']} at {answer['webhook']}: {_became(answer)}")
    for each in answer["conditions"]:
        mark = {True: "passes", False: "KEPT OUT", None: "waits"}[each["passed"]]
        out(f"  {mark:8}  {each['name']:13} {each['why']}")
    return EXIT_OK


def _pull(args: Namespace, call: Invocation, verb: str, name: str) -> int:
    body = {"since": args.since} if verb == "replay" else {}
    answer = call.daemon(socket_of(args)).post(f"/v1/webhooks/{quote(name, safe='')}/{verb}", body)
    if wants_json(args):
        out_json(answer)
    elif verb == "test":
        passes = "" if answer["passes"] else ", which its filter would keep out"
        out(f"{answer['webhook']}: killmail {answer['killmailId']}{passes}: {answer['message']}.")
        if answer["remedy"]:
            say(f"  {answer['remedy']}")
    else:
        out(f"{answer['webhook']} {answer['message']}.")
    return EXIT_OK if verb != "test" or answer["delivered"] else EXIT_FAILED


def lines(each: dict[str, Any]) -> list[str]:
    """One webhook."""
    state = each["state"].upper() if each["state"] != "ok" else "ok"
    why = f": {each['reason']}" if each["reason"] else ""
    found = [f"{each['name']} ({each['kind']}): {state}{why}"]
    if each["remedy"]:
        found.append(f"  remedy     {each['remedy']}")
    replaying = ", going through old ones once more" if each["replaying"] else ""
    found.append(
        f"  delivered  {each['delivered']:,}, the last {ago(each['lastDeliveredAt'])}; "
        f"{each['setAside']:,} set aside, {each['leftOut']:,} left out{replaying}"
    )
    found.append(f"  waiting    {count(each['waiting'], 'mail')} behind {each['cursor']}")
    if each["nextAttemptAt"]:
        found.append(f"  again      {soon(each['nextAttemptAt'])}")
    found += [
        f"  {one['killmailId']}  {day_time(one['killmailTime'])}  {_became(one)}" for one in each["last"]
    ]
    shown = {one["killmailId"] for one in each["last"]}
    older = [one for one in each.get("setAsideLast", ()) if one["killmailId"] not in shown]
    if older:
        found.append("  set aside before these:")
    return found + [f"  {one['killmailId']}  {day_time(one['at'])}  {one['why']}" for one in older]


def _became(one: dict[str, Any]) -> str:
    words = {
        "delivered": f"delivered {ago(one['at'])}" if one["at"] else "delivered",
        "set_aside": f"set aside ({one['why']})",
        "left_out": f"left out ({one['why']})",
        "waiting": f"waiting ({one['why']})",
    }
    return words[one["became"]]
