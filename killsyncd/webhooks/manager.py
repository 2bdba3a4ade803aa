"""All webhooks of a daemon: one deliverer each, begun, changed and ended with the configuration."""

from __future__ import annotations

import asyncio
import hashlib
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

QUIET_LOOK = 60.0
"""Seconds after which all are looked at where nobody else can have changed anything."""

log = get_logger(__name__)


@dataclass
class _Running:
    deliverer: Deliverer
    stopping: asyncio.Event
    task: asyncio.Task[None]


class Webhooks:
    """Runs them. `reconfigure` takes over another configuration while it runs."""

    def __init__(self, configs: Sequence[WebhookConfig], parts: Parts) -> None:
        self.parts = parts
        self._wanted = {each.name: each for each in configs}
        self._running: dict[str, _Running] = {}
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
        self._wanted = {each.name: each for each in configs}
        self._signal.ring()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the deliverers that are configured, until `stopping`; requests under way end first."""
        watching = asyncio.create_task(self._watch())
        try:
            with self._signal.ringing_at(stopping):
                while not stopping.is_set():
                    again = await self._adjust()
                    await self._signal.wait(self.parts.clock, again)
            await self._end()
        finally:
            watching.cancel()
            for each in self._running.values():
                each.task.cancel()
            await asyncio.gather(
                watching, *(each.task for each in self._running.values()), return_exceptions=True
            )
            await self.parts.sender.close()

    async def _adjust(self) -> float:
        """Make what runs what is configured; answers when to look again.

        One whose request is still under way goes on by itself when that has ended, and holds up no other.
        """
        for name, each in list(self._running.items()):
            if each.task.done():
                each.task.result()  # what it died of takes the daemon with it
                del self._running[name]
            elif self._wanted.get(name) != each.deliverer.config:
                each.stopping.set()
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
        silent = 0.0 if self.parts.lease.exclusive else FORGOTTEN_AFTER
        gone = await rows.forget_others(sorted(self._wanted), silent)
        for name, waiting in gone.items():
            log.info(
                "webhook is not configured any more; its place is forgotten", webhook=name, unsettled=waiting
            )
        for name, config in self._wanted.items():
            running = self._running.get(name)
            if running is not None and running.deliverer.config != config:
                continue  # what it was has not ended yet
            # Also those that run: somebody else may have forgotten one while we were away from the database.
            if await rows.register(name, config.kind, address_mark(config)):
                log.info("webhook has another address and goes on", webhook=name)

    async def _end(self) -> None:
        tasks = [each.task for each in self._running.values()]
        for each in self._running.values():
            each.stopping.set()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _watch(self) -> None:
        """Say that we live, while a request takes its time, and look after all that sleep.

        One query for all of them, however many: what they were told of by events they know already.
        """
        rows, lease = self.parts.rows, self.parts.lease
        while True:
            if self._wanted:
                try:
                    if not lease.exclusive:
                        sent = self.parts.clock.monotonic()
                        await rows.renew()
                        lease.renewed_at = sent
                    for each in await rows.all():
                        if each.name in self._running:
                            self._running[each.name].deliverer.look(each)
                except Unavailable as error:
                    log.debug("webhooks could not be looked at", reason=error.message)
            await self.parts.clock.sleep(QUIET_LOOK if lease.exclusive else RENEW_SECONDS)


def address_mark(config: WebhookConfig) -> int:
    """By what another address, or another secret, is noticed: too little of a digest to tell which."""
    known = [each.reveal() if each is not None else "" for each in (config.url, config.secret)]
    digest = hashlib.sha256("\0".join([config.kind, *known]).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:2], "big")
