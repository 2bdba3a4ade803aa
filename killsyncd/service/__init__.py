"""The use cases: what ctl, GraphQL and the dashboard do, and what they answer.

`operations` has the use cases, `results` the values (`result_json` their JSON), `ports` what storage
fills, `cursor` the feed's cursors, `health` what is wrong and what to do, `monitor` looks for it. Knows sync,
webhooks, auth, esi and core. Only values are imported here, so that commands that need no more start fast.
"""

from __future__ import annotations

from killsyncd.service.cursor import feed_cursor, parse_cursor
from killsyncd.service.ports import LoggedOutUser, StatusFacts
from killsyncd.service.result_json import jsonable, remedy_of, rfc3339
from killsyncd.service.results import (
    Budget,
    Claims,
    Explained,
    Failed,
    FeedLine,
    KnownThroughZkillboard,
    LoggedOut,
    LoginEnded,
    PauseChanged,
    Retried,
    SeenThrough,
    StatusReport,
    Unreadable,
    Verified,
    VerifiedCorporation,
    Waiting,
)

__all__ = [
    "Budget",
    "Claims",
    "Explained",
    "Failed",
    "FeedLine",
    "KnownThroughZkillboard",
    "LoggedOut",
    "LoggedOutUser",
    "LoginEnded",
    "PauseChanged",
    "Retried",
    "SeenThrough",
    "StatusFacts",
    "StatusReport",
    "Unreadable",
    "Verified",
    "VerifiedCorporation",
    "Waiting",
    "feed_cursor",
    "jsonable",
    "parse_cursor",
    "remedy_of",
    "rfc3339",
]
