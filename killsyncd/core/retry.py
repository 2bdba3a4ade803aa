"""How long to wait after a failure: exponential, with full jitter, capped."""

from __future__ import annotations

import random


def full_jitter(attempt: int, *, first: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait after the attempt-th failure in a row (1, 2, ...).

    Between half of and the whole of `first * 2^(attempt-1)`, at most cap: full jitter over
    the upper half, so that nobody comes back at once.
    """
    top = min(cap, first * 2.0 ** min(32, max(0, attempt - 1)))
    return top * rng.uniform(0.5, 1.0)
