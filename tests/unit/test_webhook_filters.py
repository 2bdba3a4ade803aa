"""Conditions: each lets a mail pass or says why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from killsyncd.config import WebhookConfig, from_mapping
from killsyncd.core.read_model import Mail, Victim
from killsyncd.webhooks.filters import WebhookFilter, security_class, shown_security
from killsyncd.webhooks.model import Candidate, Ours, Place, ShipKind, Sides

WHEN = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
MAIL = Mail(1, "ab" * 20, WHEN, 30000142, None, None, 2, 1, True, False, False, WHEN)
VICTIM = Victim(90000001, 98000001, None, None, 587, 10, None)
ONE = Candidate(
    MAIL,
    VICTIM,
    Sides(frozenset({90000001}), frozenset({90000002})),
    Sides(frozenset({98000001}), frozenset({98000002})),
    Place("Jita", 0.9, 10000002, "The Forge"),
    ShipKind(25, "Rifter"),
    5e7,
)
OURS = Ours(frozenset({90000002}))


def config(**more: Any) -> WebhookConfig:
    document = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
        "webhooks": [{"name": "a", "kind": "zkillboard", **more}],
    }
    return from_mapping(document).webhooks[0]


def judge(one: Candidate = ONE, ids: dict[str, Any] | None = None, ours: Ours = OURS, **more: Any) -> str:
    patient = more.pop("patient", False)
    named = {name: frozenset(some) for name, some in (ids or {}).items()}
    return WebhookFilter(config(**more), named).judge(one, ours, patient=patient).why


def test_by_default_news_that_players_made() -> None:
    assert judge() == "passes every condition"
    old = replace(ONE, mail=replace(MAIL, fresh=False))
    assert judge(old) == "fresh_only: more than an hour old when listed"
    assert judge(old, fresh_only=False) == "passes every condition"
    assert WebhookFilter(config()).judge(old, OURS, replayed=True).passed
    assert judge(replace(ONE, mail=replace(MAIL, npc=True))) == "exclude_npc: by NPCs alone"
    pod = replace(ONE, victim=replace(VICTIM, ship_type_id=670))
    assert judge(pod) == "passes every condition"
    assert judge(pod, exclude_pods=True) == "exclude_pods: a capsule"


def test_kills_and_losses_are_seen_from_our_side_or_from_whom_is_named() -> None:
    assert judge(outcome="kill") == "passes every condition"
    assert judge(outcome="loss") == "outcome: a kill"
    assert judge(outcome="loss", ours=Ours()) == "outcome: neither a kill nor a loss of ours"
    assert judge(outcome="loss", ours=Ours(corporations=frozenset({98000001}))) == "passes every condition"
    assert judge(outcome="loss", ids={"pilots": {90000001}}) == "passes every condition"
    both = replace(ONE, pilots=Sides(frozenset({90000002}), frozenset({90000002})))
    for outcome in ("kill", "loss"):
        assert judge(both, outcome=outcome) == "passes every condition"
    assert WebhookFilter(config(outcome="kill")).outcome(both, OURS) == "kill"
    assert WebhookFilter(config()).outcome(both, OURS) == "loss"
    assert WebhookFilter(config()).outcome(ONE, Ours()) == ""


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        ({"pilots": {90000001}}, "passes every condition"),
        ({"pilots": {5}}, "pilots: none of them is on it"),
        ({"corporations": {98000002}}, "passes every condition"),
        ({"corporations": {5}}, "corporations: none of them is on it"),
        ({"systems": {30000142}}, "passes every condition"),
        ({"systems": {5}}, "systems: in system 30000142"),
        ({"regions": {10000002}}, "passes every condition"),
        ({"regions": {5}}, "regions: in The Forge"),
        ({"ship_types": {5}}, "ship_types: type 587"),
        ({"ship_groups": {25}}, "passes every condition"),
        ({"ship_groups": {5}}, "ship_groups: group 25"),
    ],
)
def test_who_where_and_what(ids: dict[str, Any], why: str) -> None:
    assert judge(ids=ids) == why


def test_value_and_class_wait_for_what_may_still_come() -> None:
    assert judge(min_value=5e7) == "passes every condition"
    assert judge(min_value=6e7) == "min_value: worth 50,000,000 ISK"
    bare = replace(ONE, value=None, place=None)
    assert judge(bare, min_value=1, patient=True) == "waits for its value"
    assert judge(bare, min_value=1) == "min_value: no value is known"
    assert judge(bare, security=["high"], patient=True) == "waits for static data of its system"
    assert judge(bare, security=["high"]) == "security: static data of its system"
    assert judge(security=["low", "null"]) == "security: in high space"


@pytest.mark.parametrize(
    ("security", "region", "found", "shown"),
    [
        (0.4459, 10000001, "low", "0.4"),
        (0.45, 10000001, "high", "0.5"),
        (0.03, 10000001, "low", "0.1"),
        (0.0, 10000001, "null", "0.0"),
        (-0.55, 10000001, "null", "-0.5"),
        (-0.99, 11000012, "wormhole", "-1.0"),
        (-0.99, 12000001, "abyssal", "-1.0"),
        (-0.99, 14000001, "void", "-1.0"),
        (-0.99, 10000070, "pochven", "-1.0"),
    ],
)
def test_security(security: float, region: int, found: str, shown: str) -> None:
    assert security_class(Place("x", security, region, None)) == found
    assert shown_security(security) == shown
