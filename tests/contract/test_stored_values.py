"""Values of stored killmails: written behind the feed, and again when something better is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.background import VALUES
from killsyncd.core.clock import SystemClock
from killsyncd.pricing.price_day import PriceDay
from killsyncd.pricing.valuer import Valuer
from killsyncd.service.results import ExplainedValue
from killsyncd.static_data.ports import TableChange
from killsyncd.static_data.records import TABLES, Build
from killsyncd.storage.repositories import values
from killsyncd.storage.repositories.background import BackgroundTasks
from killsyncd.storage.repositories.prices import PriceRepository
from killsyncd.storage.repositories.static_data import StaticDataRepository
from killsyncd.storage.repositories.values import ValueRepository, explained_value
from tests.support.storage_world import StorageWorld, arrival

HULL, GUN, COPY, TITAN = 587, 11, 13, 11567
PRICES = [(HULL, 400_000_00), (GUN, 10), (12, 7_00)]


class World:
    """A daemon's valuer on a store, driven by hand."""

    def __init__(self, world: StorageWorld, overrides: Path | None = None) -> None:
        self.world = world
        self.prices = PriceRepository(world.store)
        self.values = ValueRepository(world.store, world.holder)
        self.static = StaticDataRepository(world.store)
        self.reported: dict[str, str] = {}
        self.valuer = self.new_valuer(overrides)

    def new_valuer(self, overrides: Path | None = None) -> Valuer:
        return Valuer(
            self.values,
            self.prices,
            SystemClock(),
            overrides=overrides,
            report=self.reported.__setitem__,
            clear=lambda code: self.reported.pop(code, None),
            valued=lambda: None,
        )

    async def kills(self, *mails: tuple[int, str], **changes: Any) -> None:
        """Store mails that died on these days (20261130)."""
        pilot = await self.world.pilot(90_000_001)
        moments = [
            (number, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC, hour=9)) for number, day in mails
        ]
        arrivals = [arrival(number, moment.timestamp(), **changes) for number, moment in moments]
        await self.world.storing.import_mails(pilot.source_id, arrivals, (), 0.0)

    async def esi(self, day: int, prices: Sequence[tuple[int, int]] = PRICES) -> None:
        made = PriceDay(prices)
        await self.prices.put_esi(day, made.packed(), list(made.ids), 0.0)

    async def history(self, day: int, prices: Sequence[tuple[int, int]]) -> None:
        made = PriceDay(prices)
        await self.prices.put_history(day, made.packed(), list(made.ids), 0.0)

    async def build(self, number: int, types: Sequence[int]) -> None:
        """Take a build over that has these types."""
        before = await self.static.build()
        rows: dict[str, list[tuple[Any, ...]]] = {
            "type_categories": [(6, "Ship")],
            "type_groups": [(25, 6, "Frigate")],
            "types": [(each, 25, None, f"Type {each}") for each in types],
        }
        changes = [TableChange(table, rows.get(table.table, [])) for table in TABLES]
        assert await self.static.swap(Build(number, "now"), before, changes)

    async def settle(self) -> None:
        """Value until there is nothing left."""
        for _ in range(200):
            if not await self.valuer._round():
                return
        raise AssertionError("there is no end to it")

    async def value(self, killmail_id: int) -> ExplainedValue | None:
        return await self.world.store.read(explained_value, killmail_id)

    async def how(self, killmail_id: int) -> tuple[str, str] | None:
        """Method and day of a mail's value."""
        found = await self.value(killmail_id)
        return None if found is None else (found.method, found.priced_on)


@pytest.fixture
def it(world: StorageWorld) -> World:
    return World(world)


# What `arrival` makes: a hull, 2^33 of GUN dropped, one of 12 destroyed, a blueprint copy inside it.
WORTH = 400_000 + 2**33 * 0.10 + 7.00 + 0.01


