"""Lists and counts of mails as SQL, out of the conditions that a filter was taken apart into (`filtering`).

`driving` decides which index is read; this is the SQL that reads it. (The walks of lists at ESI are another
thing: `walks`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from killsyncd.core.read_model import Order
from killsyncd.storage.repositories import paging
from killsyncd.storage.repositories.filtering import MAIL_OF, Condition, Filter, Index


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
