"""What was read of zKillboard: subjects, pages, the stream, whose hash is believed, what an erase takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from killsyncd.core.model import Source, SourceKind
from killsyncd.core.sources import SourceState, SourceView
from killsyncd.service import KnownThroughZkillboard
from killsyncd.storage.repositories import revocations
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.repositories.zkillboard import ZkillboardRepository
from killsyncd.zkillboard.ports import Found, PageKept
from killsyncd.zkillboard.walk import KEEP, EntityKind, ListedPage, Subject
from tests.support.storage_world import Pilot, StorageWorld, entries, hash_of


class Board:
    """The repository, and zKillboard's pages in a test's words."""

    def __init__(self, world: StorageWorld) -> None:
        self.world = world
        self.rows = ZkillboardRepository(world.store)

    async def watch(self, *, corporations: bool = False) -> dict[int, int]:
        await self.rows.watch(corporations=corporations)
        return dict(await self.rows.watched())

    async def next(self) -> Subject:
        subject = await self.rows.next_subject()
        assert subject is not None
        return subject

    async def page(
        self, *ids: int, listed: Sequence[tuple[int, str]] = (), streaming: bool = True
    ) -> PageKept:
        """The next subject's next page; without mails it is the end."""
        page = ListedPage([*entries(*ids), *listed])
        kept = await self.rows.page_read(await self.next(), page, await self.world.now(), streaming=streaming)
        assert kept is not None
        return kept

    async def later(self, seconds: float) -> None:
        """Everything was so long ago."""
        columns = ("walk_at", "whole_at", "full_at", "watched_at", "asked_at", "due_at")
        changes = ", ".join(f"{each} = {each} - {seconds}" for each in columns)
        await self.world.rows(f"UPDATE zkillboard_subjects SET {changes}")
        changes = ", ".join(f"{each} = {each} - {seconds}" for each in ("unbroken_at", "read_at"))
        await self.world.rows(f"UPDATE zkillboard_stream SET {changes}")

    async def due_in(self) -> float:
        wait = await self.rows.next_due()
        assert wait is not None
        return wait

    async def told_of(self, pilot: Pilot) -> KnownThroughZkillboard:
        (verified,) = await StatusRepository(self.world.store).verify([pilot.user_id])
        assert verified.zkillboard is not None
        return verified.zkillboard


@pytest.fixture
def board(world: StorageWorld) -> Board:
    return Board(world)


async def test_whoever_logs_in_is_looked_for_until_they_leave(world: StorageWorld, board: Board) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    watched = await board.watch()
    assert set(watched) == {1, 2}
    assert await board.watch() == watched
    await revocations.logout(world.store, one.user_id, erase=False)
    assert set(await board.watch()) == {2}
    await world.pilot(1)
    assert await board.watch() == watched
    await world.users.pause(two.user_id, paused=True)
    assert set(await board.watch()) == {1, 2}, "in the stream, so that there is no gap when they go on"
    assert (await board.next()).entity_id == 1


async def test_corporations_are_asked_for_where_they_are_synced(world: StorageWorld, board: Board) -> None:
    await world.store.write(source_id, Source(SourceKind.CORPORATION, 98_000_001), None)
    assert await board.watch(corporations=True) == {}, "nobody of ours is in it"
    await world.pilot(1)
    await world.rows("UPDATE users SET corporation_id = 98000001")
    assert set(await board.watch()) == {1}
    assert set(await board.watch(corporations=True)) == {1, 98_000_001}
    assert (await board.next()).entity is EntityKind.CHARACTER
    await board.page()
    assert (await board.next()).entity is EntityKind.CORPORATION
    await world.rows("UPDATE users SET corporation_id = 98000002")
    assert set(await board.watch(corporations=True)) == {1}
    assert set(await board.watch()) == {1}


