"""Filters of mails as SQL whose work does not grow with what is stored.

Each condition that can be asked for names the indexes that hold its mails in the order of their time. A list
in that order walks one of them (which, is `driving`), tests the other conditions mail by mail, and stops at
the page's end. A list in another order takes the mails of its rarest condition where they are few, and
otherwise walks that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from killsyncd.core.read_model import MailFilter, Role
from killsyncd.storage.repositories import paging
from killsyncd.storage.repositories.catalogue import Sets
from killsyncd.storage.transaction import Ids

FEWEST = (1000, 250, 100, 50, 25, 10, 5, 2)
"""Numbers of attackers that have an index of the mails with at least so many (migration lists_in_order)."""

WORTH = (10_000_000_000_000, 1_000_000_000_000, 100_000_000_000, 10_000_000_000, 1_000_000_000, 0)
"""Values, in hundredths of an ISK, that have an index of the mails worth at least so much."""

MANY_IDS = 300
"""So many systems or types are not walked one by one."""


def looked_up(table: str, alias: str, condition: str) -> str:
    """A table in a CROSS JOIN, read by this condition for each row before it; WHERE has it, too."""
    return f"{{row_of}}{table} {alias}{{where_row}}{condition}{{end_row_of:{alias}}}"


MAIL_OF = looked_up("killmails", "k", "k.killmail_id = d.killmail_id")
"""The mail of each row `d`."""


@dataclass(frozen=True, slots=True)
class Index:
    """Mails in the order of their time. condition: on the table's alias, `k` for killmails, else `d`.

    ids: the parameter whose every id has mails in that order, as `c.value` in the condition; None: there are
    none, the index as a whole has.
    """

    table: str
    condition: str
    ids: str | None = None

    @property
    def source(self) -> str:
        """What to select from for mails in whatever order."""
        if self.ids is None:
            return f"{self.table} {self.alias}"
        return f"{{each:{self.ids}}} CROSS JOIN {looked_up(self.table, self.alias, self.condition)}"

    @property
    def alias(self) -> str:
        """Of the table."""
        return "k" if self.of_mails else "d"

    @property
    def of_mails(self) -> bool:
        """Whether it is an index of killmails itself."""
        return self.table == "killmails"


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of a mail `k`. indexes: together they have every mail that it holds for.

    exact: they have no other. A test that looks into another table of the mail says `{same_time}` and
    `{plain}` where `_opaque` decides by which index. ids: of so many its index has a part each.
    sparse: none of its indexes has its mails, and hardly others, in the order of time.
    """

    test: str
    indexes: tuple[Index, ...] = ()
    exact: bool = True
    ids: int = 1
    sparse: bool = False


@dataclass(slots=True)
class Filter:
    """A filter, taken apart. range: of times. params: of all its texts."""

    conditions: list[Condition] = field(default_factory=list)
    since: datetime | None = None
    until: datetime | None = None
    params: dict[str, Any] = field(default_factory=dict)

    def param(self, value: object) -> str:
        """A parameter of a name of its own."""
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f":{name}"

    @property
    def candidates(self) -> list[Condition]:
        """Conditions that a list can be driven by."""
        return [each for each in self.conditions if each.indexes]


_ONE = " LIMIT 1 OFFSET 0"
"""Ends a test that looks into another table. PostgreSQL may otherwise go through all of that table once and
keep what it finds, instead of looking at the mail's own rows; what has an offset it leaves as it is."""

_SIDES = {Role.VICTIM: ("victims",), Role.ATTACKER: ("attackers",), None: ("victims", "attackers")}


def take_apart(given: MailFilter, sets: Sets) -> Filter:
    """A filter as conditions, the narrowest kinds first. sets: of the filter, from `KnownSets`."""
    found = Filter(since=_whole(given.since), until=_whole(given.until))
    found.conditions = _conditions(given, sets, found)
    return found


def _whole(moment: datetime | None) -> datetime | None:
    return None if moment is None else paging.whole_seconds(moment)


