"""What values killmails: CCP's static data, prices, and the task that puts both to use."""

from __future__ import annotations

from killsyncd import user_agent
from killsyncd.config import Config
from killsyncd.core.background import STATIC_DATA
from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.static_data.task import StaticDataSettings, StaticDataTask
from killsyncd.storage.repositories.background import BackgroundTasks
from killsyncd.storage.repositories.static_data import StaticDataRepository
from killsyncd.storage.transaction import Store


def background_tasks(config: Config) -> frozenset[str]:
    """The tasks that this configuration switches on."""
    return frozenset({STATIC_DATA} if config.static_data.enabled else ())


def build_static_data(runtime: Runtime, tasks: Tasks, store: Store, holder: str) -> None:
    """The task that keeps the static data up to date, where it is switched on. holder: this daemon's id."""
    config = runtime.config
    if not config.static_data.enabled:
        return
    task = StaticDataTask(
        StaticDataSettings(config.static_data.url, config.state_directory, user_agent(config.esi.contact)),
        StaticDataRepository(store),
        BackgroundTasks(store, holder),
        runtime.clock,
        runtime.rng,
        lambda: runtime.events.tell("static-data"),
    )
    tasks.background["static-data"] = task.run
