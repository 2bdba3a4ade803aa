"""The message: JSON in the format of killreport.

    userId, characterId, characterName, queuedAt, expiresAt, lastKillmailId?, mode?

In the queue for corporations' lists, which later versions of killreport have beside the other, with
corporationId and corporationName after these three: whose list it is; userId and the others then say by
whose token.

`mode` is ours: a message that has it points at a row and asks for nothing by itself.
One without it is killreport's, and asks for a sync: without `lastKillmailId` for a
full walk. Its tokens are never read; the stored ones are the real ones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from killsyncd.core.clock import utc
from killsyncd.core.errors import BadInput
from killsyncd.core.model import PRIORITY_PRODUCER, SourceKind, SyncMode
from killsyncd.sync.job_source import Announcement, WakeupMessage

HELD = "held-by-killsyncd"
"""Stands where workers of the system before insist on a refresh token; the real one they would use up."""

MAX_PRIORITY = 10
MAX_BYTES = 65536
MAX_ID = 2**53 - 1
"""Numbers above this were rounded on their way through JavaScript."""


def build(request: Announcement, access_token: str | None) -> bytes:
    """A message for a sync request. access_token: only where workers of the system before shall be served."""
    message: dict[str, Any] = {
        "userId": request.user_id,
        "characterId": request.character_id,
        "characterName": request.character_name,
    }
    if request.source.kind is SourceKind.CORPORATION:
        message["corporationId"] = request.source.subject_id
        message["corporationName"] = request.subject_name or str(request.source.subject_id)
    message |= {
        "queuedAt": _iso(utc(request.queued_at)),
        "expiresAt": _iso(request.expires_at or utc(request.queued_at)),
    }
    if access_token is not None:
        message["accessToken"] = access_token
        message["refreshToken"] = HELD
    if request.mode is SyncMode.INCREMENTAL and request.last_killmail_id is not None:
        message["lastKillmailId"] = request.last_killmail_id
    message["mode"] = request.mode.value
    return orjson.dumps(message)


def read(body: bytes, priority: int | None, kind: SourceKind = SourceKind.CHARACTER) -> WakeupMessage:
    """What a message asks for. kind: of the lists that its queue is for.

    Raises BadInput with a reason that shows nothing of its content.
    """
    if len(body) > MAX_BYTES:
        raise BadInput(f"it has {len(body)} bytes, and {MAX_BYTES} are allowed")
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadInput("it is not JSON") from None
    if not isinstance(message, dict):
        raise BadInput("it is not a JSON object")
    key = "corporationId" if kind is SourceKind.CORPORATION else "characterId"
    subject_id = message.get(key)
    if not isinstance(subject_id, int) or not _is_id(subject_id):
        raise BadInput(f"{key} is missing" if subject_id is None else f"{key} is not an id of EVE")
    last = message.get("lastKillmailId")
    if last is not None and not _is_id(last):
        raise BadInput("lastKillmailId is not an id")
    mode = message.get("mode")
    if mode is not None and (not isinstance(mode, str) or mode not in SyncMode.__members__):
        raise BadInput("mode is none that is known")
    return WakeupMessage(
        subject_id=subject_id,
        priority=min(MAX_PRIORITY, max(0, PRIORITY_PRODUCER if priority is None else priority)),
        ours=mode is not None,
        full=last is None if mode is None else mode == SyncMode.FULL_SYNC,
        queued_at=_seconds(message.get("queuedAt")),
    )


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_ID


def _iso(moment: datetime) -> str:
    """As JavaScript writes it: milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: object) -> float | None:
    """A moment that cannot be read is one that the message does not say."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