def _conditions(given: MailFilter, sets: Sets, into: Filter) -> list[Condition]:
    conditions = []

    def on_mail(*names: str) -> None:
        for name in names:
            value = getattr(given, name)
            if value is not None:
                conditions.append(_of_mail(f"k.{name} = {into.param(value)}"))

    def in_tables(tables: Sequence[str], column: str, value: int | None, more: str = "") -> None:
        if value is not None:
            conditions.append(_in_tables(tables, column, into.param(value), more))

    sides = _SIDES[given.role]
    if given.killmail_ids is not None:
        conditions.append(_of_mail(f"k.killmail_id {{in:{into.param(Ids(given.killmail_ids))[1:]}}}"))
    in_tables(("attackers",), "character_id", given.final_blow_character_id, " AND T.final_blow = {true}")
    in_tables(sides, "character_id", given.character_id)
    on_mail("war_id", "solar_system_id")
    in_tables(("victims",), "ship_type_id", given.ship_type_id)
    in_tables(sides, "corporation_id", given.corporation_id)
    in_tables(sides, "alliance_id", given.alliance_id)
    in_tables(("attackers",), "ship_type_id", given.attacker_ship_type_id)
    if given.any_of is not None:
        conditions.append(_any_of(given.any_of, sets, into))
    conditions += _of_sets(given, sets, into)
    if given.min_value is not None or given.max_value is not None:
        conditions.append(_worth(given.min_value, given.max_value, into))
    if given.min_attackers is not None:
        conditions.append(_of_so_many(given.min_attackers, into))
    on_mail("npc", "solo")
    return conditions


def _of_sets(given: MailFilter, sets: Sets, into: Filter) -> list[Condition]:
    """Where the system, or the ship that was lost, is one of many."""
    found = []
    systems, types = sets.systems_of(given), sets.types_of(given)
    if systems is not None:
        name = into.param(systems)[1:]
        index = Index("killmails", "k.solar_system_id = c.value", name)
        test = f"k.solar_system_id {{in:{name}}}"
        found.append(Condition(test, (index,), ids=len(systems)))
    if types is not None:
        name = into.param(types)[1:]
        index = Index("victims", "d.ship_type_id = c.value", name)
        test = (
            "EXISTS (SELECT 1 FROM victims x WHERE x.killmail_id = k.killmail_id"
            f" AND {{plain}}x.ship_type_id {{in:{name}}}{_ONE})"
        )
        found.append(Condition(test, (index,), ids=len(types)))
    return found


def _worth(least: int | None, most: int | None, into: Filter) -> Condition:
    """A value within limits."""
    known = next(each for each in WORTH if each <= max(0, least or 0))
    parts = [] if least is None else [f"T.total >= {into.param(least)}"]
    parts += [] if most is None else [f"T.total <= {into.param(most)}"]
    condition = " AND ".join(parts)
    test = (
        "EXISTS (SELECT 1 FROM killmail_values x WHERE x.killmail_id = k.killmail_id"
        f" AND {condition.replace('T.', 'x.')}{_ONE})"
    )
    # An index holds what is worth at least so much: with an upper limit much of it may be beyond that.
    within = condition.replace("T.", "d.")
    index = Index("killmail_values", within if most is not None else f"d.total >= {known} AND {within}")
    return Condition(test, (index,), sparse=most is not None)


def _of_mail(condition: str) -> Condition:
    return Condition(condition, (Index("killmails", condition),))


def _of_so_many(wanted: int, into: Filter) -> Condition:
    test = f"k.attacker_count >= {into.param(wanted)}"
    known = next((each for each in FEWEST if each <= wanted), None)
    if known is None:
        return Condition(test)
    # The index is only taken where its own condition stands in the statement, word by word.
    return Condition(test, (Index("killmails", f"k.attacker_count >= {known} AND {test}"),))


def _in_tables(tables: Sequence[str], column: str, param: str, more: str) -> Condition:
    tests = [
        f"EXISTS (SELECT 1 FROM {table} x WHERE x.killmail_id = k.killmail_id{{same_time}}"
        f" AND {{plain}}x.{column} = {param}{more.replace('T.', 'x.')}{_ONE})"
        for table in tables
    ]
    test = tests[0] if len(tests) == 1 else f"({' OR '.join(tests)})"
    condition = f"d.{column} = {param}{more.replace('T.', 'd.')}"
    return Condition(test, tuple(Index(table, condition) for table in tables))


def _any_of(alternatives: Sequence[MailFilter], sets: Sets, into: Filter) -> Condition:
    """One of these holds: tested as they stand, walked through an index of each, if each has one."""
    tests, indexes, exact, walkable = [], list[Index](), True, True
    for alternative in alternatives:
        conditions = _conditions(alternative, sets, into)
        of_each = [condition.test for condition in conditions]
        for moment, sign in ((_whole(alternative.since), ">="), (_whole(alternative.until), "<")):
            if moment is not None:
                of_each.append(f"k.killmail_time {sign} {into.param(moment)}")
        tests.append(f"({' AND '.join(of_each) or '1 = 1'})")
        best = next((each for each in conditions if each.indexes and each.ids <= MANY_IDS), None)
        walkable = walkable and best is not None
        indexes += best.indexes if best is not None else ()
        exact = exact and len(of_each) == 1 and best is not None and best.exact
    test = f"({' OR '.join(tests) or '1 = 0'})"
    return Condition(test, tuple(indexes) if walkable else (), exact)
