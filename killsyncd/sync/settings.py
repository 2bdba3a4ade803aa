"""What the configuration says of the pipeline. All durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """concurrency: jobs worked off at once. max_pages: where a walk is cut. full_walk: after so long every
    list is read whole again. interval: how often a list is read; one that is not there (404) no sooner."""

    concurrency: int
    max_pages: int
    full_walk: float
    interval: float


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """interval: between two runs. min_age: of the last sync of whoever is queued. active_for: a list that
    showed a fresh kill within so long is read as soon as ESI has news of it; 0: none is."""

    interval: float
    min_age: float
    active_for: float = 0.0