async def test_nothing_is_said_before_something_is_known(it: World) -> None:
    await it.kills((1, "20261105"), (2, "20261110"), (3, "20261112"))
    await it.settle()
    assert await it.value(1) is None
    await it.esi(20261110)
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-10")
    assert await it.how(2) == ("ESI_AVERAGE", "2026-11-10")
    assert await it.value(3) is None, "an earlier price says nothing of a later kill"
    found = await it.value(2)
    assert found is not None
    assert found.total == pytest.approx(WORTH)
    assert (found.destroyed, found.unpriced, found.changes) == (400_007.00, [], 0)
    await it.esi(20261113)
    await it.settle()
    assert await it.how(3) == ("LATER", "2026-11-13")
    assert await it.how(2) == ("ESI_AVERAGE", "2026-11-10")


async def test_what_has_no_price_is_listed_and_counts_as_nothing(it: World) -> None:
    await it.kills((1, "20261110"))
    await it.esi(20261110, [(HULL, 100)])
    await it.settle()
    found = await it.value(1)
    assert found is not None
    assert (found.total, found.unpriced) == (1.01, [11, 12])


async def test_a_better_price_values_again_and_says_so(it: World) -> None:
    await it.kills((1, "20261101"), (2, "20261102"))
    await it.esi(20261130)
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-30")
    await it.history(20261101, [(HULL, 1_00), (GUN, 1), (12, 1)])
    await it.settle()
    found = await it.value(1)
    assert found is not None
    assert (found.method, found.priced_on, found.changes) == ("MARKET_HISTORY", "2026-11-01", 1)
    assert (found.earlier_method, found.earlier_priced_on) == ("LATER", "2026-11-30")
    assert found.earlier_total == pytest.approx(WORTH)
    assert await it.how(2) == ("LATER", "2026-11-30")


async def test_a_type_that_was_not_traded_takes_the_next_day_that_has_it(it: World) -> None:
    await it.kills((1, "20261101"))
    await it.history(20261101, [(HULL, 1_00), (12, 1)])
    await it.history(20261103, [(HULL, 2_00)])
    await it.history(20261104, [(GUN, 3)])
    await it.esi(20261130)
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-04")
    found = await it.value(1)
    assert found is not None
    assert found.total == pytest.approx(1.00 + 2**33 * 0.03 + 0.01 + 0.01)


async def test_after_the_history_is_filled_later_prices_are_looked_up_again(it: World) -> None:
    await it.kills((1, "20261101"))
    await it.history(20261101, [(HULL, 1_00), (12, 1)])
    await it.esi(20261130)
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-30")
    await it.history(20261102, [(GUN, 3)])
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-30")
    await it.values.start_pass("values_later", None)
    await it.settle()
    assert await it.how(1) == ("LATER", "2026-11-02")


