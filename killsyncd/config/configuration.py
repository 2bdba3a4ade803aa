"""The configuration as a whole: its sections, and the keys that each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from killsyncd.config.keys import Key
from killsyncd.core.sources import KILLMAIL_SCOPE as KILLMAIL_SCOPE

if TYPE_CHECKING:
    from killsyncd.config.webhooks import WebhookConfig
from killsyncd.config.schema import (
    ApiConfig,
    ControlConfig,
    CorporationsConfig,
    DatabaseConfig,
    EsiConfig,
    HistoryConfig,
    LogConfig,
    PricesConfig,
    ProducerConfig,
    QueueConfig,
    RefresherConfig,
    SecurityConfig,
    SsoConfig,
    StaticDataConfig,
    ZkillboardConfig,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A configuration that holds.

    source: what it was read from, for people. webhooks: one a table `[[webhooks]]`.
    origins: `section.key` to where its value came from; keys that are at their default are absent.
    state_directory, runtime_directory: `$STATE` and `$RUNTIME`; neither need exist yet.
    """

    sso: SsoConfig
    esi: EsiConfig
    database: DatabaseConfig
    queue: QueueConfig
    producer: ProducerConfig
    corporations: CorporationsConfig
    refresher: RefresherConfig
    static_data: StaticDataConfig
    prices: PricesConfig
    zkillboard: ZkillboardConfig
    history: HistoryConfig
    api: ApiConfig
    control: ControlConfig
    security: SecurityConfig
    log: LogConfig
    source: str
    state_directory: Path
    runtime_directory: Path
    webhooks: tuple[WebhookConfig, ...] = ()
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "sso": SsoConfig,
        "esi": EsiConfig,
        "database": DatabaseConfig,
        "queue": QueueConfig,
        "producer": ProducerConfig,
        "corporations": CorporationsConfig,
        "refresher": RefresherConfig,
        "static_data": StaticDataConfig,
        "prices": PricesConfig,
        "zkillboard": ZkillboardConfig,
        "history": HistoryConfig,
        "api": ApiConfig,
        "control": ControlConfig,
        "security": SecurityConfig,
        "log": LogConfig,
    }
)


def keys_of(section: str) -> dict[str, Key]:
    """The keys of a section, in their order."""
    fields = SECTIONS[section].__dataclass_fields__
    return {name: each.metadata["key"] for name, each in fields.items() if "key" in each.metadata}
