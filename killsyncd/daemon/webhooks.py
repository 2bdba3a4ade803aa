"""Webhooks of a daemon, made of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from killsyncd import user_agent
from killsyncd.core.errors import Unavailable
from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.service.webhooks import WebhookOperations
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.webhook_mails import WebhookMailRepository
from killsyncd.storage.repositories.webhooks import WebhookRepository
from killsyncd.storage.transaction import Store
from killsyncd.webhooks.candidates import Hush, Lease, Parts
from killsyncd.webhooks.http import WebhookSender
from killsyncd.webhooks.manager import Webhooks
from killsyncd.webhooks.ports import MailDocuments


class LateDocuments:
    """Mails as GraphQL gives them, once there is a GraphQL: the API is made after the webhooks that it
    shows.
    """

    def __init__(self) -> None:
        self.source: MailDocuments | None = None

    async def of(self, killmail_id: int) -> Mapping[str, Any]:
        """A mail. Raises Unavailable, NotFound."""
        if self.source is None:
            raise Unavailable("the daemon is starting", "try again in a moment")
        return await self.source.of(killmail_id)


def build_webhooks(
    runtime: Runtime, tasks: Tasks, store: Store, holder: str, documents: MailDocuments
) -> tuple[Webhooks, WebhookOperations]:
    """The task that delivers, and its use cases."""
    config = runtime.config
    reading = KillmailSearch(store)
    webhooks = Webhooks(
        config.webhooks,
        Parts(
            rows=WebhookRepository(store, holder),
            mails=WebhookMailRepository(store),
            reading=reading,
            documents=documents,
            sender=WebhookSender(),
            events=runtime.events,
            clock=runtime.clock,
            rng=runtime.rng,
            lease=Lease(runtime.clock, store.exclusive),
            hush=Hush(runtime.clock),
            public_url=config.api.public_url,
            agent=user_agent(config.esi.contact),
            zkillboard_url=config.zkillboard.api_url,
            values=config.prices.enabled,
            static_comes=config.static_data.enabled,
        ),
    )
    operations = WebhookOperations(webhooks, reading, runtime.health, runtime.clock)
    tasks.workers["webhooks"] = webhooks.run
    tasks.background["webhooks-health"] = operations.run
    return webhooks, operations
