"""zKillboard: which mails our pilots were on beside those that ESI lists. Nothing is made where it is off."""

from __future__ import annotations

from killsyncd import user_agent
from killsyncd.config import Config
from killsyncd.core.background import ZKILLBOARD, ZKILLBOARD_STREAM
from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.storage.repositories.background import BackgroundTasks
from killsyncd.storage.repositories.zkillboard import ZkillboardRepository
from killsyncd.storage.transaction import Store
from killsyncd.zkillboard.client import ZkillboardClient
from killsyncd.zkillboard.lists import ListsTask
from killsyncd.zkillboard.settings import ZkillboardSettings
from killsyncd.zkillboard.stream import StreamTask
from killsyncd.zkillboard.walk import Reading


def zkillboard_tasks(config: Config) -> frozenset[str]:
    """The tasks that this configuration switches on."""
    if not config.zkillboard.enabled:
        return frozenset()
    return frozenset({ZKILLBOARD, ZKILLBOARD_STREAM} if config.zkillboard.stream else {ZKILLBOARD})


async def build_zkillboard(
    runtime: Runtime, tasks: Tasks, store: Store, holder: str, reading: Reading
) -> ZkillboardClient | None:
    """The tasks that read its lists and its stream, and what they ask through. holder: this daemon's id."""
    config, clock, rng = runtime.config, runtime.clock, runtime.rng
    subjects, rows = ZkillboardRepository(store), BackgroundTasks(store, holder)
    await subjects.switch(on=config.zkillboard.enabled)
    if not config.zkillboard.enabled:
        return None
    settings = ZkillboardSettings(
        api_url=config.zkillboard.api_url,
        stream_url=config.zkillboard.stream_url,
        user_agent=user_agent(config.esi.contact),
        stream=config.zkillboard.stream,
        corporations=config.corporations.enabled,
    )
    client = ZkillboardClient(settings, clock)
    runtime.stack.push_async_callback(client.close)
    lists = ListsTask(settings, client, subjects, rows, clock, rng, reading)
    tasks.background["zkillboard"] = lists.run
    if settings.stream:
        tasks.background["zkillboard-stream"] = StreamTask(client, subjects, rows, clock, rng, reading).run
    return client
