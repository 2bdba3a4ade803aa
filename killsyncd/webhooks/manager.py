"""All webhooks of a daemon: one deliverer each, begun, changed and ended with the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.config import WebhookConfig
from killsyncd.core.errors import NotFound, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import get_logger
from killsyncd.webhooks.candidates import Parts
from killsyncd.webhooks.deliverer import Deliverer
from killsyncd.webhooks.ports import RENEW_SECONDS

FORGOTTEN_AFTER = 86_400.0
"""Seconds for which nobody delivered for a webhook that this daemon does not know, before its place is
forgotten: another daemon of the database may have it."""

CHANGED = "webhooks"
"""The channel of events that says so."""

log = get_logger(__name__)


@dataclass
class _Running:
    deliverer: Deliverer
    stopping: asyncio.Event
    task: asyncio.Task[None]


class Webhooks:
    """Runs them. `reconfigure` takes over another configuration while it runs.

    exclusive: nobody else can be using the database.
    """

    def __init__(self, configs: Sequence[WebhookConfig], parts: Parts, *, exclusive: bool) -> None:
        self.parts = parts
        self._wanted = {each.name: each for each in configs}
        self._exclusive = exclusive
        self._running: dict[str, _Running] = {}
        self._new_address: set[str] = set()
        self._signal = Wakeup()

    @property
    def configs(self) -> dict[str, WebhookConfig]:
        """The configured ones, by name."""
        return dict(self._wanted)

    def config(self, name: str) -> WebhookConfig:
        """One of them. Raises NotFound."""
        found = self._wanted.get(name) or next(
            (each for each in self._wanted.values() if each.name.lower() == name.lower()), None
        )
        if found is None:
            known = ", ".join(sorted(self._wanted)) or "none: docs/webhooks.md shows how to make one"
            raise NotFound(f"there is no webhook {name!r}", f"the configured ones are: {known}")
        return found

    def deliverer(self, name: str) -> Deliverer:
        """The deliverer of a configured webhook; a new one where its task has not begun."""
        running = self._running.get(name)
        return running.deliverer if running is not None else Deliverer(self.config(name), self.parts)

    def counts(self) -> dict[tuple[str, str], int]:
        """Outcomes of requests since the start of the process, by webhook and verdict."""
        return {
            (name, verdict): number
            for name, each in self._running.items()
            for verdict, number in each.deliverer.counts.items()
        }

    def reconfigure(self, configs: Sequence[WebhookConfig]) -> None:
        """Take over these: new ones begin at the feed's end, removed ones are forgotten."""
        wanted = {each.name: each for each in configs}
        for name, each in wanted.items():
            before = self._wanted.get(name)
            if before is not None and before.url != each.url:
                self._new_address.add(name)
        self._wanted = wanted
        self._signal.ring()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the deliverers that are configured, until `stopping`; requests under way end first."""
        renewing = asyncio.create_task(self._renew())
        try:
            with self._signal.ringing_at(stopping):
                while not stopping.is_set():
                    again = await self._adjust()
                    await self._signal.wait(self.parts.clock, again)
            await self._end(list(self._running))
        finally:
            renewing.cancel()
            for each in self._running.values():
                each.task.cancel()
            await asyncio.gather(
                renewing, *(each.task for each in self._running.values()), return_exceptions=True
            )
            await self.parts.sender.close()

    async def _adjust(self) -> float:
        """Make what runs what is configured; answers when to look again."""
        for each in list(self._running.values()):
            if each.task.done():
                each.task.result()  # what it died of takes the daemon with it
        await self._end(
            [n for n, each in self._running.items() if self._wanted.get(n) != each.deliverer.config]
        )
        try:
            await self._prepare()
        except Unavailable as error:
            log.warning("webhooks wait for the database", reason=error.message)
            return 5.0
        for name, config in self._wanted.items():
            if name not in self._running:
                deliverer, ending = Deliverer(config, self.parts), asyncio.Event()
                task = asyncio.create_task(deliverer.run(ending), name=f"webhook {name}")
                task.add_done_callback(lambda _: self._signal.ring())
                self._running[name] = _Running(deliverer, ending, task)
                log.info("webhook begins", webhook=name, kind=config.kind)
        return 3600.0

    async def _prepare(self) -> None:
        rows = self.parts.rows
        gone = await rows.forget_others(sorted(self._wanted), 0.0 if self._exclusive else FORGOTTEN_AFTER)
        for name in gone:
            log.info("webhook is not configured any more; its place is forgotten", webhook=name)
        for name, config in self._wanted.items():
            if name not in self._running:
                await rows.register(name, config.kind)
        for name in sorted(self._new_address):
            if await rows.resume_stopped(name):
                log.info("webhook has another address and goes on", webhook=name)
        self._new_address.clear()

    async def _end(self, names: Sequence[str]) -> None:
        ending = [self._running[name] for name in names]
        for each in ending:
            each.stopping.set()
        if ending:
            await asyncio.wait([each.task for each in ending])
        for name in names:
            ended = self._running.pop(name)
            if not ended.task.cancelled():
                ended.task.result()

    async def _renew(self) -> None:
        """Say that we live, while a request takes its time."""
        while True:
            await self.parts.clock.sleep(3600.0 if self._exclusive else RENEW_SECONDS)
            try:
                await self.parts.rows.renew()
            except Unavailable as error:
                log.debug("webhooks' leases could not be renewed", reason=error.message)
