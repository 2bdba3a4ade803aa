"""What resolvers are given, and values that belong to the API alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from killsyncd.api.graphql.limits import Limits
from killsyncd.api.graphql.loaders import Loaders
from killsyncd.api.ports import ApiOperations, KillmailReader
from killsyncd.core.clock import Clock
from killsyncd.core.read_model import FeedEpoch, Mail, MailFilter, MailPage


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What lives as long as the daemon."""

    reading: KillmailReader
    verbs: ApiOperations
    clock: Clock
    limits: Limits


class Context:
    """What lives as long as one query, or one batch of the feed.

    epoch: of the feed, for cursors. names: whether any name is asked for.
    mails: those that will be asked for. shared: by many queries, so that its size is nobody's.
    """

    __slots__ = ("epoch", "loaders", "room")

    def __init__(
        self,
        room: ApiServices,
        epoch: FeedEpoch,
        *,
        names: bool = True,
        mails: Sequence[Mail] = (),
        shared: bool = False,
    ) -> None:
        self.room = room
        self.epoch = epoch
        rows = inf if shared else room.limits.rows
        self.loaders = Loaders(room.reading, names=names, mails=mails, rows=rows)


@dataclass(frozen=True, slots=True)
class Entity:
    """An id of EVE and its name, which may still have to be read."""

    id: int
    name: str | asyncio.Future[str | None] | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A page, and what its total is counted by: a filter, or one character."""

    page: MailPage
    counted: MailFilter | int
