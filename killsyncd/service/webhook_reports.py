"""What is said of webhooks: to ctl, GraphQL and the dashboard."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


class WebhookStatus(enum.StrEnum):
    """How a webhook is."""

    OK = "ok"
    WAITING = "waiting"
    """For static data that its filter needs."""
    FAILING = "failing"
    PAUSED = "paused"
    STOPPED = "stopped"
    """The other side refuses everything."""
    REFUSED = "refused"
    """Its filter names what nobody knows."""


@dataclass(frozen=True, slots=True)
class MailVerdict:
    """What became of a mail, and why. became: `delivered`, `set_aside`, `left_out` or `waiting`."""

    killmail_id: int
    killmail_time: datetime
    became: str
    why: str
    at: datetime | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """One condition of a filter on one mail; passed: None while what it asks for is not known."""

    name: str
    passed: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class WebhookExplained:
    """Why a mail went out, or not."""

    webhook: str
    killmail_id: int
    became: str
    why: str
    conditions: Sequence[ConditionReport]
    at: datetime | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetAsideMail:
    """A mail that the other side refused for good, when, and why."""

    killmail_id: int
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class WebhookReport:
    """One webhook. cursor: everything in the feed up to it is settled. waiting: mails of the feed behind it.

    reason, remedy: where it is not ok. last_error: what the last attempt that failed met. last: the last
    mails. set_aside_last: the last that were set aside, however long ago.
    """

    name: str
    kind: str
    state: WebhookStatus
    reason: str
    remedy: str
    cursor: str
    waiting: int
    delivered: int
    set_aside: int
    left_out: int
    replaying: bool
    last_delivered_at: datetime | None
    last_error: str | None
    failing_since: datetime | None
    next_attempt_at: datetime | None
    last: Sequence[MailVerdict]
    set_aside_last: Sequence[SetAsideMail] = ()


@dataclass(frozen=True, slots=True)
class WebhookTested:
    """What came of a test. passes: whether the mail passes the filter; a test goes out all the same."""

    webhook: str
    killmail_id: int
    delivered: bool
    passes: bool
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class WebhookChanged:
    """What a lever did. changed: False where it was so already. mails: of a replay."""

    webhook: str
    changed: bool
    message: str
    mails: int = 0
