"""Small things that the operations say or look up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from killsyncd.core.model import Queued, User, UserState
from killsyncd.service.results import Budget


def queue_reason(user: User, reason: str | None) -> str | None:
    """The reason a user was not queued, with this user's name in the remedy."""
    if reason is None or user.shown_state is not UserState.PAUSED:
        return reason
    return f"paused: killsyncd ctl resume --user {user.character_id}"


NOBODY_REMEDY = "nobody has logged in yet: killsyncd login"

LIST_COST = 2
"""Tokens that an answer with a list costs."""


def waiting_for_budget(queued: Queued, budgets: Sequence[Budget]) -> Queued:
    """The same, saying so where the pilot's own budget at ESI is spent."""
    of_pilot = [each for each in budgets if each.character_id == queued.user.character_id]
    spent = next((each for each in of_pilot if each.remaining < LIST_COST), None)
    if not queued.queued or spent is None or spent.next_tokens_at is None:
        return queued
    at = max(spent.next_tokens_at, queued.list_at or spent.next_tokens_at)
    reason = f"the budget of this pilot's list is spent; asked again at {at:%H:%M:%S} UTC"
    return replace(queued, reason=reason, list_at=at)


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the system does not say (not Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def queue_remedy(done: Sequence[Queued]) -> str:
    """What to do when nobody was queued; empty when somebody was."""
    if any(each.queued for each in done):
        return ""
    if not done:
        return NOBODY_REMEDY
    if all(each.user.shown_state is UserState.OK for each in done):
        return (
            "everybody was synced a moment ago; to ask each list as soon as ESI lets us: "
            "killsyncd ctl queue --force"
        )
    return "killsyncd ctl users shows what each user needs"


def after_login(row: Queued) -> str:
    if not row.queued or row.mode is None:
        return f"skipped: {row.reason or 'nothing to queue'}"
    return f"queued {row.mode.label}" + (f", and {row.reason}" if row.reason else "")
