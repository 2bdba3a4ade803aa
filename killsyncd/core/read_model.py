"""What is read of stored killmails: rows as values, filters, pages. The store fills them,
the API shows them.

Neither side knows the other.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from killsyncd.core.errors import KillsyncdError
from killsyncd.core.security import SecurityClass

COUNTED_TO = 10_000
"""A connection's total is exact up to here, and then stays at this."""


class TooMuch(KillsyncdError):
    """What was asked for is more than one answer may hold."""


class Role(enum.StrEnum):
    """On which side of a mail somebody stands."""

    VICTIM = "VICTIM"
    ATTACKER = "ATTACKER"


class Order(enum.StrEnum):
    """Orders of a list of mails: by the time of the kill, by that of storing (the feed's order), by value.

    By value: what is not valued comes last.
    """

    TIME_DESC = "TIME_DESC"
    TIME_ASC = "TIME_ASC"
    STORED_ASC = "STORED_ASC"
    STORED_DESC = "STORED_DESC"
    VALUE_DESC = "VALUE_DESC"

    @property
    def by_time(self) -> bool:
        """Whether the time of the kill decides."""
        return self in (Order.TIME_DESC, Order.TIME_ASC)

    @property
    def descending(self) -> bool:
        """Whether the newest comes first."""
        return self in (Order.TIME_DESC, Order.STORED_DESC, Order.VALUE_DESC)


@dataclass(frozen=True, slots=True)
class MailFilter:
    """Conditions on mails; all that are given hold, each for itself.

    role narrows character, corporation and alliance to victims or attackers, and is nothing without
    them. ship_type_id: of the ship that was lost. since <= time of the kill < until.
    killmail_ids: one of these. any_of: one of these holds. min_value, max_value: of the whole mail, in
    hundredths of an ISK, both included; a mail whose value is not known is not within them.
    """

    character_id: int | None = None
    corporation_id: int | None = None
    alliance_id: int | None = None
    role: Role | None = None
    ship_type_id: int | None = None
    solar_system_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_attackers: int | None = None
    solo: bool | None = None
    npc: bool | None = None
    attacker_ship_type_id: int | None = None
    final_blow_character_id: int | None = None
    war_id: int | None = None
    killmail_ids: tuple[int, ...] | None = None
    any_of: tuple[MailFilter, ...] | None = None
    region_id: int | None = None
    constellation_id: int | None = None
    security_class: SecurityClass | None = None
    ship_group_id: int | None = None
    ship_category_id: int | None = None
    min_value: int | None = None
    max_value: int | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """A row of `killmails`. The hash lets anybody read the mail at ESI: it stays out of logs."""

    killmail_id: int
    killmail_hash: str = field(repr=False)
    killmail_time: datetime
    solar_system_id: int
    war_id: int | None
    moon_id: int | None
    attacker_count: int
    feed_position: int
    fresh: bool
    solo: bool
    npc: bool
    created_at: datetime
    total: int | None = None
    """In hundredths of an ISK; read for lists in the order of value only."""


@dataclass(frozen=True, slots=True)
class MailValue:
    """What a mail was worth, in hundredths of an ISK (see pricing/valuation.py)."""

    total: int
    destroyed: int
    dropped: int
    ship: int
    fitted: int
    cargo: int
    unpriced: tuple[int, ...]
    priced_on: date
    method: str


class EntityKind(enum.StrEnum):
    """What an id of EVE is of; ids of two kinds may be the same number."""

    CHARACTER = "CHARACTER"
    CORPORATION = "CORPORATION"
    ALLIANCE = "ALLIANCE"
    FACTION = "FACTION"
    SYSTEM = "SYSTEM"
    CONSTELLATION = "CONSTELLATION"
    REGION = "REGION"
    TYPE = "TYPE"
    GROUP = "GROUP"
    CATEGORY = "CATEGORY"


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a search found."""

    id: int
    name: str
    kind: EntityKind


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What the static data say of a system. security: as CCP has it, not rounded."""

    security: float
    region_id: int
    region: str | None
    constellation_id: int
    constellation: str | None


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """What the static data say of a type; its group and category may be missing in them."""

    name: str
    group_id: int | None
    group: str | None
    category_id: int | None
    category: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """Metres from the centre of the solar system."""

    x: float
    y: float
    z: float


@dataclass(frozen=True, slots=True)
class Victim:
    """A row of `victims`."""

    character_id: int | None
    corporation_id: int | None
    alliance_id: int | None
    faction_id: int | None
    ship_type_id: int
    damage_taken: int
    position: Position | None


@dataclass(frozen=True, slots=True)
class Attacker:
    """A row of `attackers`."""

    character_id: int | None
    corporation_id: int | None
    alliance_id: int | None
    faction_id: int | None
    ship_type_id: int | None
    weapon_type_id: int | None
    damage_done: int
    final_blow: bool
    security_status: float


@dataclass(frozen=True, slots=True)
class Item:
    """A row of `killmail_items`, with what it holds."""

    item_type_id: int
    flag: int
    quantity_dropped: int | None
    quantity_destroyed: int | None
    singleton: int
    items: list[Item]


@dataclass(frozen=True, slots=True)
class ItemOfMail:
    """An item and the mail that it is on, which its value hangs on."""

    item: Item
    mail: Mail

    @property
    def items(self) -> list[ItemOfMail]:
        """What it holds."""
        return [ItemOfMail(each, self.mail) for each in self.item.items]


@dataclass(frozen=True, slots=True)
class MailSize:
    """What of a mail must be read with care. items: those in containers, too. bytes: of its JSON."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Involved:
    """One of our users on a mail."""

    character_id: int
    role: Role


@dataclass(frozen=True, slots=True)
class Edge:
    """A mail in a page, and the cursor that stands right after it."""

    cursor: str
    mail: Mail


@dataclass(frozen=True, slots=True)
class MailPage:
    """A page of mails. more: others follow; went_before: it was asked for after a cursor."""

    edges: Sequence[Edge]
    more: bool
    went_before: bool


@dataclass(frozen=True, slots=True)
class FeedStart:
    """A daemon that started when the feed stood at `position`, and gave out the positions above it."""

    position: int
    id: str


@dataclass(frozen=True, slots=True)
class FeedEpoch:
    """Which feed this is. starts: of daemons, by position; they tell two copies of one database apart."""

    id: str
    starts: Sequence[FeedStart] = ()

    def start_of(self, position: int) -> str:
        """The start that gave out a position; empty for those from before starts were written down."""
        index = bisect_left(self.starts, position, key=lambda each: each.position)
        return self.starts[index - 1].id if index else ""

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class FeedPoint:
    """A place in the feed. A position means something within its epoch only."""

    epoch: FeedEpoch
    position: int


@dataclass(frozen=True, slots=True)
class FeedMail:
    """A mail as the feed gives it out, with the characters on it, for filters."""

    mail: Mail
    characters: frozenset[int]


@dataclass(frozen=True, slots=True)
class FeedSlice:
    """A stretch of the feed. reached: everything up to this position was looked at."""

    mails: Sequence[FeedMail]
    reached: int


@dataclass(frozen=True, slots=True)
class DayActivity:
    """Mails of one UTC day with a user of ours among the attackers, or as the victim; ISK in hundredths."""

    day: date
    kills: int
    losses: int
    isk_destroyed: float = 0.0
    isk_lost: float = 0.0
