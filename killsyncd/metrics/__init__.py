"""Metrics for Prometheus: gathered when somebody asks, from one status report and a few counters.

    lag = LoopLag(clock)                    # a background task: runs until cancelled
    metrics = Metrics(MetricSources(operations, MetricsRepository(store), esi, ..., lag), clock, ...)
    text = await metrics.render()           # what /metrics answers, with CONTENT_TYPE

Labels are bounded: groups of ESI's limits, states, codes, priorities. No character is a label.
docs/metrics.md lists every name; a test compares it with what comes out. Knows service, sync, esi and core.
"""

from __future__ import annotations

from killsyncd.metrics.collector import CONTENT_TYPE, Metrics, MetricSources
from killsyncd.metrics.loop import LoopLag

__all__ = ["CONTENT_TYPE", "LoopLag", "MetricSources", "Metrics"]
