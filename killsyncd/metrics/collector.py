"""From a status report and counters to Prometheus' text."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from killsyncd import __version__
from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.tasks import deadline
from killsyncd.esi.client import EsiClient
from killsyncd.metrics import samples
from killsyncd.metrics.loop import LoopLag
from killsyncd.metrics.process import disk_families, process_families
from killsyncd.service import StatusReport
from killsyncd.service.measures import Measures
from killsyncd.service.operations import Operations
from killsyncd.service.ports import MeasuredRows
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher

CONTENT_TYPE = CONTENT_TYPE_LATEST

DATABASE_SECONDS = 5.0
"""How long the database is waited for: Prometheus gives up after ten."""

KEPT = 1.0
"""Seconds for which one answer serves everybody who asks."""

MOST_GROUPS = 20
"""Groups come from ESI's headers: what is beyond so many shows as `other`."""


@dataclass(frozen=True, slots=True)
class MetricSources:
    """What is counted and measured by others. transactions: on the database since the start, by kind.

    zkillboard: requests to it since the start, by what was asked for and status; None where it is off.
    """

    operations: Operations
    rows: MeasuredRows
    esi: EsiClient
    consumer: Consumer
    fetcher: Fetcher
    lag: LoopLag
    transactions: Callable[[], Mapping[str, int]]
    webhooks: WebhookMeasures | None = None
    zkillboard: Mapping[tuple[str, str], int] | None = None


class WebhookMeasures(Protocol):
    """What is measured of webhooks (`WebhookOperations`)."""

    def counts(self) -> dict[tuple[str, str], int]: ...
    async def waiting(self) -> dict[str, int]: ...


class Metrics:
    """Everything there is to measure. One a process.

    database: folder of the database's file, None where it lies on another machine.
    started_at: of the process, seconds since 1970.
    """

    def __init__(
        self,
        sources: MetricSources,
        clock: Clock,
        *,
        started_at: float,
        database: Path | None = None,
        version: str = __version__,
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._started_at = started_at
        self._database = database
        self._version = version
        self._rendering = asyncio.Lock()
        self._text = b""
        self._rendered_at: float | None = None

    async def render(self) -> bytes:
        """The text that `/metrics` answers, a second old at most.

        Never raises because of the database: where it does not answer, what it knows is left out and
        `killsyncd_database_up` is 0.
        """
        async with self._rendering:
            now = self._clock.monotonic()
            if self._rendered_at is None or now - self._rendered_at >= KEPT:
                self._text = generate_latest(_Families(list(await self._gather())))
                self._rendered_at = now
            return self._text

    async def _gather(self) -> Iterable[Metric]:
        report, measures, waiting = await asyncio.gather(self._report(), self._measured(), self._waiting())
        families = [*self._own(), *self._esi_families(), *process_families(self._started_at)]
        families.append(
            gauge(
                "killsyncd_database_up",
                "1 while the database answers.",
                float(report is not None and measures is not None),
            )
        )
        if self._database is not None:
            families.extend(disk_families(self._database))
        if report is not None:
            families.extend(samples.of_report(report))
        if measures is not None:
            families.extend(samples.of_measures(measures))
        if self._sources.zkillboard is not None:
            families.append(samples.of_zkillboard(self._sources.zkillboard))
        if self._sources.webhooks is not None:
            families.extend(samples.of_webhooks(self._sources.webhooks.counts(), waiting))
        return families

    async def _report(self) -> StatusReport | None:
        try:
            return await self._sources.operations.status()
        except Unavailable:
            return None

    async def _measured(self) -> Measures | None:
        try:
            async with deadline(DATABASE_SECONDS):
                return await self._sources.rows.measure()
        except Unavailable:
            return None

    async def _waiting(self) -> dict[str, int] | None:
        if self._sources.webhooks is None:
            return None
        try:
            async with deadline(DATABASE_SECONDS):
                return await self._sources.webhooks.waiting()
        except Unavailable:
            return None

    def _own(self) -> Iterator[Metric]:
        """What this process counts itself."""
        info = GaugeMetricFamily(
            "killsyncd_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        info.add_metric([self._version, platform.python_version()], 1)
        yield info
        finished = CounterMetricFamily(
            "killsyncd_jobs_finished",
            "Jobs worked off: `done`, or `failed` and to be tried again.",
            labels=["result"],
        )
        finished.add_metric(["done"], self._sources.consumer.jobs_done)
        finished.add_metric(["failed"], self._sources.consumer.jobs_failed)
        yield finished
        for name, text, value in (
            ("killsyncd_killmails_stored", "Killmails stored.", self._sources.fetcher.stored),
            (
                "killsyncd_killmails_quarantined",
                "Killmails put into quarantine.",
                self._sources.fetcher.quarantined,
            ),
            (
                "killsyncd_fetches_failed",
                "Fetches of a killmail that failed; all but quarantined ones are tried again.",
                self._sources.fetcher.failed,
            ),
        ):
            yield CounterMetricFamily(name, text, value=value)
        transactions = CounterMetricFamily(
            "killsyncd_database_transactions",
            "Transactions begun on the database: `read` or `write`.",
            labels=["kind"],
        )
        for kind, count in self._sources.transactions().items():
            transactions.add_metric([kind], count)
        yield transactions
        lag = HistogramMetricFamily(
            "killsyncd_event_loop_lag_seconds", "By how much a timer of one second rang late."
        )
        lag.add_metric([], self._sources.lag.buckets(), self._sources.lag.sum)
        yield lag

    def _esi_families(self) -> Iterator[Metric]:
        stats = self._sources.esi.stats
        yield _counted(
            "killsyncd_esi_requests",
            "Requests to ESI by rate-limit group and how they ended.",
            "status",
            stats.requests.items(),
        )
        yield _counted(
            "killsyncd_esi_withheld",
            "Requests that were wanted and not sent: no tokens, `Expires`, downtime.",
            "reason",
            stats.refused.items(),
        )
        yield CounterMetricFamily(
            "killsyncd_esi_budget_wait_seconds",
            "Time that was spent waiting for tokens of the details' window.",
            value=self._sources.fetcher.waited,
        )
        yield gauge(
            "killsyncd_esi_requests_in_flight", "Requests that were sent and not answered.", stats.in_flight
        )
        yield gauge(
            "killsyncd_esi_clock_offset_seconds",
            "By how much this machine's clock is behind ESI's.",
            self._sources.esi.clock_offset,
        )


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def _counted(
    name: str, text: str, label: str, counts: Iterable[tuple[tuple[str, str], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["group", label])
    shown = bounded()
    sums: dict[tuple[str, str], int] = {}
    for (group, what), count in counts:
        key = shown(group), what
        sums[key] = sums.get(key, 0) + count
    for (group, what), count in sums.items():
        family.add_metric([group, what], count)
    return family


def bounded() -> Callable[[str], str]:
    """Names of groups as labels: the first MOST_GROUPS, and `other` for what is beyond."""
    seen: set[str] = set()

    def shown(group: str) -> str:
        if group in seen or len(seen) < MOST_GROUPS:
            seen.add(group)
            return group
        return "other"

    return shown


class _Families(Collector):
    """Families that were gathered already, as prometheus-client wants to be given them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
