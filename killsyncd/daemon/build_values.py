"""What values killmails: CCP's static data, prices, and the task that puts both to use."""

from __future__ import annotations

from killsyncd import user_agent
from killsyncd.config import Config
from killsyncd.core.background import HISTORY, PRICES, STATIC_DATA
from killsyncd.daemon.runtime import Runtime, Tasks
from killsyncd.esi.client import EsiClient
from killsyncd.pricing.esi_prices import EsiPrices
from killsyncd.pricing.history import HistorySettings, MarketHistory
from killsyncd.pricing.stacks import StackPrices
from killsyncd.pricing.valuer import Valuer
from killsyncd.static_data.task import StaticDataSettings, StaticDataTask
from killsyncd.storage.repositories.background import BackgroundTasks
from killsyncd.storage.repositories.prices import PriceRepository
from killsyncd.storage.repositories.static_data import StaticDataRepository
from killsyncd.storage.repositories.values import ValueRepository
from killsyncd.storage.transaction import Store


def background_tasks(config: Config) -> frozenset[str]:
    """The tasks that this configuration switches on."""
    switches = {
        STATIC_DATA: config.static_data.enabled,
        PRICES: config.prices.enabled,
        HISTORY: config.prices.history,
    }
    return frozenset(name for name, on in switches.items() if on)


def build_values(
    runtime: Runtime, tasks: Tasks, store: Store, holder: str, esi: EsiClient
) -> tuple[Valuer, StackPrices]:
    """Make the tasks that are switched on, the valuer, which takes what prices there are, and what tells of
    single items.

    holder: this daemon's id.
    """
    config, clock, rng, events = runtime.config, runtime.clock, runtime.rng, runtime.events
    rows, prices, values = (
        BackgroundTasks(store, holder),
        PriceRepository(store),
        ValueRepository(store, holder),
    )
    agent, on = user_agent(config.esi.contact), background_tasks(config)

    def prices_came() -> None:
        events.tell("prices")

    if STATIC_DATA in on:
        settings = StaticDataSettings(config.static_data.url, config.state_directory, agent)
        tables = StaticDataRepository(store)
        static = StaticDataTask(settings, tables, rows, clock, rng, lambda: events.tell("static-data"))
        tasks.background["static-data"] = static.run
    if PRICES in on:
        tasks.background["prices"] = EsiPrices(esi, prices, rows, clock, rng, prices_came).run
    if HISTORY in on:
        archive = HistorySettings(config.prices.history_url, agent)
        history = MarketHistory(archive, prices, values, rows, clock, rng, prices_came)
        tasks.background["market-history"] = history.run
    valuer = Valuer(
        values,
        prices,
        clock,
        overrides=config.prices.overrides_file,
        report=runtime.health.report,
        clear=runtime.health.clear,
        valued=lambda: events.tell("values"),
    )
    stacks = StackPrices(prices, values, clock, lambda: valuer.overrides)
    for channel in ("feed", "prices", "static-data"):
        events.on(channel, valuer.wake)
    tasks.background["values"] = valuer.run
    return valuer, stacks
