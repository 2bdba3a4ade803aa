"""What resolvers are given, and values that belong to the API alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from graphql import GraphQLResolveInfo, get_named_type

from killsyncd.api.graphql.budget import Reservation
from killsyncd.api.graphql.cost import Costs
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.graphql.loaders import Loaders
from killsyncd.api.ports import KillmailReader, StackPrices
from killsyncd.core.clock import Clock
from killsyncd.core.model import User
from killsyncd.core.read_model import EntityKind, FeedEpoch, Mail, MailFilter, MailPage
from killsyncd.service import StatusReport
from killsyncd.service.operations import Operations
from killsyncd.service.webhooks import WebhookOperations

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What lives as long as the daemon. prices: None where none are kept."""

    reading: KillmailReader
    operations: Operations
    clock: Clock
    limits: Limits
    webhooks: WebhookOperations | None = None
    prices: StackPrices | None = None


class Context:
    """What lives as long as one query, or one batch of the feed.

    epoch: of the feed, for cursors. names: whether any name is asked for.
    mails: those that will be asked for. shared: by several executions.
    reservation: what one of these may cost; `of_run` gives it.
    """

    __slots__ = ("_once", "costs", "epoch", "loaders", "reservation", "services", "shared")

    def __init__(
        self,
        services: ApiServices,
        epoch: FeedEpoch,
        *,
        names: bool = True,
        mails: Sequence[Mail] = (),
        loaders: Loaders | None = None,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self.services = services
        self.epoch = epoch
        self.loaders = loaders or Loaders(
            services.reading, names=names, mails=mails, sources=services.operations.sources.of_killmails
        )
        self.reservation: Reservation | None = None
        self.costs: Costs | None = None
        self._once: dict[str, asyncio.Future[Any]] = {}

    def of_run(self, reservation: Reservation) -> Context:
        """The same for one execution, with what that may cost; what is loaded is shared."""
        context = Context(self.services, self.epoch, loaders=self.loaders)
        context.reservation = reservation
        if not self.shared:
            context._once = self._once  # which `close` ends
            self.loaders.turns.stopped = lambda: reservation.ended
        return context

    async def paid(self, values: int) -> None:
        """Pay for what is about to be read."""
        if self.reservation is None or self.reservation.spend(values):
            return
        loading = self.loaders.turns
        loading.working += 1  # others like this one are yet to ask: read for all of them at once
        try:
            await self.reservation.grown()
        finally:
            loading.working -= 1
            loading.look()

    async def paid_rows(self, info: GraphQLResolveInfo[Any], rows: int) -> None:
        """Pay for all the rows of this list and what is asked of each, before they are read."""
        if self.costs is None:
            return
        nodes = [each for each in info.field_nodes if each.selection_set]
        await self.paid(max(0, rows - 1) * (1 + self.costs.of_item(get_named_type(info.return_type), nodes)))

    async def status(self) -> StatusReport:
        """The daemon's status, asked for once in a query however often it stands there."""
        return await self.once("status", self.services.operations.status)

    async def users(self) -> list[User]:
        """Everybody who logged in; asked for once, too."""
        return await self.once("users", self.services.operations.users)

    async def once(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a query needs once, however often it stands there. name: which of these it is."""
        if name not in self._once:
            self._once[name] = asyncio.ensure_future(ask())
        return cast(T, await asyncio.shield(self._once[name]))

    def close(self) -> None:
        """Nobody waits for anything any more."""
        self.loaders.cancel()
        for each in self._once.values():
            each.cancel()


@dataclass(frozen=True, slots=True)
class Entity:
    """An id of EVE and its name, which may still have to be read. kind: None where nothing hangs on it."""

    id: int
    name: str | asyncio.Future[str | None] | None
    kind: EntityKind | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """A page, and what its total is counted by: a filter, or one character."""

    page: MailPage
    counted: MailFilter | int
