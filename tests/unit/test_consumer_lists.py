"""How a consumer reads lists: what it believes, and when it may ask again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from killsyncd.core.model import SyncMode
from killsyncd.esi.responses import (
    EsiStatus,
    MalformedResponse,
    NoResponseReceived,
    SetAside,
)
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


async def test_a_list_ends_in_the_ledger_and_the_job_is_acknowledged(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(3, 1, pages=2)], 2: [core.lists.page(2, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert set(await core.world.refs()) == {1, 2, 3}
    assert await core.want_row(pilot) is None
    assert core.listed == [pilot.source_id, pilot.source_id]
    assert (core.consumer.jobs_done, core.consumer.jobs_failed, core.consumer.working) == (1, 0, 0)
    assert await walks(core, pilot) == ["complete"]


async def test_what_is_wanted_is_announced_also_when_the_list_has_nothing_new(
    core: SyncWorld, pilot: Pilot
) -> None:
    """A ref that was lost from the fetcher's sight, or written anew, finds somebody who fetches it."""
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.listed.clear()
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(1, etag="other")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.listed == [pilot.source_id]


async def test_a_second_look_sends_the_etag_and_stops_at_304(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(2, pages=2, etag="e1")], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(pages=2, unchanged=True)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", "e1")
    assert await walks(core, pilot) == ["complete", "stopped"]


