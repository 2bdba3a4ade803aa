"""The use cases: what ctl, GraphQL and the dashboard do, and what they answer.

`Operations` has the verbs, `results` the values (and `jsonable`, their JSON), `ports` what is needed of
others, `cursor` the feed's cursors, `health` what is wrong and what to do. Knows sync, auth and core;
storage fills its ports.
"""

from __future__ import annotations

from killsyncd.service.cursor import feed_cursor, parse_cursor
from killsyncd.service.ports import (
    EsiBudgets,
    GrantRevoker,
    LoggedOutUser,
    LoginService,
    OperatingRows,
    QueueDepthSource,
    StatusFacts,
    UserRows,
)
from killsyncd.service.results import (
    Budget,
    Explained,
    Failed,
    FeedLine,
    LoggedOut,
    LoginEnded,
    PauseChanged,
    Retried,
    SeenThrough,
    StatusReport,
    Unreadable,
    Verified,
    Waiting,
    jsonable,
    remedy_of,
    rfc3339,
)
from killsyncd.service.service import FEED_START, Operations, queue_remedy
from killsyncd.service.status import DAEMON_SWITCH, PRODUCER_SWITCH

__all__ = [
    "DAEMON_SWITCH",
    "FEED_START",
    "PRODUCER_SWITCH",
    "Budget",
    "EsiBudgets",
    "Explained",
    "Failed",
    "FeedLine",
    "GrantRevoker",
    "LoggedOut",
    "LoggedOutUser",
    "LoginEnded",
    "LoginService",
    "OperatingRows",
    "Operations",
    "PauseChanged",
    "QueueDepthSource",
    "Retried",
    "SeenThrough",
    "StatusFacts",
    "StatusReport",
    "Unreadable",
    "UserRows",
    "Verified",
    "Waiting",
    "feed_cursor",
    "jsonable",
    "parse_cursor",
    "queue_remedy",
    "remedy_of",
    "rfc3339",
]
