"""What stored killmails are worth: read for valuing, written down with how far the valuing is.

`keep` is the one way by which values change: whoever keeps sums of them takes part in its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from killsyncd.core.background import LATER, OVERRIDDEN, UNKNOWN, VALUES
from killsyncd.core.clock import utc
from killsyncd.pricing.facts import StaticFacts
from killsyncd.pricing.ports import Day, Kill, Valued, Work
from killsyncd.pricing.price_day import day_of, next_day
from killsyncd.pricing.valuation import ItemRow, PriceMethod, Valuation
from killsyncd.service.results import ExplainedValue
from killsyncd.storage.repositories.background import LONGEST_WAIT, all_tasks
from killsyncd.storage.repositories.prices import price_version
from killsyncd.storage.repositories.static_data import StaticDataRepository, build_number
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Ids, Many, Row, Rows, Run, Store, Tx, needed_datetime, one

PASSES = (OVERRIDDEN, LATER, UNKNOWN)

ITEMS_AT_ONCE = 50_000
"""Of the mails that are valued together: each takes some hundred bytes meanwhile."""


class ValueRepository(Repository):
    """Implements `ValueRows`. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder
        self._facts = StaticDataRepository(store)

    @writes
    def claim(self) -> Tx[bool]:
        """Take the task; False: another daemon is at it."""
        values = {"name": VALUES, "holder": self._holder, "longest": LONGEST_WAIT}
        return bool((yield Run("background.claim", values)))

    @reads
    def work(self) -> Tx[Work]:
        """How things stand."""
        feed = one((yield Run("values.feed_end", {})))
        assert feed is not None, "migration 1 makes the feed's row"
        tasks = {each.name: each for each in (yield from all_tasks())}
        unapplied = yield from _unapplied()
        holder = one((yield Run("values.holder", {"name": VALUES})))
        return Work(
            held=holder is not None and holder["holder"] == self._holder,
            position=tasks[VALUES].position if VALUES in tasks else 0,
            feed=int(feed["position"]),
            build=(yield from build_number()),
            version=(yield from price_version()),
            unapplied=unapplied,
            passes={
                name: (task.position, task.until)
                for name in PASSES
                if (task := tasks.get(name)) is not None and task.until is not None
            },
            validators={name: tasks[name].validator for name in PASSES if name in tasks},
        )

    async def build(self) -> int:
        """The build of the static data in the tables; 0 for none."""
        return await self._facts.build()

    async def facts(self) -> StaticFacts:
        """What valuing needs to know of types."""
        return await self._facts.type_facts()

    @reads
    def kills_after(self, position: int, until: int, kind: str, limit: int) -> Tx[tuple[list[Kill], int]]:
        """Mails of the feed in (position, until], and up to where it was looked."""
        which = {"every": kind in (VALUES, OVERRIDDEN), "later": kind == LATER, "unknown": kind == UNKNOWN}
        rows = yield Run(
            "values.kills_after",
            {
                "position": position,
                "until": until,
                "limit": limit,
                "every": which["every"],
                "later": which["later"],
                "unknown": which["unknown"],
            },
        )
        kills = yield from _with_items(rows)
        whole = len(kills) == len(rows) < limit
        return kills, until if whole else kills[-1].feed_position

    @reads
    def kills_of(
        self, first: Day, last: Day, after: tuple[datetime, int] | None, limit: int
    ) -> Tx[tuple[list[Kill], tuple[datetime, int] | None]]:
        """Mails of these days, and where to go on (None: that was all)."""
        begin, begin_id = after or (_start_of(first) - timedelta(seconds=1), 2**62)
        rows = yield Run(
            "values.kills_of",
            {"end": _start_of(next_day(last)), "after": begin, "after_id": begin_id, "limit": limit},
        )
        kills = yield from _with_items(rows)
        if len(kills) == len(rows) < limit:
            return kills, None
        return kills, (needed_datetime(rows[len(kills) - 1]["killmail_time"]), kills[-1].killmail_id)

    @writes
    def keep(self, kind: str, position: int, values: Sequence[Valued]) -> Tx[bool]:
        """Write values down, and how far this pass is, in one transaction.

        False: this daemon does not hold the task any more, and nothing was written.
        """
        if kind == VALUES:
            if not (
                yield Run("values.moved", {"name": VALUES, "holder": self._holder, "position": position})
            ):
                return False
        else:
            row = one((yield Run("values.holder", {"name": VALUES})))
            if row is None or row["holder"] != self._holder:
                return False
            if kind in PASSES:
                yield Run("values.pass_moved", {"name": kind, "position": position})
        if values:
            yield Many(
                "values.keep",
                [
                    {
                        "killmail_id": each.killmail_id,
                        "killed_at": each.killed_at,
                        "total": each.valuation.total,
                        "destroyed": each.valuation.destroyed,
                        "dropped": each.valuation.dropped,
                        "ship": each.valuation.ship,
                        "fitted": each.valuation.fitted,
                        "cargo": each.valuation.cargo,
                        "method": each.valuation.method.value,
                        "priced_on": each.valuation.priced_on,
                        "unpriced": _json(each.valuation.unpriced),
                        "unknown": each.unknown,
                    }
                    for each in values
                ],
            )
        return True

    @writes
    def applied(self, day: Day, history: bool) -> Tx[None]:
        """The mails that a day concerns are valued by it."""
        yield Run("prices.applied_history" if history else "prices.applied_esi", {"day": day})

    @writes
    def start_pass(self, kind: str, validator: str | None) -> Tx[None]:
        """Look at every mail again, from the first on. validator: what for."""
        yield Run("values.start_pass", {"name": kind, "validator": validator})