async def test_a_source_of_its_says_from_when_to_when_and_why_it_is_not_asked(
    world: StorageWorld, board: Board
) -> None:
    pilot = await world.pilot(1)
    sources = SourceRepository(world.store)

    async def shown() -> SourceView:
        (found,) = await sources.all(SourceKind.ZKILLBOARD)
        return found

    await board.watch()
    assert (await shown()).complete_to is None, "its list was not read to the end"
    await board.page(9, 8)
    await world.store_mails(8)
    await board.page()
    view, told = await shown(), await board.told_of(pilot)
    assert (view.complete_from, view.complete_to) == (told.known_to, told.known_to), "its mail is younger"
    assert view.complete_to is not None
    await world.rows("UPDATE killmails SET killmail_time = '2020-01-01 00:00:00'")
    assert (await shown()).complete_from == datetime(2020, 1, 1, tzinfo=UTC)
    await world.users.pause(pilot.user_id, paused=True)
    assert (await shown()).state is SourceState.PAUSED
    await world.users.pause(pilot.user_id, paused=False)
    assert (await shown()).state is SourceState.OK
    await revocations.logout(world.store, pilot.user_id, erase=False)
    assert "logged out" in ((await shown()).reason or "")
    await board.rows.switch(on=False)
    assert "[zkillboard] enabled" in ((await shown()).reason or "")


