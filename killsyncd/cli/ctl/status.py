"""`killsyncd ctl status`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK
from killsyncd.core.text import ago, clock_time, count, size, soon, span

SHOWN_BUDGETS = 5
SHOWN_WAITING = 5


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
Exit code 0 while killmails are synced, even if there are problems (marked with -); 1 while they are not (what
stops it is marked with !); 69 if no daemon can be reached.

examples:
  killsyncd ctl status
  killsyncd ctl status --json | jq .problems
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print the status; exit 1 when not syncing."""
    status = call.daemon(socket_of(args)).get("/v1/status")
    if wants_json(args):
        out_json(status)
    else:
        for line in lines(status):
            out(line)
    return EXIT_OK if status["syncing"] else EXIT_FAILED


def lines(status: dict[str, Any]) -> list[str]:
    """The status as people read it; a problem is one line with its remedy."""
    return [
        "syncing" if status["syncing"] else "NOT syncing",
        *(
            f"  {'!' if each['stops'] else '-'} {each['reason']} -> {each['remedy']}"
            for each in status["problems"]
        ),
        *(_work(status) if status["queue"]["name"] else []),  # nothing is known while the database is away
        _row("daemon", _daemon(status)),
    ]


def _work(status: dict[str, Any]) -> list[str]:
    return [
        *(_row("queue", _queue(each, status)) for each in status["queues"]),
        _row("pending", _pending(status)),
        *(_row("waiting" if not index else "", each) for index, each in enumerate(_waiting(status))),
        *(_row("budgets" if not index else "", each) for index, each in enumerate(_budgets(status))),
        _row("producer", _producer(status)),
        _row("users", _users(status)),
    ]


def _row(name: str, text: str) -> str:
    return f"{name:<10}{text}"


def _queue(queue: dict[str, Any], status: dict[str, Any]) -> str:
    by_priority = sorted(queue["byPriority"].items(), key=lambda each: -int(each[0]))
    parts = ", ".join(f"{jobs} at priority {priority}" for priority, jobs in by_priority)
    waiting = f"{queue['messages']} waiting, {queue['working']} in work" + (f" ({parts})" if parts else "")
    return f"{queue['name']}: {waiting}; {count(status['consumers'], 'consumer')}"


def _pending(status: dict[str, Any]) -> str:
    number, eta = status["pendingDetails"], status["pendingEta"]
    text = "no details"
    if number:
        text = f"{count(number, 'detail')}, the oldest listed {ago(status['oldestPendingAt'])}"
        if eta is not None:
            text += f"; ESI's budget needs {span(eta)} for them"
    if status["quarantined"]:
        text += f"; {status['quarantined']:,} quarantined"
    return text


def _waiting(status: dict[str, Any]) -> list[str]:
    """What waits for ESI, with reason and time; lists that ESI has nothing newer for are counted."""
    waiting = status["waiting"]
    cached = [each for each in waiting if each["code"] == "cache"]
    told = [each for each in waiting if each["code"] != "cache"]
    shown = [each["reason"] for each in told[:SHOWN_WAITING]]
    if len(told) > SHOWN_WAITING:
        shown.append(f"and {count(len(told) - SHOWN_WAITING, 'list')} more")
    if cached:
        first = min(each["until"] for each in cached)
        shown.append(f"{count(len(cached), 'list')} for ESI's cache, the first until {clock_time(first)}")
    return shown


def _budgets(status: dict[str, Any]) -> list[str]:
    """The address's budgets, then the characters' that have least left."""
    budgets = status["budgets"]
    ours = [each for each in budgets if each["characterId"] is None]
    theirs = [each for each in budgets if each["characterId"] is not None]
    theirs.sort(key=lambda each: each["remaining"] / max(1, each["limit"]))
    shown = [_budget(each) for each in [*ours, *theirs[:SHOWN_BUDGETS]]]
    if len(theirs) > SHOWN_BUDGETS:
        shown.append(f"and {count(len(theirs) - SHOWN_BUDGETS, 'character')} with more left")
    return shown or ["nothing spent"]


def _budget(budget: dict[str, Any]) -> str:
    whose = "" if budget["characterId"] is None else f" of {budget['characterId']}"
    text = f"{budget['group']}{whose}: {budget['remaining']:,} of {budget['limit']:,} tokens left"
    if budget["remaining"] < budget["limit"] and budget["nextTokensAt"]:
        text += f", more {soon(budget['nextTokensAt'])}"
    return text


def _producer(status: dict[str, Any]) -> str:
    if not status["producerEnabled"]:
        return "turned off in the configuration"
    if status["producerRunning"]:
        return "running"
    last = f"last run {ago(status['lastProducerRun'])}"
    if status["lastProducerRun"]:
        last += f", queued {status['lastProducerQueued']}"
    following = status["nextProducerRun"]
    return f"{last}; next {soon(following)}" if following else f"{last}; no next run while paused"


def _users(status: dict[str, Any]) -> str:
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(status["usersByState"].items()))
    return states or "nobody"


def _daemon(status: dict[str, Any]) -> str:
    rss = f", {size(status['rssBytes'])} of memory" if status["rssBytes"] else ""
    return f"killsyncd {status['version']}, up {span(status['uptime'])}{rss}"
