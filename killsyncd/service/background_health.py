"""Problems of the tasks that one daemon does for all: what they keep is old, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from killsyncd.core.background import (
    HISTORY,
    PRICES,
    REMEDY,
    STATIC_DATA,
    TOLD_AFTER,
    ZKILLBOARD,
    ZKILLBOARD_STREAM,
    TaskState,
)
from killsyncd.core.model import Problem
from killsyncd.core.text import span

OLD = 2 * 86_400.0
"""Seconds after which what a task keeps counts as old, however seldom it could try."""

CODES = {
    STATIC_DATA: "static_data_old",
    PRICES: "prices_old",
    HISTORY: "market_history_failing",
    ZKILLBOARD: "zkillboard_failing",
    ZKILLBOARD_STREAM: "zkillboard_stream_failing",
}

_WHAT = {
    STATIC_DATA: "the static data",
    PRICES: "ESI's prices",
    HISTORY: "the market's history",
    ZKILLBOARD: "zKillboard's lists",
    ZKILLBOARD_STREAM: "zKillboard's live stream",
}


def background_problems(tasks: Iterable[TaskState], enabled: Collection[str], now: float) -> list[Problem]:
    """What follows from the rows of these tasks. enabled: names of those that are at work."""
    found = []
    for task in tasks:
        if task.name not in CODES or task.name not in enabled or task.problem is None:
            continue
        age = None if task.succeeded_at is None else max(0.0, now - task.succeeded_at)
        if task.failures < TOLD_AFTER and (age is None or age < OLD):
            continue
        since = "never came yet" if age is None else f"last came {span(age)} ago"
        reason = f"{_WHAT[task.name]} {since}: {task.problem}"
        begun = task.succeeded_at if task.succeeded_at is not None else task.tried_at or now
        found.append(Problem(CODES[task.name], reason, task.remedy or REMEDY, begun))
    return found
