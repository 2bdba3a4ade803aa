"""Which mails a webhook sends: conditions in a fixed order, each of which can say why. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from killsyncd.config import WebhookConfig
from killsyncd.webhooks.model import Candidate, Ours, Place

CAPSULES = frozenset({670, 33328})
"""The capsule, and the one with golden lettering (`Genolution 'Auroral' 197-variant`)."""

NAMED = ("pilots", "corporations", "systems", "regions", "ship_types", "ship_groups")
"""Conditions that list names or ids."""

STATIC = frozenset({"regions", "ship_groups"})
"""Those whose names only the static data knows."""

_WORMHOLES = range(11_000_000, 12_000_000)
_ABYSS = range(12_000_000, 13_000_000)
_VOID = range(14_000_000, 15_000_000)
_POCHVEN = 10_000_070


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one mail. passed: None while what it asks for is not known yet. why: in a few
    words.
    """

    name: str
    passed: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All conditions on one mail."""

    conditions: tuple[Condition, ...]

    @property
    def passed(self) -> bool:
        """Whether the mail is sent: nothing speaks against it, and nothing has to be waited for."""
        return all(each.passed for each in self.conditions)

    @property
    def refused(self) -> Condition | None:
        """The first condition that keeps it out."""
        return next((each for each in self.conditions if each.passed is False), None)

    @property
    def open(self) -> Condition | None:
        """The first condition that cannot be told yet, where none keeps the mail out."""
        if self.refused is not None:
            return None
        return next((each for each in self.conditions if each.passed is None), None)

    @property
    def why(self) -> str:
        """In one line."""
        if self.refused is not None:
            return f"{self.refused.name}: {self.refused.why}"
        return f"waits for {self.open.why}" if self.open is not None else "passes every condition"


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """A webhook's conditions with names turned into ids. ids: by condition; absent or empty asks for
    nothing.
    """

    config: WebhookConfig
    ids: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def judge(self, one: Candidate, ours: Ours, *, replayed: bool = False, patient: bool = False) -> Verdict:
        """Look at a mail.

        replayed: it is sent once more, fresh or not. patient: what is not known yet may still come.
        """
        return Verdict(tuple(self._conditions(one, ours, replayed, patient)))

    def outcome(self, one: Candidate, ours: Ours) -> str:
        """`loss`, `kill`, or empty where it is neither of ours. A loss that was also a kill is a loss."""
        lost, killed = one.sides_of(self._side(ours))
        if self.config.outcome == "kill" and killed:
            return "kill"
        return "loss" if lost else "kill" if killed else ""

    def _side(self, ours: Ours) -> Ours:
        """From whose side it is seen: those that are named, else all of ours."""
        pilots, corporations = self._of("pilots"), self._of("corporations")
        return Ours(pilots, corporations) if pilots or corporations else ours

    def _of(self, name: str) -> frozenset[int]:
        return self.ids.get(name, frozenset())

    def _conditions(self, one: Candidate, ours: Ours, replayed: bool, patient: bool) -> Iterator[Condition]:
        config, mail = self.config, one.mail
        if config.fresh_only:
            fresh = (
                "at most an hour old when first listed" if mail.fresh else "more than an hour old when listed"
            )
            yield Condition(
                "fresh_only", mail.fresh or replayed, "asked for by a replay" if replayed else fresh
            )
        if config.exclude_npc:
            yield Condition("exclude_npc", not mail.npc, "by NPCs alone" if mail.npc else "not by NPCs alone")
        if config.exclude_pods:
            pod = one.victim.ship_type_id in CAPSULES
            yield Condition("exclude_pods", not pod, "a capsule" if pod else "no capsule")
        if config.outcome != "any":
            lost, killed = one.sides_of(self._side(ours))
            sides = [word for word, holds in (("a kill", killed), ("a loss", lost)) if holds]
            wanted = killed if config.outcome == "kill" else lost
            yield Condition("outcome", wanted, " and ".join(sides) or "neither a kill nor a loss of ours")
        for name, sides_of_mail in (("pilots", one.pilots), ("corporations", one.corporations)):
            if ids := self._of(name):
                there = sides_of_mail.any_of(ids)
                yield Condition(name, there, "one of them is on it" if there else "none of them is on it")
        yield from self._places(one, patient)
        yield from self._ships(one, patient)
        if config.min_value > 0:
            yield self._value(one, patient)

    def _places(self, one: Candidate, patient: bool) -> Iterator[Condition]:
        if ids := self._of("systems"):
            yield Condition(
                "systems", one.mail.solar_system_id in ids, f"in system {one.mail.solar_system_id}"
            )
        if ids := self._of("regions"):
            inside = one.place.region_id in ids if one.place is not None else _unknown(patient)
            yield Condition("regions", inside, _where(one.place))
        if self.config.security:
            found = security_class(one.place) if one.place is not None else ""
            known = found in self.config.security if found else _unknown(patient)
            yield Condition("security", known, f"in {found} space" if found else _where(None))

    def _ships(self, one: Candidate, patient: bool) -> Iterator[Condition]:
        if ids := self._of("ship_types"):
            yield Condition("ship_types", one.victim.ship_type_id in ids, f"type {one.victim.ship_type_id}")
        if ids := self._of("ship_groups"):
            if one.ship is None:
                yield Condition("ship_groups", _unknown(patient), "static data of its ship")
            else:
                yield Condition("ship_groups", one.ship.group_id in ids, f"group {one.ship.group_id}")

    def _value(self, one: Candidate, patient: bool) -> Condition:
        if one.value is None:
            return Condition("min_value", _unknown(patient), "its value" if patient else "no value is known")
        return Condition("min_value", one.value >= self.config.min_value, f"worth {one.value:,.0f} ISK")


def _unknown(patient: bool) -> bool | None:
    return None if patient else False


def _where(place: Place | None) -> str:
    return "static data of its system" if place is None else f"in {place.region or place.region_id}"


def security_class(place: Place) -> str:
    """The class of a system: `high`, `low`, `null`, `wormhole`, `pochven`, `abyssal` or `void`.

    By region first, as CCP numbers them; then by its security status, not rounded: high from 0.45 on.
    """
    if place.region_id == _POCHVEN:
        return "pochven"
    for regions, name in ((_WORMHOLES, "wormhole"), (_ABYSS, "abyssal"), (_VOID, "void")):
        if place.region_id in regions:
            return name
    if place.security >= 0.45:
        return "high"
    return "low" if place.security > 0.0 else "null"


def shown_security(security: float) -> str:
    """As the game shows it: rounded half up to one decimal, and 0.1 for what is above 0 and below 0.05."""
    if 0.0 < security < 0.05:
        return "0.1"
    return f"{math.floor(security * 10 + 0.5) / 10 + 0.0:.1f}"


def without_filter(config: WebhookConfig) -> WebhookConfig:
    """The same webhook with no condition, for a test of the way to it."""
    empty: tuple[str, ...] = ()
    return replace(
        config,
        outcome="any",
        min_value=0.0,
        regions=empty,
        systems=empty,
        security=empty,
        ship_groups=empty,
        ship_types=empty,
        pilots=empty,
        corporations=empty,
        exclude_npc=False,
        exclude_pods=False,
        fresh_only=False,
    )
