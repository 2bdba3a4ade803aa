"""The house: every part of a running daemon, made and introduced to each other.

Nothing here decides anything; it only says who knows whom. `daemon` runs it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from killsyncd import __version__
from killsyncd.amqp import AmqpQueue, AmqpSettings
from killsyncd.auth.login import Logins
from killsyncd.auth.refresher import Refresher
from killsyncd.auth.revoker import Revoker
from killsyncd.auth.sso import SsoClient
from killsyncd.auth.token_manager import TokenManager
from killsyncd.config import Config
from killsyncd.core.clock import Clock
from killsyncd.core.events import Events
from killsyncd.core.logging import get_logger
from killsyncd.core.model import DetailsWait
from killsyncd.core.text import count
from killsyncd.daemon import garbage
from killsyncd.daemon.peers import PeerEvents
from killsyncd.daemon.servers import Servers, make_front
from killsyncd.daemon.startup import await_house, read_switches
from killsyncd.esi.client import EsiClient, EsiSettings
from killsyncd.esi.ratelimit.permits import Permit
from killsyncd.metrics import LoopLag
from killsyncd.service import Budget, Operations
from killsyncd.service.health import Health
from killsyncd.service.monitor import DiskSpace, Monitor, MonitorSources
from killsyncd.storage.document_repair import repair_documents
from killsyncd.storage.probe import keep_probing
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.storage.repositories.budgets import BudgetRepository
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.grants import GrantRepository, PendingLogins
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.ledger import LedgerRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.producer_runs import ProducerRuns
from killsyncd.storage.repositories.revocations import Revocations
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.repositories.waits import Waits
from killsyncd.storage.transaction import Store
from killsyncd.sync.clock_watch import ClockWatch
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher
from killsyncd.sync.job_source import EmbeddedJobSource
from killsyncd.sync.name_resolver import NameResolver
from killsyncd.sync.pause import Pauses
from killsyncd.sync.producer import Producer

Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
Tend = Callable[[], Coroutine[Any, Any, None]]

STANDS_STILL = 180.0
"""Seconds without progress after which a task is stuck: the slowest request ends far sooner."""

log = get_logger(__name__)


@dataclass
class App:
    """A daemon's parts, as far as somebody outside of them needs them.

    workers: tasks that drain when the event is set. tenders: tasks that live until they are
    cancelled. progress: monotonic time of each watched task's last step.
    """

    config: Config
    clock: Clock
    store: Store
    events: Events
    health: Health
    operations: Operations
    reading: KillmailSearch
    esi: EsiClient
    consumer: Consumer
    fetcher: Fetcher[Permit]
    producer: Producer | None
    workers: dict[str, Work]
    tenders: dict[str, Tend]
    progress: dict[str, Callable[[], float]]
    front: Servers
    addresses: dict[str, str] = field(default_factory=dict)

    def standing_still(self, seconds: float) -> str | None:
        """The task that has made no progress for so long, or None."""
        now = self.clock.monotonic()
        return next((name for name, at in self.progress.items() if now - at() > seconds), None)

    def no_progress(self) -> str | None:
        """What stands still, as the watchdog means it: a task, or a database that somebody keeps locked.

        A full disk or a server that is away is weather, which a new start would not change.
        """
        return "database" if self.store.stuck else self.standing_still(STANDS_STILL)

    def status_line(self) -> str:
        """What the daemon is doing, in a line."""
        if self.esi.downtime is not None:
            return "waiting for EVE to come back"
        busy = f"{count(self.consumer.working, 'list')} and {count(self.fetcher.in_flight, 'mail')} under way"
        return f"{busy}, {count(self.fetcher.stored, 'killmail')} stored since the start"

    def appliers(self) -> dict[str, Callable[[Config], None]]:
        """By `section.key`, how a running daemon takes over another value (SIGHUP)."""

        def reach(config: Config) -> None:
            told = config.producer
            self.consumer.reach(told.max_pages, told.full_walk, told.interval)

        def pace(config: Config) -> None:
            if self.producer is not None:
                self.producer.pace(config.producer.interval, config.producer.min_age)
            reach(config)

        def skip(config: Config) -> None:
            self.operations.skip_within = config.queue.skip_within

        return {
            "producer.interval": pace,
            "producer.min_age": pace,
            "producer.full_walk": reach,
            "producer.max_pages": reach,
            "queue.skip_within": skip,
        }

    async def open_doors(self, stack: AsyncExitStack, environ: Mapping[str, str]) -> None:
        """Begin to listen. Raises AlreadyRunning, Refused."""
        self.addresses = await self.front.open(stack, environ)


async def build(
    stack: AsyncExitStack, config: Config, clock: Clock, rng: random.Random, stopping: asyncio.Event
) -> App:
    """Open the database and make every part. What must be closed goes onto the stack.

    stopping: ends the wait for a database that is not there yet.
    """
    started_at = clock.now()
    events = Events()
    health = Health(clock)
    store, vault = await await_house(config, clock, stopping)
    stack.push_async_callback(store.close)
    member = await Membership.join(store, clock, egress=config.esi.egress, version=__version__)
    stack.push_async_callback(member.leave)

    esi = EsiClient(_door_settings(config), BudgetRepository(store), clock, rng=rng)
    stack.push_async_callback(esi.close)
    await esi.start()

    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=config.esi.timeout)
        )
    )
    secret = config.sso.client_secret
    sso = SsoClient(
        session,
        base_url=config.sso.base_url,
        client_id=config.sso.client_id,
        client_secret=secret.reveal() if secret else None,
        callback_url=config.sso.callback_url,
        scopes=config.sso.scopes,
        user_agent=_door_settings(config).user_agent,
        clock=clock,
        timeout=config.esi.timeout,
    )
    grants = GrantRepository(store)
    margin = config.refresher.margin
    keeper = TokenManager(grants, sso, vault, clock, member.id, margin, rng=rng)
    stack.push_async_callback(keeper.aclose)
    logins = Logins(PendingLogins(store), grants, sso, vault, clock, margin, rng=rng)
    stack.push_async_callback(logins.aclose)
    refresher = Refresher(keeper, grants, clock, rng=rng)
    events.on("grants", refresher.wake)
    revoker = Revoker(rows=Revocations(store), sso=keeper, events=events, clock=clock, rng=rng)

    switches = Pauses(lambda: read_switches(store), events, clock)
    await switches.load()
    users = UserRepository(store)
    ledger = LedgerRepository(store, member.id)
    rows = QueueAnnouncements(store, config.queue.name, member.id)
    space = DiskSpace(
        config.database.sqlite_path.parent if config.database.sqlite_path else None, health, events
    )
    space.look()

    def paused() -> bool:
        return switches.paused() or space.low

    broker = _broker(config, rows, events, clock, paused, keeper)
    if broker is not None:
        await broker.check()
    fetcher: Fetcher[Permit] = Fetcher(
        ledger=ledger,
        store=KillmailWriter(store, member.id),
        esi=esi,
        events=events,
        clock=clock,
        in_flight=config.esi.max_connections,
        rng=rng,
        paused=paused,
    )
    consumer = Consumer(
        jobs=broker or EmbeddedJobSource(rows, events, clock, paused),
        rows=rows,
        ledger=ledger,
        esi=esi,
        tokens=keeper,
        events=events,
        clock=clock,
        concurrency=config.queue.concurrency,
        max_pages=config.producer.max_pages,
        full_walk=config.producer.full_walk,
        interval=config.producer.interval,
        rng=rng,
        paused=paused,
        listed=fetcher.listed,
    )
    producer = None
    if config.producer.enabled:
        producer = Producer(
            runs=ProducerRuns(store, member.id),
            users=users,
            events=events,
            clock=clock,
            rng=rng,
            interval=config.producer.interval,
            min_age=config.producer.min_age,
            paused=lambda: switches.producer_paused() or space.low,
        )
    name_rows = NameRepository(store)
    names = NameResolver(esi=esi, book=name_rows, events=events, clock=clock)
    operations = Operations(
        rows=StatusRepository(store),
        users=users,
        ledger=ledger,
        names=name_rows,
        depth=rows,
        events=events,
        health=health,
        clock=clock,
        skip_within=config.queue.skip_within,
        producer_enabled=config.producer.enabled,
        version=__version__,
        started_at=started_at,
        esi=EsiFacts(esi, lambda: fetcher.waiting),
        logins=logins,
        revoker=revoker,
    )
    workers: dict[str, Work] = {
        "consumer": consumer.run,
        "fetcher": fetcher.run,
        "refresher": lambda stopping: refresher.run(ready=_nothing, stop=stopping),
        "revoker": revoker.run,
        "tokens": keeper.run,
        "logins": logins.run,
    }
    progress = {
        "consumer": lambda: consumer.progress,
        "fetcher": lambda: fetcher.progress,
        "refresher": lambda: refresher.heartbeat,
    }
    if producer is not None:
        workers["producer"] = producer.run
        progress["producer"] = lambda: producer.progress
    tenders: dict[str, Tend] = {
        "esi": esi.run,
        "names": names.run,
        "switches": switches.run,
        "member": lambda: member.run(on_lost=lambda: events.tell("refs")),
    }
    tenders["clock"] = ClockWatch(Waits(store), events, clock, esi.clock_was_set).run
    tenders["garbage"] = lambda: garbage.collect(clock, lambda: front.api.busy)
    tenders["probe"] = lambda: keep_probing(store, clock)
    tenders["documents"] = lambda: repair_documents(store, clock)
    lag = LoopLag(clock)
    tenders["lag"] = lag.run
    if broker is not None:
        tenders["broker"] = broker.run
    if not store.exclusive:
        bridge = PeerEvents(store, events, clock)
        tenders["bridge"] = bridge.run
        await stack.enter_async_context(store.listen(bridge.hear))
    front = make_front(
        config,
        clock,
        store=store,
        holder=member.id,
        events=events,
        operations=operations,
        esi=esi,
        consumer=consumer,
        fetcher=fetcher,
        lag=lag,
        started_at=started_at,
    )
    house = App(
        config=config,
        clock=clock,
        store=store,
        events=events,
        health=health,
        operations=operations,
        reading=KillmailSearch(store),
        esi=esi,
        consumer=consumer,
        fetcher=fetcher,
        producer=producer,
        workers=workers,
        tenders=tenders,
        progress=progress,
        front=front,
    )
    tenders["watcher"] = Monitor(
        health=health,
        clock=clock,
        esi=esi,
        space=space,
        sights=MonitorSources(
            problems=keeper.problems,
            broker=lambda: broker.facts().trouble if broker is not None else None,
            database=lambda: store.trouble or fetcher.trouble or consumer.trouble,
            details=lambda: fetcher.waiting,
            storm=lambda: fetcher.storm,
            standing_still=lambda: house.standing_still(STANDS_STILL),
        ),
    ).run
    return house


def _broker(
    config: Config,
    rows: QueueAnnouncements,
    events: Events,
    clock: Clock,
    paused: Callable[[], bool],
    keeper: TokenManager,
) -> AmqpQueue | None:
    """RabbitMQ, where it is configured."""
    queue = config.queue
    if queue.embedded:
        return None
    settings = AmqpSettings(queue.url, queue.name, queue.concurrency, queue.password)
    token_of = keeper.access_token if queue.include_tokens else None
    return AmqpQueue(settings, rows, events, clock, paused, token_of)


class EsiFacts:
    """The door as the operations see it. details: why killmails last had to wait for it."""

    def __init__(self, esi: EsiClient, details: Callable[[], DetailsWait | None]) -> None:
        self._esi = esi
        self._details = details

    def details_wait(self) -> DetailsWait | None:
        """Why killmails that could be fetched are not."""
        return self._details()

    async def budgets(self) -> Sequence[Budget]:
        """Every budget in use, the address's first."""
        views = await self._esi.budgets()
        found = [
            Budget(
                each.group,
                each.character_id,
                each.limit,
                each.remaining,
                round(each.window_seconds),
                datetime.fromtimestamp(each.next_tokens_at, UTC) if each.next_tokens_at else None,
            )
            for each in views
        ]
        return sorted(
            found, key=lambda each: (each.character_id is not None, each.group, each.character_id or 0)
        )

    async def eta(self, details: int) -> float | None:
        """Seconds until that many mails can have been fetched under the budget."""
        return await self._esi.eta(details)

    def downtime(self) -> bool:
        """Whether ESI or the game is known to be down."""
        return self._esi.downtime is not None


def _door_settings(config: Config) -> EsiSettings:
    esi = config.esi
    return EsiSettings(
        base_url=esi.base_url,
        contact=esi.contact,
        compatibility_date=esi.compatibility_date,
        client_id=config.sso.client_id,
        requests_per_second=esi.requests_per_second,
        max_connections=esi.max_connections,
        timeout=esi.timeout,
        egress=esi.egress,
    )


def _nothing() -> None:
    """Nobody waits for this task alone."""
