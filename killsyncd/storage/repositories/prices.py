"""Prices by the day, packed: ESI's, and the market's history of days that we did not see."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime

from killsyncd.core.background import VALUES
from killsyncd.pricing.ports import Day, EsiDay, PriceIndex
from killsyncd.pricing.price_day import day_number
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Ids, Run, Tx, needed_datetime, one

MOST_STEPS = 8000
"""Days that are looked through for prices: killmails exist since 2007."""


def price_version() -> Tx[tuple[float, ...]]:
    """What differs whenever a day came or went; a part of other transactions."""
    row = one((yield Run("prices.version", {})))
    assert row is not None, "an aggregate answers one row"
    return tuple(float(row[name]) for name in ("esi", "esi_at", "history", "history_at"))


class PriceRepository(Repository):
    """Implements `PriceRows`."""

    @reads
    def version(self) -> Tx[tuple[float, ...]]:
        """As `PriceIndex.version`."""
        return (yield from price_version())

    @reads
    def index(self) -> Tx[PriceIndex]:
        """Which days there are, and on which a type was priced first and last."""
        version = yield from price_version()
        esi = [int(row["day"]) for row in (yield Run("prices.esi_days", {}))]
        history = [int(row["day"]) for row in (yield Run("prices.history_days", {}))]
        types, first, last = array("q"), array("q"), array("q")
        for row in (yield Run("prices.priced_types", {})):
            types.append(int(row["type_id"]))
            first.append(int(row["first_day"]))
            last.append(int(row["last_day"]))
        return PriceIndex(version, esi, history, types, first, last)

    @reads
    def esi_day(self, day: Day) -> Tx[bytes | None]:
        """Packed prices; None where there are none of this day."""
        row = one((yield Run("prices.esi_day", {"day": day})))
        return None if row is None else bytes(row["prices"])

    @reads
    def history_day(self, day: Day) -> Tx[bytes | None]:
        """Packed prices of the market's history; None where there are none of this day."""
        row = one((yield Run("prices.history_day", {"day": day})))
        return None if row is None or row["prices"] is None else bytes(row["prices"])

    @reads
    def latest(self) -> Tx[EsiDay | None]:
        """The latest day from ESI."""
        row = one((yield Run("prices.latest", {})))
        return None if row is None else EsiDay(int(row["day"]), float(row["expires_at"]), int(row["types"]))

    @writes
    def put_esi(self, day: Day, packed: bytes, types: Sequence[int], expires_at: float) -> Tx[None]:
        """Keep a day's prices. A day that is there already stays as it is: mails were valued by it."""
        # Where nothing was valued yet, everything will be by this day as it is.
        version = yield from price_version()
        values = one((yield Run("background.due_in", {"name": VALUES})))
        applied = not version[0] and not version[2] and values is None
        told = {"day": day, "prices": packed, "types": len(types), "expires_at": expires_at}
        if (yield Run("prices.put_esi", {**told, "applied": applied})):
            yield Run("prices.types_priced", {"day": day, "ids": Ids(types)})

    @writes
    def carry(self, day: Day) -> Tx[None]:
        """The answer that the latest day came from still holds: have it for this day, too."""
        row = one((yield Run("prices.latest", {})))
        if row is not None and int(row["day"]) < day:
            yield Run("prices.carry", {"day": day, "latest": int(row["day"])})
            yield Run("prices.carried_types", {"day": day, "latest": int(row["day"])})

    @writes
    def put_history(self, day: Day, packed: bytes | None, types: Sequence[int], wait: float) -> Tx[None]:
        """Keep a day's history. packed: None where there is no file of that day; asked again in `wait` s."""
        if packed is None:
            yield Run("prices.no_history", {"day": day, "wait": wait})
            return
        yield Run("prices.put_history", {"day": day, "prices": packed, "types": len(types)})
        yield Run("prices.types_priced", {"day": day, "ids": Ids(types)})

    @reads
    def attempts(self, day: Day) -> Tx[int]:
        """How often a day's history was asked for in vain."""
        row = one((yield Run("prices.attempts", {"day": day})))
        return 0 if row is None else int(row["attempts"])

    @reads
    def wanted_days(self, before: datetime, limit: int) -> Tx[list[Day]]:
        """Days of stored killmails that have no prices of their own, the latest first."""
        have = {int(row["day"]) for row in (yield Run("prices.have_days", {}))}
        found: list[Day] = []
        for _ in range(MOST_STEPS):
            row = one((yield Run("prices.kill_before", {"before": before})))
            if row is None or row["latest"] is None or len(found) >= limit:
                break
            kill = needed_datetime(row["latest"])
            before = datetime(kill.year, kill.month, kill.day, tzinfo=UTC)
            if (day := day_number(before)) not in have:
                found.append(day)
        return found

    @reads
    def filled(self) -> Tx[int]:
        """How many days of history there are."""
        return int((yield from price_version())[2])
