"""Webhooks over a real store, against a Discord and a receiver that enforce what the real ones do."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from killsyncd.config import WebhookConfig, from_mapping
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.webhooks import Rates, TakenMessage, WebhookTargets
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.webhook_mails import WebhookMailRepository
from killsyncd.storage.repositories.webhooks import WebhookRepository
from killsyncd.webhooks.candidates import Hush, Lease, Parts
from killsyncd.webhooks.http import WebhookSender
from killsyncd.webhooks.manager import Webhooks
from killsyncd.webhooks.model import PaceWindow
from tests.support.api_world import ApiWorld
from tests.support.daemon import PATIENCE

FAST = Rates((5, 0.2), (30, 1.5))
"""A Discord that is ten times and more as quick as the real one."""

FASTEST = Rates((5, 0.1), (30, 0.5))
"""As quick as tests with thousands of mails need it."""

SECRET = "whsec_" + "c2lnbmVkLWJ5LWtpbGxzeW5jZC10ZXN0cy0wMTIzNDU="


def pace_of(rates: Rates) -> dict[str, tuple[PaceWindow, ...]]:
    """The pace that a client keeps towards such a Discord."""
    discord = (PaceWindow(*rates.webhook), PaceWindow(*rates.channel, shared=True))
    return {"discord": discord, "json": (), "zkillboard": ()}


@asynccontextmanager
async def serving(targets: WebhookTargets) -> AsyncIterator[str]:
    """The targets on a port of loopback; answers the base address."""
    runner = web.ServerRunner(web.Server(targets.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        targets.closing.set()
        await runner.cleanup()


class Documents:
    """Stands for GraphQL where a test has none."""

    async def of(self, killmail_id: int) -> Mapping[str, Any]:
        return {"id": str(killmail_id)}


def configs(folder: Path, base: str, *tables: Mapping[str, Any]) -> tuple[WebhookConfig, ...]:
    """Webhooks as the configuration has them. `path`: of the address below base, kept in a file."""
    made = []
    for each in tables:
        table = dict(each)
        path = (
            table.pop("path", None)
            or {
                "discord": f"/api/webhooks/{100 + len(made)}/token",
                "json": f"/webhook-receiver/{table['name']}",
                "zkillboard": "/zkillboard/api",
            }[table["kind"]]
        )
        table["url_file"] = str(secret_file(folder / f"{table['name']}.url", base + path))
        if table.pop("signed", False):
            table["secret_file"] = str(secret_file(folder / f"{table['name']}.secret", SECRET))
        made.append(table)
    document = {"sso": {"client_id": "x"}, "esi": {"contact": "tests@killsyncd.invalid"}, "webhooks": made}
    return from_mapping(document).webhooks


def secret_file(path: Path, content: str) -> Path:
    """A file that nobody else may read."""
    path.write_text(content + "\n")
    path.chmod(0o600)
    return path


@dataclass
class WebhookWorld:
    """A store with mails, webhooks of one daemon over it, and whom they send to."""

    api: ApiWorld
    targets: WebhookTargets
    base: str
    folder: Path
    rows: WebhookRepository
    mails: WebhookMailRepository
    parts: Parts
    sent: list[TakenMessage] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, store: Migratable, api: ApiWorld, folder: Path, targets: WebhookTargets | None = None
    ) -> AsyncIterator[WebhookWorld]:
        """Join the database, and let the targets listen."""
        targets = targets or WebhookTargets(SimClock(), FAST)
        member = await Membership.join(store, api.clock, egress="default", version="0")
        rows, mails = WebhookRepository(store, member.id), WebhookMailRepository(store)
        sender = WebhookSender()
        parts = Parts(
            rows=rows,
            mails=mails,
            reading=api.reading,
            documents=Documents(),
            sender=sender,
            events=api.events,
            clock=api.clock,
            rng=random.Random(1),
            lease=Lease(api.clock, store.exclusive),
            hush=Hush(api.clock),
            pace=pace_of(targets.rates),
        )
        async with serving(targets) as base:
            try:
                yield cls(api, targets, base, folder, rows, mails, parts)
            finally:
                await sender.close()

    def configs(self, *tables: Mapping[str, Any]) -> tuple[WebhookConfig, ...]:
        """Webhooks that send to the targets."""
        return configs(self.folder, self.base, *tables)

    @asynccontextmanager
    async def running(self, *tables: Mapping[str, Any]) -> AsyncIterator[Webhooks]:
        """Run these until the block ends; it begins when each has its place in the feed."""
        webhooks = Webhooks(self.configs(*tables), self.parts)
        stopping = asyncio.Event()
        task = asyncio.create_task(webhooks.run(stopping))
        names = {str(each["name"]) for each in tables}
        try:
            await self.until(lambda: self._known(names), task)
            yield webhooks
        finally:
            stopping.set()
            await task

    async def _known(self, names: set[str]) -> bool:
        return names <= {each.name for each in await self.rows.all()}

    async def until(self, holds: Any, task: asyncio.Task[Any] | None = None, within: float = 30.0) -> None:
        """Ask until it holds (a function or a coroutine function). Raises TimeoutError."""
        async with asyncio.timeout(within * PATIENCE):
            while True:
                answer = holds()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return
                if task is not None and task.done():
                    task.result()
                await asyncio.sleep(0.02)

    def taken(self, hook: str) -> list[int]:
        """Killmail ids that a target took, in its order."""
        return [killmail_of(each) for each in self.targets.taken if each.hook == hook]

    async def settled(self, name: str, position: int | None = None, within: float = 30.0) -> None:
        """Until a webhook is at the feed's end."""

        async def there() -> bool:
            for each in await self.rows.all():
                if each.name == name:
                    return each.position >= (each.feed_end if position is None else position)
            return False

        await self.until(there, within=within)

    async def add_fresh(self, number: int, **more: Any) -> list[int]:
        """Store mails that count as fresh."""
        return [each.killmail_id for each in await self.api.add_some(number, fresh=True, **more)]


def killmail_of(message: TakenMessage) -> int:
    """The killmail that a message is about."""
    body = message.body
    if "embeds" in body:
        return int(body["embeds"][0]["footer"]["text"].split(" ")[1])
    if "killmail_id" in body:
        return int(body["killmail_id"])
    with contextlib.suppress(KeyError, ValueError):
        return int(body["data"]["id"])
    return 0
