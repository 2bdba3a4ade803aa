"""Every part of a daemon, made and introduced to the others. Nothing here decides anything.

One function a layer, from the database up; what must be closed goes onto the runtime's stack, what must run
into `Tasks`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from killsyncd import __version__
from killsyncd.amqp import AmqpQueue, AmqpSettings
from killsyncd.auth.encryption import Vault
from killsyncd.auth.login import Logins
from killsyncd.auth.refresher import Refresher
from killsyncd.auth.revoker import Revoker
from killsyncd.auth.sso import SsoClient
from killsyncd.auth.token_manager import TokenManager
from killsyncd.config import Config
from killsyncd.core.clock import Clock
from killsyncd.core.events import Events
from killsyncd.core.model import SourceKind
from killsyncd.core.outbound import sends_once
from killsyncd.daemon import garbage
from killsyncd.daemon.app import STANDS_STILL, App
from killsyncd.daemon.build_corporations import build_corporations
from killsyncd.daemon.build_values import background_tasks, build_values
from killsyncd.daemon.build_zkillboard import build_zkillboard, zkillboard_tasks
from killsyncd.daemon.part_settings import (
    consumer_settings,
    esi_settings,
    login_scopes,
    producer_settings,
)
from killsyncd.daemon.peers import PeerEvents
from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.daemon.servers import Shown, build_servers
from killsyncd.daemon.startup import await_store
from killsyncd.daemon.webhooks import LateDocuments, build_webhooks
from killsyncd.esi.client import EsiClient
from killsyncd.metrics import LoopLag
from killsyncd.service.disk_space import DiskSpace
from killsyncd.service.esi_view import EsiView
from killsyncd.service.health import Health
from killsyncd.service.monitor import Monitor, MonitorSources
from killsyncd.service.operations import Operations
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.status import OperationsSettings
from killsyncd.storage.document_repair import repair_documents
from killsyncd.storage.name_index import index_names
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.probe import keep_probing
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.storage.repositories.budgets import BudgetRepository
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.grants import GrantRepository, PendingLogins
from killsyncd.storage.repositories.job_starts import JobStarts
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.ledger import LedgerRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.producer_runs import ProducerRuns
from killsyncd.storage.repositories.revocations import Revocations
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.repositories.switches import SwitchRepository
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.repositories.waits import Waits
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.sync.clock_watch import ClockWatch
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher
from killsyncd.sync.job_source import EmbeddedJobSource
from killsyncd.sync.lending import ListTokens
from killsyncd.sync.name_resolver import NameResolver
from killsyncd.sync.pause import Pauses
from killsyncd.sync.producer import Producer
from killsyncd.zkillboard.client import ZkillboardClient
from killsyncd.zkillboard.walk import Reading


@dataclass(frozen=True)
class Storage:
    """The database, the key to what is encrypted in it, and this daemon's place among those that share it."""

    store: SqliteStore | PostgresStore
    vault: Vault
    member: Membership


@dataclass(frozen=True)
class Auth:
    """Logins and tokens."""

    tokens: TokenManager
    logins: Logins
    revoker: Revoker


@dataclass(frozen=True)
class Sync:
    """The pipeline. broker: None for the embedded queue. producer, zkillboard: None where switched off."""

    consumer: Consumer
    fetcher: Fetcher
    producer: Producer | None
    broker: AmqpQueue | None
    queue: QueueAnnouncements
    space: DiskSpace
    zkillboard: ZkillboardClient | None


async def build(
    stack: AsyncExitStack,
    config: Config,
    clock: Clock,
    rng: random.Random,
    stopping: asyncio.Event,
    tell: Callable[[str], None],
) -> App:
    """Open the database and make every part. What must be closed goes onto the stack.

    stopping: ends the wait for a database that is not there yet. tell: hears what takes long.
    """
    runtime = Runtime(config, clock, rng, stack, Events(), Health(clock), clock.now())
    tasks = Tasks()
    storage = await build_storage(runtime, tasks, stopping, tell)
    esi = await build_esi(runtime, tasks, storage)
    auth = await build_auth(runtime, tasks, storage)
    sync = await build_sync(runtime, tasks, storage, esi, auth)
    operations = build_operations(runtime, storage, esi, auth, sync)
    tasks.workers["operations"] = operations.run
    stack.push_async_callback(operations.aclose)
    valuer, stacks = build_values(runtime, tasks, storage.store, storage.member.id, esi)
    documents = LateDocuments()
    webhooks, hooks = build_webhooks(runtime, tasks, storage.store, storage.member.id, documents)
    lag = LoopLag(clock)
    tasks.background["lag"] = lag.run
    shown = Shown(operations, hooks, stacks, esi, sync.consumer, sync.fetcher, lag, sync.zkillboard)
    servers = build_servers(runtime, storage.store, storage.member.id, shown)
    documents.source = servers.api.documents
    tasks.background["garbage"] = lambda: garbage.collect(clock, lambda: servers.api.busy)
    tasks.background["watcher"] = build_monitor(runtime, tasks, storage, esi, auth, sync).run
    return App(
        config=config,
        clock=clock,
        store=storage.store,
        events=runtime.events,
        health=runtime.health,
        operations=operations,
        reading=KillmailSearch(storage.store),
        esi=esi,
        consumer=sync.consumer,
        fetcher=sync.fetcher,
        producer=sync.producer,
        webhooks=webhooks,
        valuer=valuer,
        tasks=tasks,
        servers=servers,
    )


