"""The rules of walks, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from killsyncd.core.model import SyncMode, Walk
from killsyncd.sync.walk import Outcome, PageSeen, after_page, is_torn, too_close_to_expiry


def walk(mode: SyncMode = SyncMode.INCREMENTAL, **changes: Any) -> Walk:
    values: dict[str, Any] = {
        "id": 1,
        "source_id": 1,
        "mode": mode,
        "next_page": 1,
        "pages": 1,
        "last_modified": None,
        "torn": False,
        "started_at": 0.0,
        "listed": 0,
        "new": 0,
    }
    return Walk(**{**values, **changes})


@pytest.mark.parametrize(
    ("page", "pages", "known", "may_stop", "mode", "outcome"),
    [
        (1, 1, False, True, SyncMode.INCREMENTAL, Outcome.COMPLETE),
        (1, 3, False, True, SyncMode.INCREMENTAL, Outcome.GO_ON),
        (1, 3, True, True, SyncMode.INCREMENTAL, Outcome.STOPPED),
        (1, 3, True, False, SyncMode.INCREMENTAL, Outcome.GO_ON),
        (1, 3, True, True, SyncMode.FULL_SYNC, Outcome.GO_ON),
        (1, 3, True, True, SyncMode.FIRST_SYNC, Outcome.GO_ON),
        (2, 3, False, True, SyncMode.FULL_SYNC, Outcome.CUT),
        (3, 3, True, True, SyncMode.FULL_SYNC, Outcome.COMPLETE),
        (5, 3, True, True, SyncMode.FULL_SYNC, Outcome.COMPLETE),
    ],
)
def test_after_a_page(
    page: int, pages: int, known: bool, may_stop: bool, mode: SyncMode, outcome: Outcome
) -> None:
    seen = PageSeen(page, pages, "monday", known)
    assert after_page(walk(mode), seen, may_stop=may_stop, max_pages=2) is outcome


@pytest.mark.parametrize(
    ("before", "now", "torn"),
    [
        (None, "monday", False),
        ("monday", "monday", False),
        ("monday", None, False),
        ("monday", "tuesday", True),
    ],
)
def test_another_generation_tears_a_walk(before: str | None, now: str | None, torn: bool) -> None:
    under_way = walk(last_modified=before)
    assert is_torn(under_way, PageSeen(2, 2, now, False)) is torn
    wanted = Outcome.TORN if torn else Outcome.COMPLETE
    assert after_page(under_way, PageSeen(2, 2, now, False), may_stop=True, max_pages=50) is wanted


def test_once_torn_a_walk_stays_torn_and_never_stops_as_known() -> None:
    torn = walk(torn=True, last_modified="monday")
    assert after_page(torn, PageSeen(2, 2, "monday", False), may_stop=True, max_pages=50) is Outcome.TORN
    assert after_page(torn, PageSeen(2, 9, "monday", True), may_stop=True, max_pages=50) is Outcome.TORN


@pytest.mark.parametrize(
    ("pages_left", "left", "close"),
    [(0, 1.0, False), (1, 0.4, True), (1, 0.6, False), (40, 9.9, True), (40, 10.1, False), (5, -1.0, False)],
)
def test_too_close_to_expiry(pages_left: int, left: float, close: bool) -> None:
    assert too_close_to_expiry(pages_left=pages_left, expires_at=1000.0 + left, now=1000.0) is close
