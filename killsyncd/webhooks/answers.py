"""What an answer of the other side means. Pure.

Discord: https://discord.com/developers/docs/topics/rate-limits and .../resources/webhook#execute-webhook.
zKillboard: https://github.com/zKillboard/zKillboard/wiki (posting).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from killsyncd.webhooks.model import PaceWindow

LONGEST_BACK_OFF = 3600.0
FIRST_BACK_OFF = 5.0
LONGEST_WAIT = 6 * 3600.0
"""Seconds: a Retry-After beyond that is not believed."""

UNTOLD_WAIT = 5.0
"""Seconds to wait after a 429 that does not say how long."""

REFUSED_A_DAY = 86_400.0
"""zKillboard shuts an address out for a day after five bad posts."""

PACE: Mapping[str, tuple[PaceWindow, ...]] = {
    "discord": (PaceWindow(5, 2.0), PaceWindow(30, 60.0, shared=True)),
    "json": (),
    "zkillboard": (PaceWindow(1, 1.0, shared=True),),
}
"""Requests by kind: Discord's limits of a webhook and of a channel; zKillboard's by peers' practice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, or why there was none. body: its beginning. lost: after the request may have
    arrived.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows.

    verdict: `delivered`, `refused` (this mail, for good), `stopped` (everything, for good), `wait` (as
    told) or `failed` (try again). wait: seconds. everybody, channel_wide: whom a wait concerns besides this
    webhook. doubtful: the mail may have arrived. message_id, channel: Discord's.
    """

    verdict: str
    reason: str = ""
    wait: float = 0.0
    everybody: bool = False
    channel_wide: bool = False
    doubtful: bool = False
    message_id: str | None = None
    channel: str | None = None


def outcome_of(kind: str, answer: Answer) -> Outcome:
    """Read an answer."""
    if answer.error:
        return Outcome("failed", answer.error, doubtful=answer.lost)
    status = answer.status
    if 200 <= status < 300:
        return _taken(kind, answer)
    if status == 429:
        return _too_many(answer)
    if kind == "zkillboard":
        return _zkillboard(status)
    who = {"discord": "Discord", "json": "the receiver"}[kind]
    if status in (401, 403, 404, 405, 410):
        return Outcome("stopped", f"{who} answers {status}{_said(kind, answer)}")
    if 300 <= status < 400:
        return Outcome("stopped", f"{who} answers {status}: a redirect, and none is followed")
    if status in (400, 413, 422):
        return Outcome("refused", f"{who} answers {status}{_said(kind, answer)}")
    return Outcome("failed", f"{who} answers {status}", doubtful=status >= 500)


def back_off(attempts: int, rng: random.Random, first: float = FIRST_BACK_OFF) -> float:
    """Seconds before the next attempt: doubled each time, up to an hour, spread by a fifth."""
    return min(LONGEST_BACK_OFF, first * 2.0 ** min(attempts, 20)) * rng.uniform(0.8, 1.0)


def _taken(kind: str, answer: Answer) -> Outcome:
    if kind != "discord":
        return Outcome("delivered")
    wait = _number(answer.headers.get("X-RateLimit-Reset-After"))
    spent = (answer.headers.get("X-RateLimit-Remaining") or "").strip() == "0"
    document = _json(answer.body)
    return Outcome(
        "delivered",
        wait=min(wait, LONGEST_WAIT) if spent and wait is not None else 0.0,
        message_id=_snowflake(document.get("id")),
        channel=_snowflake(document.get("channel_id")),
    )


def _too_many(answer: Answer) -> Outcome:
    """As long as the longest that header and body ask for."""
    document = _json(answer.body)
    told = [
        wait
        for wait in (
            _number(answer.headers.get("Retry-After")),
            _number(document.get("retry_after")),
            _number(answer.headers.get("X-RateLimit-Reset-After")),
        )
        if wait is not None
    ]
    wait = min(max(told, default=UNTOLD_WAIT), LONGEST_WAIT)
    everybody = (
        document.get("global") is True or answer.headers.get("X-RateLimit-Global", "").lower() == "true"
    )
    scope = answer.headers.get("X-RateLimit-Scope", "").lower()
    return Outcome(
        "wait",
        f"asked us to wait {wait:g} s (429)",
        wait=wait,
        everybody=everybody or scope == "global",
        channel_wide=scope == "shared",
    )


def _zkillboard(status: int) -> Outcome:
    if status == 401:
        reason = "zKillboard takes nothing from this address for a day: more than 5 mails were bad"
        return Outcome("wait", reason, wait=REFUSED_A_DAY)
    if status == 408:
        return Outcome("failed", "zKillboard took too long; it may still take the mail", doubtful=True)
    if status in (400, 404, 422):
        return Outcome("refused", f"zKillboard answers {status}: it finds no mail of this id and hash")
    return Outcome("failed", f"zKillboard answers {status}", doubtful=status >= 500)


def _said(kind: str, answer: Answer) -> str:
    """What Discord says of an error, in its own short words; a receiver's answer may hold anything."""
    if kind != "discord":
        return ""
    said = _json(answer.body).get("message")
    if not isinstance(said, str):
        return ""
    words = re.sub(r"[^A-Za-z0-9 ,.'-]", "", said)[:80].strip()
    return f" ({words})" if words else ""


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _snowflake(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9]{1,24}", value, re.ASCII) else None
