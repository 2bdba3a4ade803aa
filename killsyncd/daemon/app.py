"""A running daemon from outside: its parts, whether they get on, what a reload changes. `build` makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from killsyncd.config import Config
from killsyncd.core.clock import Clock
from killsyncd.core.errors import ConfigError
from killsyncd.core.events import Events
from killsyncd.core.text import count
from killsyncd.daemon.part_settings import consumer_settings, producer_settings
from killsyncd.daemon.reload import WEBHOOKS
from killsyncd.daemon.runtime import Tasks
from killsyncd.daemon.servers import Servers
from killsyncd.esi.client import EsiClient
from killsyncd.pricing.valuer import Valuer
from killsyncd.service.health import Health
from killsyncd.service.operations import Operations
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.transaction import Store
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher
from killsyncd.sync.producer import Producer
from killsyncd.webhooks.manager import Webhooks

STANDS_STILL = 180.0
"""Seconds without progress after which a task is stuck: the slowest request ends far sooner."""


@dataclass
class App:
    """A daemon's parts, as far as somebody outside needs them. addresses: where it listens, by server."""

    config: Config
    clock: Clock
    store: Store
    events: Events
    health: Health
    operations: Operations
    reading: KillmailSearch
    esi: EsiClient
    consumer: Consumer
    fetcher: Fetcher
    producer: Producer | None
    webhooks: Webhooks
    valuer: Valuer
    tasks: Tasks
    servers: Servers
    addresses: dict[str, str] = field(default_factory=dict)

    def no_progress(self) -> str | None:
        """What stands still, as the watchdog means it: a task, or a database that somebody keeps locked.

        A full disk or a server that is away is no reason: a new start would not change it.
        """
        if self.store.stuck:
            return "database"
        return self.tasks.standing_still(self.clock.monotonic(), STANDS_STILL)

    def status_line(self) -> str:
        """What the daemon is doing, in a line."""
        if self.esi.downtime is not None:
            return "waiting for EVE to come back"
        busy = f"{count(self.consumer.working, 'list')} and {count(self.fetcher.in_flight, 'mail')} under way"
        return f"{busy}, {count(self.fetcher.stored, 'killmail')} stored since the start"

    def appliers(self) -> dict[str, Callable[[Config], None]]:
        """By `section.key`, how a running daemon takes over another value (SIGHUP)."""

        def consume(config: Config) -> None:
            self.consumer.reconfigure(consumer_settings(config))

        def produce(config: Config) -> None:
            if self.producer is not None:
                self.producer.reconfigure(producer_settings(config))
            consume(config)

        def skip(config: Config) -> None:
            self.operations.skip_within = config.queue.skip_within

        return {
            "producer.interval": produce,
            "producer.min_age": produce,
            "producer.active_for": produce,
            "producer.full_walk": consume,
            "producer.max_pages": consume,
            "queue.skip_within": skip,
            WEBHOOKS: lambda config: self.webhooks.reconfigure(config.webhooks),
            "prices.overrides_file": self._read_overrides,
        }

    def rereaders(self) -> list[Callable[[Config], None]]:
        """What is read again at each reload, also where its key stayed the same."""
        return [self._read_overrides]

    def reload_told(self, error: ConfigError | None) -> None:
        """The configuration was read again, or could not be."""
        if error is None:
            self.health.clear("reload_refused")
            return
        first = " ".join(line.strip() for line in error.message.strip().splitlines()[:2])
        self.health.report("reload_refused", f"the configuration was not reloaded: {first}")

    def _read_overrides(self, config: Config) -> None:
        self.valuer.read_again(config.prices.overrides_file)

    async def listen(self, stack: AsyncExitStack, environ: Mapping[str, str]) -> None:
        """Begin to listen. Raises AlreadyRunning, Refused."""
        self.addresses = await self.servers.open(stack, environ)