async def test_a_full_walk_believes_nothing_old(core: SyncWorld, pilot: Pilot) -> None:
    """Asked for by hand, the daily one, and the first: all without ETag."""
    core.lists.script = {1: [core.lists.page(2, pages=2, etag="e1")], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    for _ in range(2):
        core.clock.tick(400)
        core.lists.script[1] = [core.lists.page(2, pages=2, etag="e1")]
        core.lists.script[2] = [core.lists.page(1, pages=2)]
        await wanted(core, pilot, SyncMode.FULL_SYNC)
        await core.work(pilot)
    core.clock.tick(86_500)
    core.lists.script[1] = [core.lists.page(2, pages=2)]
    core.lists.script[2] = [core.lists.page(1, pages=2)]
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked == [(1, "token-1", None), (2, "token-1", None)] * 4
    assert await walks(core, pilot) == ["complete"] * 4


async def test_no_first_page_is_taken_for_unchanged_for_long(core: SyncWorld, pilot: Pilot) -> None:
    """A node of ESI's that says 304 for ever hides mails for an hour, not for a day."""
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    for _ in range(9):
        core.clock.tick(400)
        core.lists.script = {1: [core.lists.page(unchanged=True, etag="e1")]}
        await wanted(core, pilot)
        await core.work(pilot)
    assert [each[2] for each in core.lists.asked[1:]] == ["e1"] * 9
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(2, 1, etag="e2")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", None)
    assert set(await core.world.refs()) == {1, 2}


async def test_304_brings_no_validator_of_entries_that_never_came(core: SyncWorld, pilot: Pilot) -> None:
    """A node that says 304 and names the newest list would have all others call that unchanged, rightly."""
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    for answer in (core.lists.page(unchanged=True, etag="e2"), core.lists.page(2, 1, etag="e2")):
        core.clock.tick(400)
        core.lists.script = {1: [answer]}
        await wanted(core, pilot)
        await core.work(pilot)
        assert core.lists.asked[-1][2] == "e1"
    assert set(await core.world.refs()) == {1, 2}


async def test_a_page_that_could_not_be_read_whole_is_never_called_unchanged(
    core: SyncWorld, pilot: Pilot
) -> None:
    """Broken for a moment, it would be 304 for as long as its list stays the same."""
    broken = replace(core.lists.page(1, etag="e1"), set_aside=(SetAside("entry 2", "not an entry"),))
    core.lists.script = {1: [broken]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(400)
    core.lists.script = {1: [core.lists.page(2, 1, etag="e1")]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert core.lists.asked[-1][2] is None
    assert set(await core.world.refs()) == {1, 2}


async def test_a_full_walk_does_not_reuse_a_page_that_was_called_unchanged(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {1: [core.lists.page(2, pages=2)], 2: [core.lists.page(1, pages=2)]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(100_000)  # as if page 2 had been answered by 304 a moment ago, and page 1 is due
    values = {"id": pilot.source_id, "now": core.clock.now()}
    await core.world.rows(
        "UPDATE pages SET answered_at = :now, asked_at = :now, expires_at = :now + 200"
        " WHERE source_id = :id AND page = 2",
        **values,
    )
    core.lists.script = {1: [core.lists.page(2, pages=2)]}
    await wanted(core, pilot, SyncMode.FULL_SYNC)
    await core.work(pilot)
    assert [each[0] for each in core.lists.asked] == [1, 2, 1]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["not_before"] >= core.clock.now() + 200, "page 2 is asked for once Expires allows"


async def test_404_on_a_first_page_is_an_empty_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(404, "Character not found", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await core.want_row(pilot) is None
    assert await walks(core, pilot) == ["complete"]
    assert (core.consumer.jobs_done, core.consumer.jobs_failed) == (1, 0)
    core.clock.tick(400)  # asked for by hand: no sooner than the interval, for it costs five tokens
    await wanted(core, pilot)
    await core.work(pilot)
    assert len(core.lists.asked) == 1
    core.clock.tick(300)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_404_of_a_gateway_is_no_list(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [EsiStatus(404, "", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await walks(core, pilot) == ["running"]
    row = await core.want_row(pilot)
    assert row is not None
    assert row["attempts"] == 1


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_of_a_list_does_not_empty_its_window(
    core: SyncWorld, pilot: Pilot, status: int
) -> None:
    """Each costs five of thirty tokens: six within a minute shut the list for a quarter of an hour."""
    core.lists.script = {1: [EsiStatus(status, "", at=core.clock.now())]}
    await wanted(core, pilot)
    for _ in range(90):
        if await core.claim(pilot) is not None:
            await core.world.rows("UPDATE wants SET holder = NULL")
            await core.work(pilot)
        core.clock.tick(10)
    assert len(core.lists.asked) <= 3


async def test_expires_gives_the_job_back_without_an_attempt(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    await wanted(core, pilot)
    await core.work(pilot)
    row = await core.want_row(pilot)
    assert row is not None
    assert (row["attempts"], row["holder"]) == (0, None)
    assert row["not_before"] >= core.clock.now() + 300.0
    assert len(core.lists.asked) == 1


async def test_a_question_without_an_answer_counts_as_cached(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [NoResponseReceived("time-out")]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(100)
    await core.work(pilot)
    assert len(core.lists.asked) == 1, "ESI may have cached what never reached us"
    core.clock.tick(300)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_what_a_list_waits_for_is_told(core: SyncWorld, pilot: Pilot) -> None:
    """Its Expires; an answer that never came; what was asked for in a life of the database that is over."""

    async def waits_for(column: str) -> object:
        await wanted(core, pilot)
        await core.world.rows("UPDATE wants SET not_before = 0")
        await core.work(pilot)
        return await core.world.value(f"SELECT {column} FROM wants")

    core.lists.script = {1: [core.lists.page(1)]}
    await wanted(core, pilot)
    await core.work(pilot)
    assert await waits_for("waits_for") == "cache"
    core.clock.tick(400)
    core.lists.script = {1: [NoResponseReceived("time-out")]}
    await core.work(pilot)
    assert await waits_for("waits_for") == "unanswered"
    core.clock.tick(400)
    await core.world.rows(
        "INSERT INTO gates (name, value) VALUES ('lists-asked', :until)", until=core.clock.now() + 300.0
    )
    assert await waits_for("waits_for") == "earlier_life"
    assert await waits_for("not_before") >= core.clock.now() + 300.0  # type: ignore[operator]
    assert len(core.lists.asked) == 2
    core.clock.tick(301)
    core.lists.script = {1: [core.lists.page(2, 1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1, 2}


async def test_an_answer_of_no_use_takes_the_question_back(core: SyncWorld, pilot: Pilot) -> None:
    core.lists.script = {1: [MalformedResponse("no JSON", at=core.clock.now())]}
    await wanted(core, pilot)
    await core.work(pilot)
    core.clock.tick(20)
    core.lists.script = {1: [core.lists.page(1)]}
    await core.work(pilot)
    assert set(await core.world.refs()) == {1}


async def test_a_page_that_could_not_be_written_is_asked_for_without_its_etag(
    core: SyncWorld, pilot: Pilot
) -> None:
    core.lists.script = {1: [core.lists.page(1, etag="e1")]}
    core.store.failing = {"write_page"}
    await wanted(core, pilot)
    await core.work(pilot)
    core.store.failing = set()
    core.clock.tick(400)
    await core.work(pilot)
    assert core.lists.asked[-1] == (1, "token-1", None)
    assert set(await core.world.refs()) == {1}
