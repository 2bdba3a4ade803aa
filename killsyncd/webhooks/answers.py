"""What an answer of the other side means. Pure.

Discord: https://discord.com/developers/docs/topics/rate-limits and .../resources/webhook#execute-webhook.
zKillboard: https://github.com/zKillboard/zKillboard/wiki (posting).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from killsyncd.webhooks.model import PaceWindow

LONGEST_BACK_OFF = 3600.0
FIRST_BACK_OFF = 5.0
LONGEST_WAIT = 86_400.0
"""Seconds: a Retry-After beyond a day is not believed."""

UNTOLD_WAIT = 5.0
"""Seconds to wait after a 429 that does not say how long."""

STOPPED_AGAIN = 3600.0
"""Seconds after which one that stopped is tried once more, where its answer may have been a passing one."""

REFUSED_A_DAY = 86_400.0
"""zKillboard shuts an address out for a day after five bad posts."""

_GONE_FOR_GOOD = {404: 10015, 401: 50027}
"""Discord's codes of an unknown webhook and of a token that is none, by status."""

PACE: Mapping[str, tuple[PaceWindow, ...]] = {
    "discord": (PaceWindow(5, 2.0), PaceWindow(30, 60.0, shared=True)),
    "json": (),
    "zkillboard": (PaceWindow(1, 1.0, shared=True),),
}
"""Requests by kind: Discord's limits of a webhook and of a channel; zKillboard's by peers' practice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, or why there was none. body: its beginning. lost: after the request may have
    arrived. withheld: nothing left, since it may not be ours to send any more.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    lost: bool = False
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows.

    verdict: `delivered`, `refused` (this mail, for good), `stopped` (everything), `wait` (as told) or
    `failed` (try again). wait: seconds before the next request; of one that stopped 0 is for good.
    untold: it asks to wait and does not say how long. everybody, channel_wide: whom a wait concerns besides
    this webhook. doubtful: the mail may have arrived. message_id, channel: Discord's.
    """

    verdict: str
    reason: str = ""
    wait: float = 0.0
    untold: bool = False
    everybody: bool = False
    channel_wide: bool = False
    doubtful: bool = False
    message_id: str | None = None
    channel: str | None = None


def outcome_of(kind: str, answer: Answer) -> Outcome:
    """Read an answer."""
    if answer.error:
        return Outcome("failed", answer.error, doubtful=answer.lost)
    if answer.status == 429:
        return _too_many(kind, answer)
    found = _meaning(kind, answer)
    if kind == "discord" and found.verdict != "stopped":
        found = replace(found, wait=max(found.wait, _bucket_empty(answer)))
    return found


def _meaning(kind: str, answer: Answer) -> Outcome:
    status = answer.status
    if 200 <= status < 300:
        return _taken(kind, answer)
    if kind == "zkillboard":
        return _zkillboard(answer)
    who = {"discord": "Discord", "json": "the receiver"}[kind]
    if status in (401, 403, 404, 405, 410):
        wait = 0.0 if _for_good(kind, answer) else STOPPED_AGAIN
        return Outcome("stopped", f"{who} answers {status}{_said(kind, answer)}", wait=wait)
    if 300 <= status < 400:
        reason = f"{who} answers {status}: it redirects, and no redirect is followed"
        return Outcome("stopped", reason, wait=STOPPED_AGAIN)
    if status in (400, 413, 422):
        return Outcome("refused", f"{who} answers {status}{_said(kind, answer)}")
    return Outcome("failed", f"{who} answers {status}", wait=_told(answer), doubtful=status >= 500)


def _for_good(kind: str, answer: Answer) -> bool:
    """Whether it is certain that the address is gone. A proxy on the way answers 403 and 404, too, and so
    does a receiver that is just being put in place.
    """
    if kind != "discord":
        return answer.status == 410
    return answer.status == 410 or _json(answer.body).get("code") == _GONE_FOR_GOOD.get(answer.status, "")


def back_off(attempts: int, rng: random.Random, first: float = FIRST_BACK_OFF) -> float:
    """Seconds before the next attempt: doubled each time, up to an hour, spread by a fifth."""
    return min(LONGEST_BACK_OFF, first * 2.0 ** min(attempts, 20)) * rng.uniform(0.8, 1.0)


def _taken(kind: str, answer: Answer) -> Outcome:
    document = _json(answer.body)
    if kind == "zkillboard":
        if document.get("status", "success") != "success":
            return Outcome("failed", "zKillboard says that it did not take the mail")
        return Outcome("delivered")
    if kind != "discord":
        return Outcome("delivered")
    return Outcome(
        "delivered",
        message_id=_snowflake(document.get("id")),
        channel=_snowflake(document.get("channel_id")),
    )


def _bucket_empty(answer: Answer) -> float:
    """Seconds until Discord takes another request, where this was the last one that it would take."""
    if (answer.headers.get("X-RateLimit-Remaining") or "").strip() != "0":
        return 0.0
    return min(_number(answer.headers.get("X-RateLimit-Reset-After")) or 0.0, LONGEST_WAIT)


def _told(answer: Answer) -> float:
    """Seconds that an answer asks to wait; 0 where it does not say."""
    return min(_number(answer.headers.get("Retry-After")) or 0.0, LONGEST_WAIT)


def _too_many(kind: str, answer: Answer) -> Outcome:
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
        untold=not told,
        everybody=everybody or scope == "global",
        # Discord says "user" where the limit is this webhook's own; without a word it may be the channel's.
        channel_wide=kind == "discord" and scope not in ("user", "global"),
    )


def _zkillboard(answer: Answer) -> Outcome:
    status = answer.status
    if status == 401:
        reason = "zKillboard takes nothing from this address for a day: more than 5 mails were bad"
        return Outcome("wait", reason, wait=REFUSED_A_DAY)
    if status == 408:
        return Outcome("failed", "zKillboard took too long; it may still take the mail", doubtful=True)
    if status in (400, 422):
        return Outcome("refused", f"zKillboard answers {status}: it finds no mail of this id and hash")
    return Outcome("failed", f"zKillboard answers {status}", wait=_told(answer), doubtful=status >= 500)


_WORDS = re.compile(r"[A-Za-z]{1,20}([ ,.'-]{1,2}[A-Za-z]{1,20}){0,11}[.]?", re.ASCII)


def _said(kind: str, answer: Answer) -> str:
    """What Discord says of an error, in its own short words; a receiver's answer may hold anything.

    So may that of whoever stands in for Discord, the address with its secret first of all ("Route POST:/...
    not found"): what is not plain words throughout is not told.
    """
    if kind != "discord":
        return ""
    said = _json(answer.body).get("message")
    return f" ({said})" if isinstance(said, str) and _WORDS.fullmatch(said) else ""


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
