"""Small things that the operations say or look up."""

from __future__ import annotations

import os

from killsyncd.core.model import User, UserState


def queue_reason(user: User, reason: str | None) -> str | None:
    """The reason a user was not queued, with this user's name in the remedy."""
    if reason is None or user.shown_state is not UserState.PAUSED:
        return reason
    return f"paused: killsyncd ctl resume --user {user.character_id}"


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the system does not say (not Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
