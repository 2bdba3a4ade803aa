"""How dangerous space is: the security status that the game shows, and the kinds of space.

Source: CCP's static data (`securityStatus` of a system; regions by their ids).
"""

from __future__ import annotations

import enum
import math

POCHVEN = 10_000_070
WORMHOLES = range(11_000_000, 12_000_000)
ABYSS = range(12_000_000, 13_000_000)
VOID = range(14_000_000, 15_000_000)

HIGH_FROM = 0.45
"""Shown as 0.5, from which on CONCORD comes."""


class SecurityClass(enum.StrEnum):
    """Kinds of space."""

    HIGH = "HIGH"
    LOW = "LOW"
    NULL = "NULL"
    WORMHOLE = "WORMHOLE"
    POCHVEN = "POCHVEN"
    ABYSSAL = "ABYSSAL"
    VOID = "VOID"


_BY_REGION = ((SecurityClass.WORMHOLE, WORMHOLES), (SecurityClass.ABYSSAL, ABYSS), (SecurityClass.VOID, VOID))


def displayed(security: float) -> float:
    """As the game shows it: one decimal, rounded half up; what is above 0 is never shown as 0."""
    if 0.0 < security < 0.05:
        return 0.1
    return math.floor(security * 10 + 0.5) / 10 + 0.0  # without a minus before 0


def class_of(region_id: int, security: float) -> SecurityClass:
    """The kind of space of a system."""
    for kind, regions in _BY_REGION:
        if region_id in regions:
            return kind
    if region_id == POCHVEN:
        return SecurityClass.POCHVEN
    if security >= HIGH_FROM:
        return SecurityClass.HIGH
    return SecurityClass.LOW if security > 0.0 else SecurityClass.NULL
