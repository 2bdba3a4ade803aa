"""The daemon's servers: HTTP with GraphQL and dashboard, the control socket, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from killsyncd import __version__
from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.server import ApiServer
from killsyncd.control.server import BackupMaker, ControlServer
from killsyncd.control.socket import ControlSocket
from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.daemon.runtime import Runtime
from killsyncd.esi.client import EsiClient
from killsyncd.metrics import LoopLag, Metrics, MetricSources
from killsyncd.pricing.stacks import StackPrices
from killsyncd.service.history import HistoryImports
from killsyncd.service.import_export import ImportExport
from killsyncd.service.operations import Operations
from killsyncd.service.pilot_groups import PilotGroups
from killsyncd.service.statistics_check import StatisticsCheck
from killsyncd.service.webhooks import WebhookOperations
from killsyncd.storage.probe import touch
from killsyncd.storage.repositories.history import HistoryRepository
from killsyncd.storage.repositories.import_export import ImportExportRepository
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.metrics import MetricsRepository
from killsyncd.storage.repositories.pilot_groups import PilotGroupRepository
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.sessions import SessionRepository
from killsyncd.storage.sqlite import backup as backups
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Store
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher
from killsyncd.zkillboard.client import ZkillboardClient


@dataclass
class Servers:
    """Both servers, not listening yet."""

    api: ApiServer
    control: ControlServer
    socket: Path
    draining: bool = False

    async def open(self, stack: AsyncExitStack, environ: Mapping[str, str]) -> dict[str, str]:
        """Begin to listen; answers the addresses. Raises AlreadyRunning, Refused."""
        listening = ControlSocket.passed(environ) or ControlSocket.bind(self.socket)
        stack.callback(listening.close)
        stack.push_async_callback(self.control.close)
        await self.control.start(listening)
        stack.push_async_callback(self.api.close)
        address = await self.api.start()
        return {"api": address, "control": listening.address}


@dataclass(frozen=True)
class Shown:
    """What the servers show: the use cases, and what is counted by the tasks."""

    operations: Operations
    webhooks: WebhookOperations
    stacks: StackPrices
    esi: EsiClient
    consumer: Consumer
    fetcher: Fetcher
    lag: LoopLag
    zkillboard: ZkillboardClient | None


def build_servers(runtime: Runtime, store: Store, holder: str, shown: Shown) -> Servers:
    """Make the servers. holder: this daemon's id in the database."""
    config, clock, events = runtime.config, runtime.clock, runtime.events
    operations = shown.operations
    path = config.database.sqlite_path
    metrics = Metrics(
        MetricSources(
            operations,
            MetricsRepository(store),
            shown.esi,
            shown.consumer,
            shown.fetcher,
            shown.lag,
            store.counts.by_kind,
            shown.webhooks,
            None if shown.zkillboard is None else shown.zkillboard.requests,
        ),
        clock,
        started_at=runtime.started_at,
        database=path.parent if path is not None else None,
    )
    servers: Servers

    async def readiness() -> Sequence[str]:
        if servers.draining:
            return ["the daemon is stopping"]
        try:
            await store.write(touch)
        except Unavailable as error:
            return [error.message]
        return [store.trouble] if store.trouble else []

    api = ApiServer(
        config.api,
        config.sso.callback_url,
        ApiServices(KillmailSearch(store), operations, clock, Limits(), shown.webhooks, prices=shown.stacks),
        sessions=SessionRepository(store, clock),
        events=events,
        readiness=readiness,
        metrics=metrics.render,
    )
    documents = ImportExportRepository(store, KillmailWriter(store, holder))
    exchange = ImportExport(documents, clock, stored=lambda: _imported(events))
    servers = Servers(
        api,
        ControlServer(
            operations,
            exchange,
            _backup_maker(store, clock),
            shown.webhooks,
            PilotGroups(PilotGroupRepository(store), operations),
            StatisticsCheck(KillmailSearch(store), documents, operations),
            HistoryImports(HistoryRepository(store), clock, lambda: events.tell("refs")),
        ),
        config.control.socket,
    )
    return servers


def _imported(events: Events) -> None:
    events.tell("feed")
    events.tell("names")
    events.tell("refs")


def _backup_maker(store: Store, clock: Clock) -> BackupMaker | None:
    """PostgreSQL has backups of its own; a copy of the file is SQLite's."""
    if not isinstance(store, SqliteStore):
        return None
    source = store

    @asynccontextmanager
    async def make() -> AsyncIterator[backups.Made]:
        async with backups.make(source, __version__, clock.now()) as made:
            yield made
        await MetricsRepository(source).backed_up(clock.now())

    return make