async def build_storage(
    runtime: Runtime, tasks: Tasks, stopping: asyncio.Event, tell: Callable[[str], None]
) -> Storage:
    """Open the database, join those that share it, hear what they do."""
    clock, events, stack = runtime.clock, runtime.events, runtime.stack
    store, vault = await await_store(runtime.config, clock, stopping, tell)
    stack.push_async_callback(store.close)
    member = await Membership.join(store, clock, egress=runtime.config.esi.egress, version=__version__)
    stack.push_async_callback(member.leave)
    tasks.background["member"] = lambda: member.run(on_lost=lambda: events.tell("refs"))
    tasks.background["probe"] = lambda: keep_probing(store, clock)
    tasks.background["documents"] = lambda: repair_documents(store, clock)
    tasks.background["name_words"] = lambda: index_names(store, clock)
    if not store.exclusive:
        peers = PeerEvents(store, events, clock)
        tasks.background["peers"] = peers.run
        await stack.enter_async_context(store.listen(peers.hear))
    return Storage(store, vault, member)


async def build_esi(runtime: Runtime, tasks: Tasks, storage: Storage) -> EsiClient:
    """The only way to ESI."""
    store, clock = storage.store, runtime.clock
    esi = EsiClient(esi_settings(runtime.config), BudgetRepository(store), clock, rng=runtime.rng)
    runtime.stack.push_async_callback(esi.close)
    await esi.start()
    tasks.background["esi"] = esi.run
    tasks.background["clock"] = ClockWatch(Waits(store), runtime.events, clock, esi.clock_was_set).run
    return esi


async def build_auth(runtime: Runtime, tasks: Tasks, storage: Storage) -> Auth:
    """EVE's SSO, and what keeps a grant alive."""
    config, clock, rng, stack = runtime.config, runtime.clock, runtime.rng, runtime.stack
    session = await stack.enter_async_context(
        sends_once(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=config.esi.timeout)
            )
        )
    )
    secret = config.sso.client_secret
    sso = SsoClient(
        session,
        base_url=config.sso.base_url,
        client_id=config.sso.client_id,
        client_secret=secret.reveal() if secret else None,
        callback_url=config.sso.callback_url,
        scopes=login_scopes(config),
        user_agent=esi_settings(config).user_agent,
        clock=clock,
        timeout=config.esi.timeout,
    )
    grants = GrantRepository(storage.store)
    margin = config.refresher.margin
    tokens = TokenManager(grants, sso, storage.vault, clock, storage.member.id, margin, rng=rng)
    stack.push_async_callback(tokens.aclose)
    logins = Logins(PendingLogins(storage.store), grants, sso, storage.vault, clock, margin, rng=rng)
    stack.push_async_callback(logins.aclose)
    refresher = Refresher(tokens, grants, clock, rng=rng)
    runtime.events.on("grants", refresher.wake)
    revoker = Revoker(
        rows=Revocations(storage.store), tokens=tokens, events=runtime.events, clock=clock, rng=rng
    )
    tasks.workers["refresher"] = lambda stopping: refresher.run(ready=_nothing, stop=stopping)
    tasks.workers["revoker"] = revoker.run
    tasks.workers["tokens"] = tokens.run
    tasks.workers["logins"] = logins.run
    tasks.progress["refresher"] = lambda: refresher.heartbeat
    return Auth(tokens, logins, revoker)


