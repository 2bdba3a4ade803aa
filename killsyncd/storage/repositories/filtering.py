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

from killsyncd.core.read_model import MailFilter, Order, Role
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


def counts(candidates: Sequence[Condition], given: Filter, limit: int) -> str:
    """How many mails each condition has, up to a limit: one row, a column each."""
    parts = []
    for number, each in enumerate(candidates):
        of_each = [
            f"(SELECT COUNT(*) FROM (SELECT 1 FROM {index.source} "
            f"WHERE {' AND '.join([index.condition, *_range(index, given)])}{_in_order(each, index)}"
            f" LIMIT {limit}) AS n{number})"
            for index in each.indexes
        ]
        parts.append(f"{' + '.join(of_each)} AS c{number}")
    return f"SELECT {', '.join(parts)}"


def _in_order(condition: Condition, index: Index) -> str:
    """Counted in the order of the index that is meant: a planner may think the whole table shorter."""
    if condition.sparse or index.ids is not None:
        return ""
    return f" ORDER BY {index.alias}.{'killmail_time' if index.of_mails else 'killed_at'}"


def in_time(
    given: Filter, driver: Condition | None, order: Order, after: paging.Key | None
) -> tuple[str, dict[str, Any]]:
    """The ids of the next mails of a list in the order of time: `:limit` of each index that is walked."""
    walks = _walks(given, driver, order, after is not None)
    return " UNION ALL ".join(walks), given.params | after_params(order, after)


def samples(given: Filter, driver: Condition | None, order: Order, *, goes_on: bool) -> list[str]:
    """For each index that is walked: whether its first `:sample` entries have `:limit` mails.

    Where there are several, also whether they are all: one side may have few.

    driver: None: the list's own order is walked, as it is instead of many ids at a time.
    """
    indexes = driver.indexes if driver is not None else ()
    if not order.by_time or not indexes or any(each.ids is not None for each in indexes):
        indexes, driver = (_OWN_ORDER.get(order, Index("killmails", "1 = 1")),), None
    found = []
    for index in indexes:
        entries = _entries(given, index, order, goes_on)
        same_time = "" if index.of_mails else " AND x.killed_at = d.killed_at"
        others = [
            _opaque(each.test, same_time if order.by_time else "")
            for each in given.conditions
            if each is not driver or not driver.exact
        ]
        tests = " AND ".join(
            ["k.killmail_id = d.killmail_id", *others, *_range(Index("killmails", ""), given)]
        )
        all_of_it = f" OR (SELECT COUNT(*) FROM ({entries}) AS of_one) < :sample" if len(indexes) > 1 else ""
        found.append(
            f"(SELECT COUNT(*) FROM (SELECT 1 FROM ({entries}) d CROSS JOIN {MAIL_OF} WHERE {tests}"
            f" LIMIT :limit) AS matching) >= :limit{all_of_it}"
        )
    return found


_OWN_ORDER = {Order.VALUE_DESC: Index("killmail_values", "1 = 1")}


def _entries(given: Filter, index: Index, order: Order, goes_on: bool) -> str:
    """The first entries of an index, in the list's order, whatever else holds for them."""
    alias = index.alias
    sign, way = ("<", "DESC") if order.descending else (">", "ASC")
    if order.by_time:
        time, moment = ("killmail_time", ":after_time") if index.of_mails else ("killed_at", ":after_at")
        columns, tests = [f"{alias}.{time}", f"{alias}.killmail_id"], [index.condition, *_range(index, given)]
        after = f"({moment}, :after_id)"
    elif order is Order.VALUE_DESC:
        columns, tests = ["d.total", "d.killmail_id"], []
        after = "(:after_total, :after_id)"
    else:
        columns, tests, after = ["k.feed_position"], [], ":after_position"
    if goes_on:
        tests.append(f"({', '.join(columns)}) {sign} {after}")
    time = ", d.killed_at" if order.by_time and not index.of_mails else ""
    return (
        f"SELECT {alias}.killmail_id{time} FROM {index.table} {alias} WHERE {' AND '.join(tests) or '1 = 1'}"
        f" ORDER BY {', '.join(f'{each} {way}' for each in columns)} LIMIT :sample"
    )


