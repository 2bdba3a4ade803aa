"""Cursors of the feed: good for as long as their history is, refused for good once it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from killsyncd.core.errors import BadInput
from killsyncd.core.read_model import FeedPoint
from killsyncd.service import feed_cursor, parse_cursor
from killsyncd.storage.migrations import Migratable, migrate, migrations
from killsyncd.storage.repositories.daemons import begin_feed
from killsyncd.storage.repositories.feed import feed_point
from killsyncd.storage.repositories.status import StatusRepository
from tests.contract.conftest import Backend, Sqlite
from tests.contract.test_migrations import migrate_to
from tests.support.storage_world import StorageWorld, arrival

STARTS = next(each.number for each in migrations() if each.name == "feed_starts")
"""The migration since which starts are written down."""


async def grow(world: StorageWorld, *ids: int) -> FeedPoint:
    """Store mails; answers where the feed stands then."""
    at = await world.now()
    source = await world.value(
        "INSERT INTO sources (kind, subject_id, created_at) VALUES ('import', 0, 0)"
        " ON CONFLICT (kind, subject_id) DO UPDATE SET weight = 3 RETURNING id"
    )
    await world.storing.import_mails(int(source), [arrival(each, at) for each in ids], [], at)
    return await world.store.read(feed_point)


async def restarted(backend: Backend, world: StorageWorld) -> StorageWorld:
    """The next daemon on the same database."""
    await world.member.leave()
    return await StorageWorld.begin(backend, world.store)


def end_of(point: FeedPoint) -> str:
    return feed_cursor(point.epoch, point.position)


async def test_cursors_outlive_restarts(backend: Backend, world: StorageWorld) -> None:
    cursors = {}
    for round_ in range(4):
        first = round_ * 10 + 1
        point = await grow(world, *range(first, first + 10))
        cursors[point.position] = end_of(point)
        world = await restarted(backend, world)
        world = await restarted(backend, world)  # and nothing was stored meanwhile
    assert len(set(cursors.values())) == 4
    point = await world.store.read(feed_point)
    assert len(point.epoch.starts) == 5
    for position, cursor in cursors.items():
        assert parse_cursor(cursor, point) == position
        assert await StatusRepository(world.store).feed_start(cursor) == position


async def test_daemons_that_join_others_begin_nothing(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    point = await grow(one, 1, 2, 3)
    assert len(point.epoch.starts) == 1
    await two.member.leave()
    three = await StorageWorld.begin(two.timed, two.store)
    await grow(three, 4)
    assert len((await grow(one, 5)).epoch.starts) == 1
    await three.store.write(begin_feed, False)  # an import beside them
    assert len((await one.store.read(feed_point)).epoch.starts) == 1


async def test_a_copy_that_was_put_back_refuses_what_it_never_gave_out(tmp_path: Path) -> None:
    """A snapshot of the machine: the feed goes another way, and grows past where the reader was."""
    backend = Sqlite(tmp_path / "killsyncd.db")
    store = await backend.open()
    await migrate(store)
    world = await StorageWorld.begin(backend, store)
    common = end_of(await grow(world, *range(1, 11)))
    await store.backup(tmp_path / "snapshot.db")  # type: ignore[attr-defined]
    same_start = end_of(await grow(world, *range(11, 21)))
    world = await restarted(backend, world)
    later_start = end_of(await grow(world, *range(21, 31)))
    await backend.close()
    shutil.copy(tmp_path / "snapshot.db", tmp_path / "killsyncd.db")
    backend = Sqlite(tmp_path / "killsyncd.db")
    world = await StorageWorld.begin(backend, await backend.open())
    rows = StatusRepository(world.store)
    for cursor in (same_start, later_start):
        with pytest.raises(BadInput, match="ahead of the feed"):
            await rows.feed_start(cursor)
    await grow(world, *range(101, 151))
    for cursor in (same_start, later_start):
        with pytest.raises(BadInput, match="history that is gone") as refusal:
            await rows.feed_start(cursor)
        assert "start anew" in refusal.value.hint
    assert await rows.feed_start(common) == 10
    await backend.close()


async def test_an_import_without_a_daemon_is_a_history_of_its_own(
    backend: Backend, world: StorageWorld
) -> None:
    before = await grow(world, 1, 2)
    await world.member.leave()
    await world.store.write(begin_feed, world.store.exclusive)
    after = await grow(world, 3)
    assert after.epoch.start_of(3) not in ("", before.epoch.start_of(2))


async def test_cursors_given_out_before_starts_were_written_down_stay_good(empty: Backend) -> None:
    store: Migratable = await empty.open()
    await migrate_to(store, STARTS - 1)
    await store.script(["UPDATE feed SET position = 40"])
    await migrate(store)
    world = await StorageWorld.begin(empty, store)
    point = await grow(world, 1, 2)
    assert parse_cursor(f"{point.epoch}:40", point) == 40
    assert parse_cursor(f"{point.epoch}:0", point) == 0
    assert feed_cursor(point.epoch, 40) == f"{point.epoch}:40"
    for gone in (f"{point.epoch}:41", f"{point.epoch}-abc:40", f"{point.epoch}-abc:41"):
        with pytest.raises(BadInput, match="history that is gone"):
            parse_cursor(gone, point)
    assert parse_cursor(end_of(point), point) == 42
