"""The 53 real killmails through the real pipeline, against an oracle made from the contract's words alone.

Nothing of the product's valuing is used here: prices are what the simulator answers, types what the export
says, and the rules stand below in decimals.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from killsyncd.core import killmail as km
from killsyncd.core.clock import SystemClock
from killsyncd.pricing.overrides import cents_of
from killsyncd.pricing.price_day import PriceDay
from killsyncd.pricing.valuer import Valuer
from killsyncd.static_data.ports import TableChange
from killsyncd.static_data.records import TABLES
from killsyncd.static_data.task import _parsed
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.prices import PriceRepository
from killsyncd.storage.repositories.static_data import StaticDataRepository
from killsyncd.storage.repositories.values import ValueRepository, explained_value
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Store
from killsyncd.sync.batch import Arrival
from tests.support import real_static
from tests.support.storage_world import StorageWorld, hash_of

CENT = Decimal("0.01")
FITTED = {*range(11, 35), *range(92, 100), *range(125, 133), *range(159, 164), *range(164, 172)}


class Timed:
    """A store with the machine's own time."""

    clock = SystemClock()

    async def pass_time(self, seconds: float) -> None:
        raise NotImplementedError


def average(type_id: int) -> str | None:
    """ESI's price of a fixed day, made from the id alone; every 13th type has none."""
    if type_id % 13 == 0:
        return None
    return f"{type_id * 7919 % 10**9}.{type_id % 1000:03d}"


def oracle(mail: dict[str, Any]) -> dict[str, Any]:
    """Quantity times price, dropped and destroyed by each item's own fate, also inside containers."""
    types, sums = (
        real_static.types(),
        dict.fromkeys(("destroyed", "dropped", "ship", "fitted", "cargo"), Decimal(0)),
    )
    missing: set[int] = set()

    def one(type_id: int, copy: bool) -> Decimal:
        known = types.get(type_id)
        if copy or (known and known.category_id == 91):
            return CENT
        if type_id in (670, 33328) or (known and known.group_id == 29):
            return Decimal(10_000)
        price = average(type_id)
        if price is None or (known and known.meta_group_id == 15):
            missing.add(type_id)
            return Decimal(0)
        return Decimal(price).quantize(CENT, ROUND_HALF_UP)

    hull = mail["victim"]["ship_type_id"]
    sums["ship"] = sums["destroyed"] = one(hull, False)
    pod = hull in (670, 33328)

    def add(item: dict[str, Any], top: bool) -> None:
        each = one(item["item_type_id"], item["singleton"] == 2)
        for fate in ("destroyed", "dropped"):
            worth = each * item.get(f"quantity_{fate}", 0)
            sums[fate] += worth
            fitted = top and (item["flag"] in FITTED or (pod and item["flag"] == 89))
            sums["fitted" if fitted else "cargo"] += worth
        for inner in item.get("items", []):
            add(inner, False)

    for item in mail["victim"].get("items", []):
        add(item, True)
    return {**sums, "total": sums["destroyed"] + sums["dropped"], "unpriced": sorted(missing)}


async def load_static_data(store: Store) -> None:
    build, tables = await asyncio.to_thread(_parsed, real_static.ARCHIVE)
    changes = [TableChange(table, list(tables[table.table].values())) for table in TABLES]
    assert await StaticDataRepository(store).swap(build, 0, changes)


@real_static.needs_static
async def test_the_stored_values_agree_to_the_cent(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "k.db", SystemClock())
    try:
        await migrate(store)
        world = await StorageWorld.begin(Timed(), store)
        await load_static_data(store)
        raws = real_static.killmails()
        pilot = await world.pilot(90_000_001)
        mails = [km.decode(raw) for raw in raws]
        await KillmailWriter(store, world.holder).import_mails(
            pilot.source_id,
            [
                Arrival(mail, hash_of(mail.killmail_id), raw, 0.0)
                for mail, raw in zip(mails, raws, strict=True)
            ],
            (),
            0.0,
        )
        prices = PriceRepository(store)
        ids = {each for mail in map(orjson.loads, raws) for each in _types(mail)} | set(real_static.types())
        day = PriceDay((each, cents_of(price)) for each in ids if (price := average(each)) is not None)
        await prices.put_esi(int(f"{datetime.now(UTC):%Y%m%d}"), day.packed(), list(day.ids), 0.0)
        valuer = Valuer(
            ValueRepository(store, world.holder),
            prices,
            SystemClock(),
            overrides=None,
            report=pytest.fail,
            clear=lambda code: None,
            valued=lambda: None,
        )
        while await valuer._round():
            pass
        rows = await world.rows("SELECT * FROM killmail_values")
        found = {int(row["killmail_id"]): row for row in rows}
        assert len(found) == len(raws) == 53
        without = 0
        for mail in map(orjson.loads, raws):
            row, wanted = found[mail["killmail_id"]], oracle(mail)
            for part in ("total", "destroyed", "dropped", "ship", "fitted", "cargo"):
                assert Decimal(row[part]) / 100 == wanted[part], (mail["killmail_id"], part)
            assert orjson.loads(row["unpriced"] or "[]") == wanted["unpriced"], mail["killmail_id"]
            without += len(wanted["unpriced"])
        assert without > 53
        told = await store.read(explained_value, mails[0].killmail_id)
        assert told is not None
        assert told.method == "LATER"
        unknown = {each for mail in map(orjson.loads, raws) for each in _types(mail)} - set(
            real_static.types()
        )
        assert sum(int(row["unknown"]) for row in rows) >= len(unknown) > 0
    finally:
        await store.close()


def _types(mail: dict[str, Any]) -> list[int]:
    def inside(items: list[dict[str, Any]]) -> list[int]:
        return [each for item in items for each in (item["item_type_id"], *inside(item.get("items", [])))]

    return [mail["victim"]["ship_type_id"], *inside(mail["victim"].get("items", []))]