async def build_sync(runtime: Runtime, tasks: Tasks, storage: Storage, esi: EsiClient, auth: Auth) -> Sync:
    """The pipeline: who asks, who reads lists, who fetches mails, who names what is on them."""
    config, clock, events, rng = runtime.config, runtime.clock, runtime.events, runtime.rng
    store, holder = storage.store, storage.member.id
    pauses = Pauses(SwitchRepository(store).on, events, clock)
    await pauses.load()
    path = config.database.sqlite_path
    space = DiskSpace(path.parent if path else None, runtime.health, events)
    space.look()

    def paused() -> bool:
        return pauses.paused() or space.low

    second = config.queue.corporation_name if config.corporations.enabled else None
    starts = JobStarts(store, holder)
    queue = QueueAnnouncements(store, config.queue.name, holder, second=second, start=starts.of)
    corporations = (
        QueueAnnouncements(store, second, holder, SourceKind.CORPORATION, start=starts.of) if second else None
    )
    broker = _broker(config, queue, corporations, events, clock, paused, auth.tokens)
    if broker is not None:
        await broker.check()
        tasks.background["broker"] = broker.run
    ledger = LedgerRepository(store, holder)
    fetcher = Fetcher(
        ledger=ledger,
        store=KillmailWriter(store, holder),
        esi=esi,
        events=events,
        clock=clock,
        in_flight=config.esi.max_connections,
        rng=rng,
        paused=paused,
    )
    consumer = Consumer(
        consumer_settings(config),
        jobs=broker or EmbeddedJobSource(queue, events, clock, paused),
        rows=queue,
        ledger=ledger,
        esi=esi,
        tokens=ListTokens(auth.tokens, CorporationRepository(store), clock),
        events=events,
        clock=clock,
        rng=rng,
        paused=paused,
        listed=fetcher.listed,
    )
    names = NameResolver(esi=esi, rows=NameRepository(store), events=events, clock=clock)
    zkillboard = await build_zkillboard(runtime, tasks, store, holder, Reading(fetcher.listed, paused))
    tasks.workers["consumer"] = consumer.run
    tasks.workers["fetcher"] = fetcher.run
    tasks.progress["consumer"] = lambda: consumer.progress
    tasks.progress["fetcher"] = lambda: fetcher.progress
    tasks.background["names"] = names.run
    tasks.background["switches"] = pauses.run
    await build_corporations(runtime, tasks, store, esi)
    producer = _producer(runtime, tasks, storage, esi, lambda: pauses.producer_paused() or space.low)
    return Sync(consumer, fetcher, producer, broker, queue, space, zkillboard)


def _producer(
    runtime: Runtime, tasks: Tasks, storage: Storage, esi: EsiClient, paused: Callable[[], bool]
) -> Producer | None:
    if not runtime.config.producer.enabled:
        return None
    producer = Producer(
        producer_settings(runtime.config),
        runs=ProducerRuns(storage.store, storage.member.id),
        sources=SourceRepository(storage.store),
        esi_now=esi.esi_now,
        events=runtime.events,
        clock=runtime.clock,
        rng=runtime.rng,
        paused=paused,
    )
    tasks.workers["producer"] = producer.run
    tasks.progress["producer"] = lambda: producer.progress
    return producer


def _broker(
    config: Config,
    rows: QueueAnnouncements,
    corporations: QueueAnnouncements | None,
    events: Events,
    clock: Clock,
    paused: Callable[[], bool],
    tokens: TokenManager,
) -> AmqpQueue | None:
    """RabbitMQ, where it is configured."""
    queue = config.queue
    if queue.embedded:
        return None
    settings = AmqpSettings(
        queue.url, queue.name, queue.concurrency, queue.password, corporation_name=queue.corporation_name
    )
    token_of = tokens.access_token if queue.include_tokens else None
    return AmqpQueue(settings, rows, events, clock, paused, token_of, corporations)


def build_operations(
    runtime: Runtime, storage: Storage, esi: EsiClient, auth: Auth, sync: Sync
) -> Operations:
    """The use cases that the control socket, GraphQL and the dashboard share."""
    store = storage.store
    return Operations(
        OperationsStorage(
            rows=StatusRepository(store),
            users=UserRepository(store),
            sources=SourceRepository(store),
            ledger=LedgerRepository(store, storage.member.id),
            names=NameRepository(store),
            queue=sync.queue,
        ),
        OperationsSettings(
            skip_within=runtime.config.queue.skip_within,
            producer_enabled=runtime.config.producer.enabled,
            version=__version__,
            started_at=runtime.started_at,
            background=background_tasks(runtime.config) | zkillboard_tasks(runtime.config),
        ),
        runtime.events,
        runtime.health,
        runtime.clock,
        esi=EsiView(esi, lambda: sync.fetcher.waiting),
        logins=auth.logins,
        revoker=auth.revoker,
    )


def build_monitor(
    runtime: Runtime, tasks: Tasks, storage: Storage, esi: EsiClient, auth: Auth, sync: Sync
) -> Monitor:
    """The task that asks around why it does not sync."""
    store, fetcher, consumer, broker = storage.store, sync.fetcher, sync.consumer, sync.broker
    return Monitor(
        health=runtime.health,
        clock=runtime.clock,
        esi=esi,
        space=sync.space,
        sources=MonitorSources(
            problems=auth.tokens.problems,
            broker=lambda: broker.facts().trouble if broker is not None else None,
            database=lambda: store.trouble or fetcher.trouble or consumer.trouble,
            details=lambda: fetcher.waiting,
            storm=lambda: fetcher.storm,
            standing_still=lambda: tasks.standing_still(runtime.clock.monotonic(), STANDS_STILL),
        ),
    )


def _nothing() -> None:
    """Nobody waits for this task alone."""
