"""Everybody else in New Eden: the strangers our pilots meet, by number, nothing of them stored."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Party(NamedTuple):
    """Who somebody is on a killmail."""

    character_id: int
    corporation_id: int
    alliance_id: int | None
    faction_id: int | None


_MILITIAS = ((1000179, 500003), (1000180, 500001), (1000181, 500004), (1000182, 500002))
_SCHOOLS = (1000166, 1000167, 1000168, 1000170, 1000172)


@lru_cache(maxsize=8192)
def outsider(number: int) -> Party:
    """The stranger of that number: 20 to a corporation, five corporations to an alliance.

    Every 13th corporation is a militia (with a faction), every 7th an NPC school, every 5th without an
    alliance. Ids lie in the ranges of today's characters (90 and 2112 million), corporations (98) and
    alliances (99).
    """
    number %= 100_000
    base = 94_000_000 if number % 3 else 2_114_000_000
    character = base + number * 37
    corporation = number // 20
    if corporation % 13 == 0:
        militia, faction = _MILITIAS[corporation // 13 % len(_MILITIAS)]
        return Party(character, militia, None, faction)
    if corporation % 7 == 0:
        return Party(character, _SCHOOLS[corporation // 7 % len(_SCHOOLS)], None, None)
    alliance = None if corporation % 5 == 0 else 99_002_000 + corporation // 5
    return Party(character, 98_200_000 + corporation, alliance, None)