async def test_pages_are_read_to_the_end_and_then_to_what_is_known(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    (zkb,) = (await board.watch()).values()
    assert await board.page(9, 8) == PageKept(False, 2, 2)
    assert (await board.next()).next_page == 2
    assert await board.page(7, 6) == PageKept(False, 2, 2)
    assert await board.page() == PageKept(True, 0, 0)
    assert await board.rows.next_subject() is None
    assert KEEP - 60.0 < await board.due_in() <= KEEP, "the stream has not joined it yet"
    assert await world.refs() == dict.fromkeys((6, 7, 8, 9), "pending")
    await world.store_mails(6, 7, 8, 9)
    await board.later(KEEP + 60.0)
    assert await board.page(11, 9) == PageKept(False, 1, 1)
    assert await board.page(8, 7) == PageKept(True, 0, 0)
    told = await board.told_of(pilot)
    assert (told.listed, told.never_listed, told.pending) == (5, 5, 1)
    view = await world.row("SELECT last_sync_at, last_killmail_id FROM sources WHERE id = :id", id=zkb)
    assert view["last_killmail_id"] == 9
    assert view["last_sync_at"] is not None


async def test_its_mails_come_last_however_few_they_are(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    (zkb,) = (await board.watch()).values()
    await board.page(1, 2)
    await world.listed(pilot, 2, 3)
    assert (await world.ledger.pending_of(zkb, 10)).heavy
    assert (await world.ledger.pending_of(zkb, 10)).weight == 1
    assert not (await world.ledger.pending_of(pilot.source_id, 10)).heavy


async def test_the_stream_goes_on_where_the_lists_end(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    (zkb,) = (await board.watch()).values()
    await board.rows.stream_begins(100)
    await board.page(1)
    await board.page()
    at = await world.now()
    assert await board.rows.stream_read(105, [Found(5, hash_of(5), (zkb,))], at, at_end=True, gap=False) == [
        zkb
    ]
    assert (await board.rows.stream_position()).sequence == 105
    assert await world.refs() == {1: "pending", 5: "pending"}
    known = (await board.told_of(pilot)).known_to
    assert known is not None
    assert known.timestamp() < at - KEEP + 60.0, "the list is as old as it may be cached"
    await board.later(KEEP + 3600.0)
    await board.page(5, 1)
    assert await board.due_in() > 23 * 3600.0, "from now on the stream tells what is new"
    await board.rows.stream_read(105, [], await world.now(), at_end=True, gap=False)
    known = (await board.told_of(pilot)).known_to
    assert known is not None
    assert known.timestamp() > at - 60.0


async def test_a_gap_in_the_stream_makes_the_lists_due(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    await board.watch()
    await board.rows.stream_begins(100)
    await board.later(2 * 3600.0)
    await board.page(1)
    await board.page()
    await board.later(2 * 3600.0)
    assert await board.due_in() > 20 * 3600.0
    await board.rows.stream_read(5000, [], await world.now(), at_end=False, gap=True)
    assert await board.due_in() == 0.0
    told = await board.told_of(pilot)
    assert told.known_to is not None
    assert told.known_to.timestamp() < await world.now() - 2 * 3600.0, "nothing is claimed across the gap"


async def test_without_the_stream_the_lists_are_read_every_hour(world: StorageWorld, board: Board) -> None:
    await world.pilot(1)
    await board.watch()
    await board.rows.stream_begins(100)
    await board.later(2 * 3600.0)
    await board.page()
    await board.later(25 * 3600.0)
    await board.page(streaming=False)
    assert await board.due_in() <= KEEP


async def test_esis_hash_wins_over_a_third_partys(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    await board.watch()
    await board.page(listed=[(1, hash_of(1, "wrong")), (2, hash_of(2, "wrong"))])
    (ref, *_) = (await world.ledger.pending_of((await board.next()).source_id, 10)).refs
    assert ref.killmail_id == 2
    failed = {"reason": "422", "not_before": 0.0, "attempts": 4, "refusals": 4, "quarantine": True}
    assert await world.ledger.ref_failed(ref, **failed)
    await world.listed(pilot, 1, 2)
    rows = await world.rows("SELECT killmail_id, killmail_hash, state FROM refs ORDER BY killmail_id")
    assert [tuple(each) for each in rows] == [(1, hash_of(1), "pending"), (2, hash_of(2), "pending")]
    assert not await world.ledger.ref_failed(ref, **failed), "an answer about the other hash says nothing"
    assert await world.refs() == {1: "pending", 2: "pending"}


async def test_a_third_partys_hash_changes_nothing_of_esis(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    await board.watch()
    await world.listed(pilot, 1)
    await board.page(listed=[(1, hash_of(1, "wrong"))])
    assert await world.value("SELECT killmail_hash FROM refs") == hash_of(1)


async def test_erasing_a_pilot_takes_what_zkillboard_told_of_them(world: StorageWorld, board: Board) -> None:
    one, _ = await world.pilot(1), await world.pilot(2)
    await board.watch()
    await board.page(1, 2)
    await board.page(2, 3)
    await world.store_mails(1, 2, 3)
    await revocations.logout(world.store, one.user_id, erase=True)
    assert await world.stored_ids() == [2, 3]
    assert set(await board.watch()) == {2}


async def test_a_list_that_cannot_be_used_is_the_sources_trouble(world: StorageWorld, board: Board) -> None:
    await world.pilot(1)
    await board.watch()
    subject = await board.next()
    await board.rows.subject_failed(subject.source_id, 600.0, None)
    assert 500.0 < await board.due_in() <= 600.0
    await board.rows.subject_failed(subject.source_id, 0.0, "it is no list")
    trouble = "SELECT trouble FROM sources WHERE id = :id"
    assert await world.value(trouble, id=subject.source_id) == "it is no list"
    assert (await board.next()).failures == 2
    await board.page(1)
    assert await world.value(trouble, id=subject.source_id) is None
    assert (await board.next()).failures == 0


async def test_a_subject_that_is_gone_takes_nothing(world: StorageWorld, board: Board) -> None:
    pilot = await world.pilot(1)
    (zkb,) = (await board.watch()).values()
    subject = await board.next()
    await revocations.logout(world.store, pilot.user_id, erase=True)
    at = await world.now()
    assert await board.rows.page_read(subject, ListedPage(entries(1)), at, streaming=True) is None
    await board.rows.stream_begins(1)
    assert await board.rows.stream_read(2, [Found(1, hash_of(1), (zkb,))], at, at_end=True, gap=False) == []
    assert await world.refs() == {}
