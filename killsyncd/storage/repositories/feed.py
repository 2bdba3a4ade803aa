"""The feed's end, and which history of the database its positions belong to."""

from __future__ import annotations

from killsyncd.core.read_model import FeedEpoch, FeedPoint, FeedStart
from killsyncd.storage.transaction import Run, Tx, one


def feed_point() -> Tx[FeedPoint]:
    """The feed's end, with its epoch and the starts of daemons in it."""
    row = one((yield Run("operations.feed", {})))
    assert row is not None, "migration 1 makes the feed's row and its epoch"
    starts = tuple(
        FeedStart(int(each["position"]), str(each["id"])) for each in (yield Run("meta.feed_starts", {}))
    )
    return FeedPoint(FeedEpoch(str(row["epoch"]), starts), int(row["position"]))
