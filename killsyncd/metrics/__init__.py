"""Metrics for Prometheus: gathered when somebody asks, from one status report and a few counters.

    lag = LoopLag(clock)                    # a tender: runs until cancelled
    metrics = Metrics(operations=..., rows=Measuring(store), door=..., lag=lag, ...)
    text = await metrics.render()           # what /metrics answers, with CONTENT_TYPE

Labels are bounded: groups of ESI's limits, states, codes, priorities. No character is a label.
docs/metrics.md lists every name; a test compares it with what comes out. Knows service and core; what it
counts comes through its ports.
"""

from __future__ import annotations

from killsyncd.metrics.collector import CONTENT_TYPE, Metrics
from killsyncd.metrics.loop import LoopLag
from killsyncd.metrics.ports import (
    ConsumerMetrics,
    EsiMetrics,
    EsiStatsView,
    FetcherMetrics,
    MeasuredRows,
    Reports,
)

__all__ = [
    "CONTENT_TYPE",
    "ConsumerMetrics",
    "EsiMetrics",
    "EsiStatsView",
    "FetcherMetrics",
    "LoopLag",
    "MeasuredRows",
    "Metrics",
    "Reports",
]
