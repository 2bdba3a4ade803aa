"""Problems of corporations' lists: which were read and are not any more, why, and what to do about it.

A corporation that was never read is no problem: none of its Directors has logged in. `ctl sources` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from killsyncd.core.model import Problem
from killsyncd.core.sources import SourceState, SourceView
from killsyncd.service.problem_kinds import CODES

CODE = "corporation_not_read"

_QUIET = frozenset({SourceState.OK, SourceState.PAUSED})


def source_problems(sources: Iterable[SourceView], now: float) -> list[Problem]:
    """What follows from lists that have nobody who reads them."""
    found = []
    for each in sources:
        if each.state in _QUIET or each.last_sync_at is None:
            continue
        reason = f"the list of {each.label} is not read any more: {each.reason}"
        begun = min(now, each.last_sync_at.timestamp())
        found.append(Problem(CODE, reason, each.remedy or CODES[CODE].remedy, begun, source=each.source))
    return found
