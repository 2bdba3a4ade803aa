"""Corporations' lists: who of our pilots is where, and whose token reads what."""

from __future__ import annotations

from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.esi.client import EsiClient
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.transaction import Store
from killsyncd.sync.corporations import Corporations


async def build_corporations(runtime: Runtime, tasks: Tasks, store: Store, esi: EsiClient) -> None:
    """The task that looks after them, where the configuration wants them."""
    rows = CorporationRepository(store)
    await rows.switch(on=runtime.config.corporations.enabled)
    if not runtime.config.corporations.enabled:
        return
    corporations = Corporations(
        esi=esi,
        rows=rows,
        sources=SourceRepository(store),
        events=runtime.events,
        clock=runtime.clock,
        skip_within=runtime.config.queue.skip_within,
    )
    tasks.background["corporations"] = corporations.run
