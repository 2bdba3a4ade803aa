"""Days of archives that were read, and refs that somebody brings, on both databases."""

from __future__ import annotations

from killsyncd.core.model import Source, SourceKind
from killsyncd.service.history import DayRead
from killsyncd.storage.repositories.history import HistoryRepository
from killsyncd.storage.repositories.users import source_id
from tests.support.storage_world import StorageWorld, entries


async def test_days_are_kept_by_archive_and_scope(world: StorageWorld) -> None:
    rows = HistoryRepository(world.store)
    await rows.day_read(DayRead("everef", "characters 1", 20260101, 15000, 20, 18, 1))
    await rows.day_read(DayRead("everef", "everybody", 20260102, 5, 5, 5, 0))
    await rows.day_read(DayRead("everef", "characters 1", 20260101, 15001, 21, 1, 0))
    assert await rows.days("everef", "characters 1") == {20260101: 15001}
    assert await rows.days("zkillboard", "everybody") == {}
    assert await rows.days_refused("everef", "characters 1") == []
    await rows.day_read(DayRead("everef", "characters 1", 20260103, 9, 9, 8, 1))
    assert await rows.days_refused("everef", "characters 1") == [20260103]


async def test_who_is_ours(world: StorageWorld) -> None:
    rows = HistoryRepository(world.store)
    await world.pilot(2)
    await world.pilot(1)
    await world.store.write(source_id, Source(SourceKind.CORPORATION, 98_000_001), None)
    assert await rows.ours() == ([1, 2], [98_000_001])


async def test_refs_are_wanted_once_and_come_last(world: StorageWorld) -> None:
    rows = HistoryRepository(world.store)
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.store_mails(1)
    sighted = await rows.want(entries(1, 2, 3), await world.now())
    assert (sighted.listed, sighted.stored) == (3, 1)
    assert await world.refs() == {2: "pending", 3: "pending"}
    assert (await rows.want(entries(2), await world.now())).new == 0
    (files,) = await world.ledger.pending_sources()
    assert (await world.ledger.pending_of(files, 10)).heavy
