"""Scripted faults: which requests they strike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from killsyncd.core.errors import BadInput
from killsyncd.simulator.answer import Response, RoutedRequest
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.faults import Fault, Faults, disturbed

DETAIL = RoutedRequest("esi.killmail", "killmail", subject=7)
LIST = RoutedRequest("esi.character_killmails", "char-killmail", subject=9, page=2, character=9)


def strikes(call: RoutedRequest, **script: Any) -> bool:
    fault = Fault.from_json({"kind": "reset", **script})
    return fault.fits(call, "/killmails/7/ab", 0.0, random.Random(1))


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"route": "esi.killmail"},
        {"route": "killmail"},
        {"route": "esi.*"},
        {"killmail": 7},
        {"path": "s/7/"},
    ],
)
def test_it_strikes_what_fits(script: dict[str, Any]) -> None:
    assert strikes(DETAIL, **script)


@pytest.mark.parametrize(
    "script", [{"route": "sso.*"}, {"killmail": 8}, {"character": 9}, {"page": 2}, {"path": "s/8/"}]
)
def test_it_spares_what_does_not(script: dict[str, Any]) -> None:
    assert not strikes(DETAIL, **script)


def test_lists_by_character_and_page() -> None:
    assert strikes(LIST, character=9, page=2)
    assert not strikes(LIST, character=9, page=1)
    assert not strikes(LIST, killmail=9)


def test_skip_then_count_then_nothing() -> None:
    fault = Fault.from_json({"kind": "reset", "skip": 2, "count": 2})
    rng = random.Random(1)
    assert [fault.fits(DETAIL, "", 0.0, rng) for _ in range(6)] == [False, False, True, True, False, False]
    assert fault.hits == 2


def test_duration_counts_from_when_it_was_scripted() -> None:
    faults = Faults(1)
    faults.add(Fault.from_json({"kind": "reset", "duration": 10}), 100.0)
    assert faults.strike(DETAIL, "", 109.9)
    assert not faults.strike(DETAIL, "", 110.0)


def test_latency_adds_up_and_one_other_strikes() -> None:
    faults = Faults(1)
    for script in (
        {"kind": "latency", "seconds": 1},
        {"kind": "reset", "count": 1},
        {"kind": "hang"},
        {"kind": "latency", "seconds": 2},
    ):
        faults.add(Fault.from_json(script), 0.0)
    assert [fault.kind for fault in faults.strike(DETAIL, "", 0.0)] == ["latency", "reset", "latency"]
    assert [fault.kind for fault in faults.strike(DETAIL, "", 0.0)] == ["latency", "hang", "latency"]
    assert faults.remove() == 4
    assert not faults.strike(DETAIL, "", 0.0)


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"kind": "earthquake"},
        {"kind": "status"},
        {"kind": "status", "status": 99},
        {"kind": "reset", "path": "("},
        {"kind": "reset", "where": "x"},
        {"kind": "reset", "hits": 1},
    ],
)
def test_what_cannot_be_read_is_refused(script: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Fault.from_json(script)


def test_ids_become_strings() -> None:
    fault = Fault.from_json({"kind": "ids_as_strings"})
    answer = disturbed(fault, Response(200, b'[{"killmail_hash":"ab","killmail_id":12}]'), SimClock())
    assert answer.body == b'[{"killmail_hash":"ab","killmail_id":"12"}]'


def test_headers_are_set_and_taken_away() -> None:
    fault = Fault.from_json({"kind": "headers", "headers": {"ETag": "", "X-Pages": "3"}})
    answer = disturbed(fault, Response(200, b"[]", {"ETag": '"a"', "Expires": "x"}), SimClock())
    assert answer.headers == {"Expires": "x", "X-Pages": "3"}
