"""The rules of a storm, with the clock in hand."""

from __future__ import annotations

import random

import pytest

from killsyncd.esi.responses import MalformedResponse
from killsyncd.sync.detail_storm import FIRST_PAUSE, IN_A_ROW, DetailStorm
from killsyncd.sync.failure_policy import glance


def test_what_was_asked_for_before_the_storm_was_known_does_not_lengthen_its_pause() -> None:
    """Forty answers that come together were one look at ESI, not forty."""
    storm = DetailStorm(random.Random(1))
    for _ in range(IN_A_ROW + 40):
        storm.failed("422", 100.0)
    assert storm.probe_at <= 100.0 + 1.2 * FIRST_PAUSE


def test_the_pause_grows_with_each_probe() -> None:
    storm = DetailStorm(random.Random(1))
    for _ in range(IN_A_ROW):
        storm.failed("422", 0.0)
    pauses = []
    for _ in range(8):
        now = storm.probe_at
        storm.failed("422", now)
        pauses.append(storm.probe_at - now)
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3]
    assert max(pauses) <= 360


@pytest.mark.parametrize(
    "raw",
    [b"<html></html>", b'{"killmail_id":7', b'{"killmail_id":77}', b"{}", b'{"killmail_id":"7"}', b""],
)
def test_a_glance_tells_what_is_plainly_something_else(raw: bytes) -> None:
    with pytest.raises(MalformedResponse):
        glance(raw, 7)


def test_a_glance_lets_pass_what_may_be_the_mail() -> None:
    glance(b' {"x": 1, "killmail_id" : 7, "victim": {}}\n', 7)
