"""What the metrics need of others, as small Protocols. The daemon wires them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from killsyncd.service import StatusReport
from killsyncd.service.measures import Measures


class Reports(Protocol):
    """`operations.Operations`."""

    async def status(self) -> StatusReport: ...


class MeasuredRows(Protocol):
    """The database (`storage/measuring.py`)."""

    async def measure(self) -> Measures: ...


class EsiStatsView(Protocol):
    """Counters of ESI's door since the start (`esi.asking.Stats`)."""

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """By (group, status class)."""

    @property
    def refused(self) -> Mapping[tuple[str, str], int]:
        """What was asked of the door and not sent, by (group, reason)."""

    @property
    def in_flight(self) -> int:
        """Requests that were sent and not answered."""


class EsiMetrics(Protocol):
    """ESI's door (`esi.door.Door`)."""

    @property
    def stats(self) -> EsiStatsView: ...

    @property
    def clock_offset(self) -> float:
        """Seconds that this machine's clock is behind ESI's."""


class ConsumerMetrics(Protocol):
    """The consumer's counters since the start."""

    jobs_done: int
    jobs_failed: int


class FetcherMetrics(Protocol):
    """The fetcher's counters since the start."""

    waited: float
    """Seconds that mails waited for tokens."""

    @property
    def stored(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def quarantined(self) -> int: ...
