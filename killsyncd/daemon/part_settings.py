"""What the configuration says, as each part of a daemon takes it."""

from __future__ import annotations

from killsyncd.config import Config
from killsyncd.core.sources import CORPORATION_SCOPE
from killsyncd.esi.settings import EsiSettings
from killsyncd.sync.settings import ConsumerSettings, ProducerSettings


def esi_settings(config: Config) -> EsiSettings:
    """For `EsiClient`."""
    esi = config.esi
    return EsiSettings(
        base_url=esi.base_url,
        contact=esi.contact,
        compatibility_date=esi.compatibility_date,
        client_id=config.sso.client_id,
        requests_per_second=esi.requests_per_second,
        max_connections=esi.max_connections,
        timeout=esi.timeout,
        egress=esi.egress,
    )


def login_scopes(config: Config) -> tuple[str, ...]:
    """What a pilot is asked for at the SSO."""
    scopes = config.sso.scopes
    if config.corporations.enabled and CORPORATION_SCOPE not in scopes:
        return (*scopes, CORPORATION_SCOPE)
    return scopes


def consumer_settings(config: Config) -> ConsumerSettings:
    """For `Consumer`."""
    producer = config.producer
    return ConsumerSettings(
        concurrency=config.queue.concurrency,
        max_pages=producer.max_pages,
        full_walk=producer.full_walk,
        interval=producer.interval,
    )


def producer_settings(config: Config) -> ProducerSettings:
    """For `Producer`."""
    producer = config.producer
    return ProducerSettings(
        interval=producer.interval, min_age=producer.min_age, active_for=producer.active_for
    )