async def test_the_operators_prices_win_and_bad_lines_are_named(it: World, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    await it.kills((1, "20261110"), (2, "20261120"))
    await it.esi(20261120)
    await it.settle()
    file.write_text("type_id,price,from,to\n587,5.005,2026-11-01,2026-11-15\nx,1\n12,1e99\n13,1,2026-13-01\n")
    it.valuer.read_again(file)
    await it.settle()
    found = await it.value(1)
    assert found is not None
    assert found.total == pytest.approx(WORTH - 400_000 + 5.01)
    assert await it.how(2) == ("ESI_AVERAGE", "2026-11-20")
    told = it.reported["price_overrides_bad"]
    assert "line 3: the type is no id" in told
    assert "line 4: the price is no number" in told
    assert "line 5: a day is written" in told
    file.write_text("587,9\n")
    it.valuer.read_again(file)
    await it.settle()
    second = await it.value(2)
    assert second is not None
    assert second.total == pytest.approx(WORTH - 400_000 + 9)
    assert it.reported == {}
    assert second.earlier_total == pytest.approx(WORTH)
    # The same file after a restart changes nothing; without it everything is as it was.
    it.valuer = it.new_valuer(file)
    await it.settle()
    assert (await it.value(2)) == second
    it.valuer.read_again(None)
    await it.settle()
    third = await it.value(2)
    assert third is not None
    assert third.total == pytest.approx(WORTH)


async def test_a_file_that_is_away_changes_nothing(it: World, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("587,9\n")
    it.valuer.read_again(file)
    await it.kills((1, "20261110"))
    await it.esi(20261110)
    await it.settle()
    before = await it.value(1)
    file.unlink()
    it.valuer = it.new_valuer(file)
    await it.settle()
    assert "cannot be read" in it.reported["price_overrides_bad"]
    assert await it.value(1) == before


async def test_what_the_static_data_did_not_know_is_valued_again(it: World) -> None:
    await it.kills((1, "20261110"))
    await it.esi(20261110)
    await it.settle()
    found = await it.value(1)
    assert found is not None
    assert found.unknown == 4
    await it.build(7, [HULL, GUN, 12])
    await it.settle()
    found = await it.value(1)
    assert found is not None
    assert (found.unknown, found.changes) == (1, 0), "the value is the same: nothing to tell"


async def test_an_erased_mail_takes_its_value_along(it: World) -> None:
    await it.kills((1, "20261110"), (2, "20261110"))
    await it.esi(20261110)
    await it.settle()
    await it.world.rows("DELETE FROM killmails WHERE killmail_id = 1")
    assert await it.world.value("SELECT COUNT(*) FROM killmail_values") == 1


async def test_days_that_mails_need_are_found_the_latest_first(it: World) -> None:
    await it.kills((1, "20261101"), (2, "20261103"), (3, "20261103"), (4, "20261110"), (5, "20261120"))
    await it.esi(20261110)
    before = datetime(2026, 11, 20, tzinfo=UTC)
    assert await it.prices.wanted_days(before, 10) == [20261103, 20261101]
    assert await it.prices.wanted_days(before, 1) == [20261103]
    await it.prices.put_history(20261103, None, [], 3600.0)
    assert await it.prices.wanted_days(before, 10) == [20261101]
    assert await it.prices.attempts(20261103) == 1
    await it.history(20261103, [(1, 1)])
    assert await it.prices.filled() == 1


async def test_a_day_once_kept_stays_and_is_carried_over_midnight(it: World) -> None:
    await it.esi(20261110, [(HULL, 1)])
    await it.esi(20261110, [(HULL, 2)])
    await it.prices.carry(20261111)
    day = PriceDay.unpacked(await it.prices.esi_day(20261111) or b"")
    assert day.get(HULL) == 1
    index = await it.prices.index()
    assert (list(index.types), list(index.first), list(index.last)) == ([HULL], [20261110], [20261111])


async def test_of_two_daemons_one_values_and_the_other_takes_over(worlds: list[StorageWorld]) -> None:
    first, second = World(worlds[0]), World(worlds[1])
    await first.kills((1, "20261110"))
    await first.esi(20261110)
    assert await first.values.claim()
    assert (await first.values.work()).held
    assert not await second.values.claim()
    assert not (await second.values.work()).held
    assert not await second.values.keep(VALUES, 1, [])
    await first.settle()
    assert await first.how(1) == ("ESI_AVERAGE", "2026-11-10")
    await worlds[0].member.leave()
    assert await second.values.claim()
    tasks = BackgroundTasks(worlds[1].store, worlds[1].holder)
    assert await tasks.claim("prices") is not None


async def test_mails_are_valued_by_their_items_and_not_by_their_number(
    it: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred may have thousands each; however they are cut, none is left out."""
    monkeypatch.setattr(values, "ITEMS_AT_ONCE", 4)
    days = [(number, f"202611{number:02d}") for number in range(1, 21)]
    await it.esi(20261130)
    await it.kills(*days)
    kills, reached = await it.values.kills_after(0, 20, VALUES, 200)
    assert (len(kills), reached) == (1, kills[-1].feed_position)
    await it.settle()
    assert [await it.how(number) for number, _ in days] == [("LATER", "2026-11-30")] * 20
    await it.esi(20261129)
    await it.settle()
    assert [await it.how(number) for number, _ in days] == [("LATER", "2026-11-29")] * 20