def counted(given: Filter, driver: Condition | None) -> str:
    """How many mails there are, up to `:limit`."""
    if driver is not None and driver.exact and (driver.ids > 1 or driver.sparse):
        # In whatever order: of systems, types and values each mail has one.
        conditions, (index,) = in_another_order(given, driver, looked_up=False), driver.indexes
        joined, mails = [index.condition, *_range(index, given)], ""
        if len(given.conditions) > 1:
            mails = "" if index.of_mails else f" CROSS JOIN {MAIL_OF}"
            joined += [*([] if index.of_mails else ["k.killmail_id = d.killmail_id"]), *conditions]
        return (
            f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM {index.source}{mails} "
            f"WHERE {' AND '.join(joined)} LIMIT :limit) AS matching"
        )
    walks = _walks(given, driver, Order.TIME_DESC, goes_on=False)
    return f"SELECT COUNT(*) AS n FROM ({' UNION '.join(walks)} LIMIT :limit) AS matching"


def _walks(given: Filter, driver: Condition | None, order: Order, goes_on: bool) -> list[str]:
    indexes = driver.indexes if driver is not None else (Index("killmails", "1 = 1"),)
    found = []
    for number, index in enumerate(indexes):
        walk = _walk(given, driver, index, order, goes_on)
        if index.ids is not None:
            walk = (
                f"SELECT o.killmail_id FROM {{each:{index.ids}}} CROSS JOIN {{lateral}}{walk}{{end_lateral}}"
            )
        found.append(f"SELECT killmail_id FROM ({walk}) AS w{number}")
    return found


def in_another_order(given: Filter, driver: Condition | None, *, looked_up: bool = True) -> list[str]:
    """Conditions on `killmails k`. driver: of few mails, which are looked up; None: every mail is tested.

    looked_up: with the condition that does so.
    """
    tests = [_opaque(each.test, "") for each in given.conditions if each is not driver or not driver.exact]
    tests += _range(Index("killmails", ""), given)
    if driver is None or not looked_up:
        return tests
    ids = [
        f"SELECT {index.alias}.killmail_id FROM {index.source} "
        f"WHERE {' AND '.join([index.condition, *_range(index, given)])}"
        for index in driver.indexes
    ]
    return [f"k.killmail_id {{of_few}}{' UNION ALL '.join(ids)}{{end_of_few}}", *tests]


def _walk(given: Filter, driver: Condition | None, index: Index, order: Order, goes_on: bool) -> str:
    """Mails of one index in the order of time, with the conditions that it does not stand for."""
    alias, time = index.alias, "killmail_time" if index.of_mails else "killed_at"
    tests = [index.condition, *_range(index, given)]
    if goes_on:
        sign = "<" if order.descending else ">"
        moment = ":after_time" if index.of_mails else ":after_at"
        tests.append(f"({alias}.{time}, {alias}.killmail_id) {sign} ({moment}, :after_id)")
    same_time = "" if index.of_mails else " AND x.killed_at = d.killed_at"
    others = [
        _opaque(each.test, same_time) for each in given.conditions if each is not driver or not driver.exact
    ]
    mails = ""
    if others and not index.of_mails:
        mails, others = f" CROSS JOIN {MAIL_OF}", ["k.killmail_id = d.killmail_id", *others]
    distinct = "DISTINCT " if index.table == "attackers" else ""
    way = "DESC" if order.descending else "ASC"
    return (
        f"SELECT {distinct}{alias}.{time}, {alias}.killmail_id FROM {index.table} {alias}{mails} "
        f"WHERE {' AND '.join(tests + others)} "
        f"ORDER BY {alias}.{time} {way}, {alias}.killmail_id {way} LIMIT :limit"
    )


def _opaque(test: str, same_time: str) -> str:
    """A test that no planner takes for a reason to use another index than the one that is to be walked."""
    # Without the time, the mail's own rows are the shorter way: a plus keeps the column's index out.
    told = test.replace("{same_time}", same_time).replace("{plain}", "" if same_time else "+")
    return f"CASE WHEN {told} THEN 1 ELSE 0 END = 1"


def _range(index: Index, given: Filter) -> list[str]:
    column = "k.killmail_time" if index.of_mails else "d.killed_at"
    found = []
    for name, sign in (("since", ">="), ("until", "<")):
        moment: datetime | None = getattr(given, name)
        if moment is not None:
            key = name if index.of_mails else f"{name}_at"
            given.params[key] = moment if index.of_mails else int(moment.timestamp())
            found.append(f"{column} {sign} :{key}")
    return found


def after_params(order: Order, after: paging.Key | None) -> dict[str, Any]:
    """The parameters of a list that goes on after a key."""
    if after is None:
        return {}
    key, killmail_id = after
    if isinstance(key, datetime):
        return {"after_time": key, "after_at": int(key.timestamp()), "after_id": killmail_id}
    if order is Order.VALUE_DESC:
        return {"after_total": key, "after_id": killmail_id}
    return {"after_position": key}
