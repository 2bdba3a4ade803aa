"""Webhooks of a daemon in a process of their own, to be killed at any moment.

    python -m tests.support.webhook_process DATABASE BASE FOLDER TABLES

DATABASE: a SQLite file, or a PostgreSQL address. BASE: of the targets. TABLES: `[[webhooks]]` as JSON. Runs
until it is ended by a signal.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from killsyncd.core.clock import SystemClock
from killsyncd.core.events import Events
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.webhook_mails import WebhookMailRepository
from killsyncd.storage.repositories.webhooks import WebhookRepository
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.webhooks.candidates import Hush, Lease, Parts
from killsyncd.webhooks.http import WebhookSender
from killsyncd.webhooks.manager import Webhooks
from tests.support.webhook_world import FASTEST, Documents, configs, pace_of


async def main(database: str, base: str, folder: str, tables: str) -> None:
    """Deliver until the end."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store: SqliteStore | PostgresStore
        if database.startswith("postgresql:"):
            store = await PostgresStore.open(database)
        else:
            store = await SqliteStore.open(Path(database), clock)
        stack.push_async_callback(store.close)
        member = await Membership.join(store, clock, egress="default", version="0")
        parts = Parts(
            rows=WebhookRepository(store, member.id),
            mails=WebhookMailRepository(store),
            reading=KillmailSearch(store),
            documents=Documents(),
            sender=WebhookSender(),
            events=Events(),
            clock=clock,
            rng=random.Random(),
            lease=Lease(clock, store.exclusive),
            hush=Hush(clock),
            pace=pace_of(FASTEST),
            first_back_off=0.1,
        )
        webhooks = Webhooks(configs(Path(folder), base, *json.loads(tables)), parts)
        print("begun", flush=True)
        await asyncio.gather(webhooks.run(asyncio.Event()), member.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
