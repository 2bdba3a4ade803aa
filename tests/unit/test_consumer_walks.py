"""Walks that cannot go on: a list that shrinks, changes while it is read, or has a page that never comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.core.model import SyncMode
from killsyncd.esi.responses import (
    EsiStatus,
)
from killsyncd.sync.consumer import STUCK_AFTER
from tests.support.consumer_looks import walks, wanted
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


@pytest.fixture
async def pilot(core: SyncWorld) -> Pilot:
    return await core.world.pilot(90000001)


def gone_page(core: SyncWorld) -> EsiStatus:
    return EsiStatus(404, "Requested page does not exist!", at=core.clock.now())


async def test_a_list_that_has_shrunk_is_read_from_its_first_page_again(
    core: SyncWorld, pilot: Pilot
) -> None:
    """404 behind the first page: a walk that goes on there would meet it for ever."""
    core.lists.script = {
        1: [core.lists.page(9, pages=3)],
        2: [EsiStatus(404, "Requested page does not exist!", at=core.clock.now())],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "running"]
    core.clock.tick(1000)
    core.lists.script = {1: [core.lists.page(9, 8)]}
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "complete"]
    assert await core.want_row(pilot) is None


async def test_a_404_that_passes_hides_no_page(core: SyncWorld, pilot: Pilot) -> None:
    """Believed at once, the list ended at page 1 for as long as page 1 answered 304."""
    core.lists.script = {1: [core.lists.page(9, pages=2, etag="e1")], 2: [core.lists.page(8, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    await core.world.rows("DELETE FROM refs WHERE killmail_id = 8")
    await core.world.rows("DELETE FROM sightings WHERE killmail_id = 8")
    core.clock.tick(1000)
    again = core.lists.page(pages=None, unchanged=True)  # as an answer without X-Pages
    lost = EsiStatus(404, "Requested page does not exist!", at=core.clock.now())
    core.lists.script = {1: [again], 2: [lost, core.lists.page(8, pages=2, etag="e2")]}
    await wanted(core, pilot, SyncMode.FULL_SYNC)
    await core.work(pilot)
    core.clock.tick(1000)
    await core.work(pilot)
    assert 8 in await core.world.refs()


async def test_a_404_after_another_failure_hides_no_page(core: SyncWorld, pilot: Pilot) -> None:
    """Any failure of the job before it made a single 404 believed."""
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(500, "oops", at=core.clock.now()), gone_page(core)],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(1000)
    await core.work(pilot)
    assert await walks(core, pilot) == ["abandoned", "running"]
    core.lists.script = {
        1: [core.lists.page(pages=None, unchanged=True)],  # as an answer without X-Pages
        2: [core.lists.page(8, pages=2)],
    }
    core.clock.tick(1000)
    await core.work(pilot)
    assert 8 in await core.world.refs()


async def test_a_404_of_a_gateway_ends_no_list(core: SyncWorld, pilot: Pilot) -> None:
    html = EsiStatus(404, "", at=core.clock.now())
    core.lists.script = {1: [core.lists.page(9, pages=2)], 2: [html]}
    await wanted(core, pilot)
    for _ in range(4):
        await core.work(pilot)
        core.clock.tick(1000)
    core.lists.script = {
        1: [core.lists.page(pages=None, unchanged=True)],
        2: [core.lists.page(8, pages=2)],
    }
    while await core.want_row(pilot):
        await core.work(pilot)
        core.clock.tick(1000)
    assert 8 in await core.world.refs()


async def test_a_404_that_stays_ends_the_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(404, "Requested page does not exist!", at=core.clock.now())],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.lists.script[1] = [core.lists.page(pages=None, unchanged=True)]
    for _ in range(2):
        core.clock.tick(1000)
        await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, 2, 1, 2, 1]
    assert await core.want_row(pilot) is None


async def test_a_page_that_fails_for_ever_does_not_hide_news_on_the_first(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [EsiStatus(500, "oops", at=core.clock.now())],
    }
    await wanted(core, pilot)
    for _ in range(STUCK_AFTER):
        await core.work(pilot)
        core.clock.tick(1000)
    assert [each[0] for each in core.lists.asked] == [1, 2, 2, 2]
    core.lists.script[1] = [core.lists.page(10, 9, pages=2)]
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked][-2:] == [1, 2]
    assert 10 in await core.world.refs()


async def test_a_torn_walk_keeps_the_job_for_another(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2, modified="monday")],
        2: [core.lists.page(8, pages=2, modified="tuesday")],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["torn"]
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["holder"], row["attempts"]) == (None, 0)
    assert row["not_before"] >= core.clock.now() + 300.0, "not before the list's Expires"
    assert set(await core.world.refs()) == {8, 9}


async def test_a_list_about_to_change_is_not_begun_and_waited_for_once(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=8, expires=1.0)],
        **{page: [core.lists.page(page, pages=8)] for page in range(2, 9)},
    }
    await wanted(core, pilot)
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 0
    core.clock.tick(10)
    core.lists.script[1] = [core.lists.page(9, pages=8, expires=1.0)]
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, *range(1, 9)]


async def test_a_walk_cut_short_is_acknowledged(core: SyncWorld, pilot: Pilot) -> None:
    core.consumer = core.make_consumer(max_pages=1)
    core.lists.script = {1: [core.lists.page(9, pages=3)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["cut"]
    assert await core.want_row(pilot) is None


async def test_a_page_cached_for_a_day_holds_up_no_other(core: SyncWorld, pilot: Pilot) -> None:
    """Its Expires is kept; what stands on the others comes, and its own news once it may be asked for."""
    core.lists.script = {
        1: [core.lists.page(9, pages=3)],
        2: [core.lists.page(8, pages=3, expires=86_400.0)],
        3: [core.lists.page(7, pages=3)],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.lists.script = {
        1: [core.lists.page(12, 9, pages=3, modified="tuesday", expires=1000.0)],
        2: [core.lists.page(11, pages=3, modified="tuesday", expires=90_000.0)],
        3: [core.lists.page(10, pages=3, modified="tuesday", expires=1000.0)],
    }
    for mode in (SyncMode.INCREMENTAL, SyncMode.FULL_SYNC):
        core.lists.asked.clear()
        core.clock.tick(1000)
        await wanted(core, pilot, mode)
        await core.work(pilot)
        assert [each[0] for each in core.lists.asked] == [1, 3]
        assert await core.want_row(pilot) is None
    assert {10, 12} <= set(await core.world.refs())
    core.clock.tick(86_400 - 2000)
    await wanted(core, pilot)
    await core.work(pilot)
    assert 11 in await core.world.refs(), "the first page is known, but not what stands behind it"


async def test_a_page_cached_for_minutes_is_waited_for(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {
        1: [core.lists.page(9, pages=2)],
        2: [core.lists.page(8, pages=2, expires=900.0)],
    }
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(400)
    core.lists.script[1] = [core.lists.page(10, 9, pages=2, modified="tuesday")]
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["complete", "running"]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["last_error"] == "still cached"