def explained_value(killmail_id: int) -> Tx[ExplainedValue | None]:
    """A mail's value and how it is known, for `ctl explain`; a part of its transaction."""
    row = one((yield Run("values.explained", {"killmail_id": killmail_id})))
    if row is None:
        return None
    earlier = row["earlier_priced_on"]
    return ExplainedValue(
        total=int(row["total"]) / 100,
        destroyed=int(row["destroyed"]) / 100,
        dropped=int(row["dropped"]) / 100,
        method=str(row["method"]),
        priced_on=day_of(int(row["priced_on"])).isoformat(),
        unpriced=orjson.loads(row["unpriced"]) if row["unpriced"] else [],
        unknown=int(row["unknown"]),
        valued_at=utc(float(row["valued_at"])),
        changes=int(row["changes"]),
        earlier_total=None if row["earlier_total"] is None else int(row["earlier_total"]) / 100,
        earlier_method=row["earlier_method"],
        earlier_priced_on=None if earlier is None else day_of(int(earlier)).isoformat(),
    )


def _start_of(day: Day) -> datetime:
    if not day:
        return datetime(1970, 1, 2, tzinfo=UTC)
    found = day_of(day)
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def _unapplied() -> Tx[list[tuple[Day, Day, Day, bool]]]:
    found: list[tuple[Day, Day, Day, bool]] = []
    for row in (yield Run("prices.unapplied_esi", {})):
        before = max((int(each) for each in (row["esi_before"], row["history_before"]) if each), default=0)
        day = int(row["day"])
        found.append((day, next_day(before) if before else 0, day, False))
    for row in (yield Run("prices.unapplied_history", {})):
        found.append((int(row["day"]), int(row["day"]), int(row["day"]), True))
    return found


def _with_items(rows: Rows) -> Tx[list[Kill]]:
    """The first of these mails with their items: as many as have ITEMS_AT_ONCE together, and one at least."""
    if not rows:
        return []
    ids = Ids([int(row["killmail_id"]) for row in rows])
    counts = {
        int(row["killmail_id"]): int(row["items"]) for row in (yield Run("values.item_counts", {"ids": ids}))
    }
    total = 0
    for number, row in enumerate(rows):
        total += counts.get(int(row["killmail_id"]), 0)
        if number and total > ITEMS_AT_ONCE:
            rows = rows[:number]
            break
    ids = Ids([int(row["killmail_id"]) for row in rows])
    items: dict[int, Sequence[ItemRow]] = {
        int(row["killmail_id"]): orjson.loads(row["items"])
        for row in (yield Run("values.items", {"ids": ids}))
    }
    return [
        Kill(
            int(row["killmail_id"]),
            int(row["killed_at"]),
            int(row["feed_position"]),
            _day(row["killmail_time"]),
            int(row["ship_type_id"]),
            items.get(row["killmail_id"], ()),
            None if row["total"] is None else _valued(row),
        )
        for row in rows
    ]


def _day(time: Any) -> Day:
    if isinstance(time, str):  # SQLite's text, at a tenth of the price of parsing it
        return int(time[0:4]) * 10_000 + int(time[5:7]) * 100 + int(time[8:10])
    moment = needed_datetime(time)
    return moment.year * 10_000 + moment.month * 100 + moment.day


def _valued(row: Row) -> Valued:
    valuation = Valuation(
        total=int(row["total"]),
        destroyed=int(row["destroyed"]),
        dropped=int(row["dropped"]),
        ship=int(row["ship"]),
        fitted=int(row["fitted"]),
        cargo=int(row["cargo"]),
        unpriced=tuple(orjson.loads(row["unpriced"])) if row["unpriced"] else (),
        method=PriceMethod(row["method"]),
        priced_on=int(row["priced_on"]),
    )
    return Valued(int(row["killmail_id"]), int(row["killed_at"]), valuation, int(row["unknown"]))


def _json(types: Sequence[int]) -> str | None:
    return orjson.dumps(types).decode() if types else None
