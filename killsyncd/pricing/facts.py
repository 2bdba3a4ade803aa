"""What valuing killmails needs to know of types: which are there, and which have prices of their own."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KnownType:
    """A type as the static data have it (implements `TypeFacts`)."""

    group_id: int | None
    category_id: int | None
    meta_group_id: int | None


_ORDINARY = KnownType(None, None, None)


@dataclass(frozen=True, slots=True)
class StaticFacts:
    """Types of one build. known: ids of all of them, in order; special: those that no market decides about.

    Some 50,000 types, of which few are special: half a megabyte, where all of them would take twenty.
    """

    build: int = 0
    known: array[int] = field(default_factory=lambda: array("q"))
    special: Mapping[int, KnownType] = field(default_factory=dict)

    def of(self, type_id: int) -> KnownType | None:
        """What is known of a type; None where the static data don't have it."""
        found = self.special.get(type_id)
        if found is not None:
            return found
        place = bisect_left(self.known, type_id)
        there = place < len(self.known) and self.known[place] == type_id
        return _ORDINARY if there else None
