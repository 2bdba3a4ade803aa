"""The one form as JSON of what the operations answer.

It has camelCase names, times as RFC 3339 in UTC, and nothing secret: no token, no state, no killmail hash.
docs/ctl.md documents it; names are only added.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from killsyncd.core.model import REMEDIES, Problem, User, UserState
from killsyncd.core.sources import SourceView
from killsyncd.service import problem_kinds


def rfc3339(moment: datetime) -> str:
    """A time as JSON carries it: `2026-11-18T12:00:00Z`, with fractions only where there are some."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def camel(name: str) -> str:
    """`last_killmail_id` as `lastKillmailId`."""
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)


def jsonable(value: Any) -> Any:
    """Anything that an operation answers as what JSON has."""
    if isinstance(value, Problem):
        return problem_json(value)
    if isinstance(value, User):
        return user_json(value)
    if isinstance(value, SourceView):
        return source_json(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(each.name): jsonable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem: `code` is stable, `remedy` is what to do, `stops` whether nobody is synced meanwhile."""
    return {
        "code": problem.code,
        "reason": problem.reason,
        "remedy": problem.remedy,
        "since": rfc3339(datetime.fromtimestamp(problem.since, UTC)),
        "characterId": problem.character_id,
        "stops": problem_kinds.stops(problem),
    }


def user_json(user: User) -> dict[str, Any]:
    """A user as `ctl users` shows one."""
    state = user.shown_state
    return {
        "id": user.id,
        "characterId": user.character_id,
        "characterName": user.character_name,
        "state": state.value,
        "stateReason": user.state_reason,
        "remedy": remedy_of(user),
        "lastKillmailSyncAt": jsonable(user.last_killmail_sync_at),
        "lastKillmailId": user.last_killmail_id,
        "pending": user.pending,
        "expiresAt": jsonable(user.expires_at),
        "createdAt": rfc3339(user.created_at),
    }


def source_json(source: SourceView) -> dict[str, Any]:
    """A source as `ctl sources` shows one."""
    return {
        "id": str(source.id),
        "kind": source.source.kind.value,
        "subject": {"id": source.source.subject_id, "name": source.name},
        "state": source.state.value,
        "stateReason": source.reason,
        "remedy": source.remedy,
        "via": [
            {"userId": each.user_id, "characterId": each.character_id, "characterName": each.character_name}
            for each in source.via
        ],
        "lastSyncAt": jsonable(source.last_sync_at),
        "lastKillmailId": source.last_killmail_id,
        "pending": source.pending,
        "completeFrom": jsonable(source.complete_from),
        "completeTo": jsonable(source.complete_to),
        "createdAt": rfc3339(source.created_at),
    }


def remedy_of(user: User) -> str:
    """What to do so that this user is synced; empty where nothing is."""
    if user.shown_state is UserState.PAUSED:
        return f"killsyncd ctl resume --user {user.character_id}"
    return REMEDIES[user.shown_state]
