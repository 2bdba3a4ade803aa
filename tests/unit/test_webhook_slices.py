"""How much of the feed a webhook looks at together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from killsyncd.core.read_model import FeedSlice
from killsyncd.webhooks.deliverer import SLICE_ATTACKERS, within


def stretch(*attackers: int) -> FeedSlice:
    mails: Any = [
        SimpleNamespace(mail=SimpleNamespace(feed_position=number, attacker_count=count))
        for number, count in enumerate(attackers, 1)
    ]
    return FeedSlice(mails, 100)


@pytest.mark.parametrize(
    ("attackers", "kept", "reached"),
    [
        ((), 0, 100),
        ((5, 5), 2, 100),
        ((SLICE_ATTACKERS,), 1, 100),
        ((SLICE_ATTACKERS, 1, 1), 1, 1),
        ((1, 1, SLICE_ATTACKERS), 2, 2),
    ],
)
def test_large_fights_are_looked_at_one_by_one(attackers: tuple[int, ...], kept: int, reached: int) -> None:
    """Everybody on fifty of them would be a million rows."""
    found = within(stretch(*attackers))
    assert (len(found.mails), found.reached) == (kept, reached)
