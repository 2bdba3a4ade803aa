"""Corporations in the database: who is in them, who reads their lists, and what refusals leave behind."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.core.model import Affiliation, Origin, SourceKind, UserState
from killsyncd.core.sources import Refusal, SourceState
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.metrics import MetricsRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.sync.job_source import WakeupMessage
from tests.contract.conftest import Backend
from tests.support.storage_world import Pilot, StorageWorld

CORPORATION, OTHER, NPC = 98_000_001, 98_000_002, 1_000_125
SCOPES = "esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1"
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def rows(world: StorageWorld) -> CorporationRepository:
    return CorporationRepository(world.store)


@pytest.fixture
def sources(world: StorageWorld) -> SourceRepository:
    return SourceRepository(world.store)


async def logged_in(world: StorageWorld, *characters: int) -> list[Pilot]:
    """Pilots whose logins carry the corporation's scope."""
    pilots = [await world.pilot(each) for each in characters]
    await world.rows("UPDATE users SET scopes = :scopes", scopes=SCOPES)
    return pilots


async def place(rows: CorporationRepository, **where: int) -> None:
    """ESI says who is where: c1=CORPORATION."""
    found = [Affiliation(int(name[1:]), corporation) for name, corporation in where.items()]
    await rows.placed(found, [], HOUR)


async def via(world: StorageWorld) -> str | None:
    """Who reads the corporation's list."""
    found = await world.rows(
        "SELECT via_user_id FROM sources WHERE kind = 'corporation' AND subject_id = :id", id=CORPORATION
    )
    assert found
    value = found[0][0]
    return None if value is None else str(value)


async def source_of(world: StorageWorld) -> int:
    found = await world.value(
        "SELECT id FROM sources WHERE kind = 'corporation' AND subject_id = :id", id=CORPORATION
    )
    return int(found)


async def test_everybody_s_corporation_is_asked_for_once_an_hour(
    world: StorageWorld, rows: CorporationRepository
) -> None:
    await logged_in(world, 1, 2, 3)
    await world.users.mark((await world.pilot(3)).user_id, UserState.LEFT, "logged out")
    assert await rows.unplaced(1000, 300.0) == [1, 2]
    assert await rows.unplaced(1000, 300.0) == [], "of several daemons one asks"
    await rows.placed([Affiliation(1, CORPORATION)], [2], HOUR)
    await world.rows("UPDATE users SET corporation_due_at = corporation_due_at - 3590")
    assert await rows.unplaced(1000, 300.0) == []
    await world.rows("UPDATE users SET corporation_due_at = corporation_due_at - 20")
    assert len(await rows.unplaced(1, 300.0)) == 1
    assert await world.value("SELECT corporation_id FROM users WHERE character_id = 1") == CORPORATION
    assert await world.value("SELECT corporation_id FROM users WHERE character_id = 2") is None
    assert await world.value("SELECT corporation_at FROM users WHERE character_id = 1") is not None


async def test_of_two_daemons_that_ask_at_once_each_gets_others(shared: Backend) -> None:
    world = await StorageWorld.begin(shared, await shared.open())
    second = CorporationRepository(await shared.open())
    await logged_in(world, *range(1, 41))
    batches = await asyncio.gather(
        *(each.unplaced(30, 300.0) for each in (CorporationRepository(world.store), second))
    )
    assert len(batches[0]) + len(batches[1]) <= 40
    assert not set(batches[0]) & set(batches[1])


async def test_players_corporations_become_sources_and_npcs_do_not(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    first, second, _ = await logged_in(world, 1, 2, 3)
    await place(rows, c1=CORPORATION, c2=CORPORATION, c3=NPC)
    (lender,) = await rows.settle()
    assert lender.member.lender.user_id in (first.user_id, second.user_id)
    assert not lender.replaced
    assert await rows.settle() == [], "whoever reads it goes on"
    (found,) = await sources.all(SourceKind.CORPORATION)
    assert (found.source.subject_id, found.state) == (CORPORATION, SourceState.OK)
    assert {each.user_id for each in found.via} == {first.user_id, second.user_id}
    assert found.via[0].user_id == lender.member.lender.user_id, "the one in use first"
    assert await world.value("SELECT COUNT(*) FROM names WHERE id = :id", id=CORPORATION) == 1


async def test_a_corporation_s_list_is_queued_claimed_and_due_like_a_pilot_s(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    source = await source_of(world)
    (queued,) = await sources.queue([source], 8, Origin.LOGIN)
    assert (queued.queued, queued.source.subject_id) == (True, CORPORATION)
    job = await world.wants.claim(source)
    assert job is not None
    assert (job.source.kind, job.source.subject_id) == (SourceKind.CORPORATION, CORPORATION)
    assert (job.user_id, job.priority, job.last_killmail_id) == (pilot.user_id, 8, None)
    await world.wants.finish(job)
    await world.listed(Pilot(pilot.user_id, source, 1), 7)
    (skipped,) = await sources.queue([source], 5, Origin.MANUAL, skip_within=900.0)
    assert (skipped.queued, "synced" in (skipped.reason or "")) == (False, True)
    (forced,) = await sources.queue([source], 5, Origin.MANUAL, full=True)
    assert forced.mode == "FULL_SYNC"


async def test_without_a_reader_it_is_not_queued_and_says_why(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await world.rows("UPDATE users SET scopes = 'esi-killmails.read_killmails.v1'")
    await place(rows, c1=CORPORATION)
    assert await rows.settle() == []
    (refused,) = await sources.queue([await source_of(world)], 5, Origin.MANUAL)
    assert not refused.queued
    assert (refused.reason or "").startswith("scope_missing: ")
    assert "killsyncd login" in (refused.reason or "")
    assert pilot.source_id


async def test_a_refusal_passes_the_list_on_and_is_remembered_for_a_day(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    await logged_in(world, 1, 2)
    await place(rows, c1=CORPORATION, c2=CORPORATION)
    await rows.settle()
    source, first = await source_of(world), await via(world)
    assert first is not None
    assert await rows.refused(source, first, Refusal.ROLE, "does not have required role(s)") == 0.0
    second = await via(world)
    assert second not in (None, first)
    assert await rows.refused(source, str(second), Refusal.MEMBERSHIP, "is not in the corporation") == (
        pytest.approx(DAY, abs=60.0)
    )
    assert await via(world) is None
    (found,) = await sources.all(SourceKind.CORPORATION)
    assert (found.state, found.via) == (SourceState.ROLE_MISSING, ())
    assert {each.state for each in await world.users.all()} == {UserState.OK}, "never the pilot's"
    assert await rows.settle() == []
    await world.rows("UPDATE lenders SET not_before = not_before - 86500")
    (again,) = await rows.settle()
    assert again.member.refusal is not None, "asked once more, a day later"


async def test_who_reads_the_list_forgets_the_refusal(
    world: StorageWorld, rows: CorporationRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    source = await source_of(world)
    await rows.accepted(source, pilot.user_id)
    refused = await rows.refused(source, pilot.user_id, Refusal.ROLE, "no")
    assert refused == pytest.approx(DAY, abs=60.0), "a Director is asked again once a day, like everybody"
    await rows.accepted(source, pilot.user_id)
    assert await world.value("SELECT refusals FROM lenders") == 0
    assert await world.value("SELECT refusal FROM lenders") is None


async def test_a_new_login_is_asked_again(world: StorageWorld, rows: CorporationRepository) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    await rows.refused(await source_of(world), pilot.user_id, Refusal.ROLE, "no")
    assert await rows.settle() == []
    await world.want(Pilot(pilot.user_id, await source_of(world), 1), not_before=await world.now() + 900.0)
    await logged_in(world, 1)
    (again,) = await rows.settle()
    assert again.member.lender.user_id == pilot.user_id
    assert await world.wants.claim(await source_of(world)) is not None, "what waited waits no more"


async def test_whoever_changes_corporation_lends_to_the_new_one_alone(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    """Twice: away and back, while another member reads on."""
    await logged_in(world, 1, 2)
    await place(rows, c1=CORPORATION, c2=CORPORATION)
    await rows.settle()
    source, first = await source_of(world), await via(world)
    mover = int(await world.value("SELECT character_id FROM users WHERE id = :id", id=first))
    await rows.refused(source, str(first), Refusal.MEMBERSHIP, "is not in the corporation")
    second = await via(world)
    await rows.placed([Affiliation(mover, OTHER)], [], HOUR)
    (elsewhere,) = await rows.settle()
    assert elsewhere.member.lender.user_id == first
    assert await via(world) == second
    found = {each.source.subject_id: each for each in await sources.all(SourceKind.CORPORATION)}
    assert [each.user_id for each in found[CORPORATION].via] == [second]
    await rows.placed([Affiliation(mover, CORPORATION)], [], HOUR)
    await rows.settle()
    found = {each.source.subject_id: each for each in await sources.all(SourceKind.CORPORATION)}
    assert [each.user_id for each in found[CORPORATION].via] == [second], "refused today: not asked again"
    await world.rows("UPDATE lenders SET not_before = not_before - 86500")
    await rows.unusable(source)
    assert await via(world) == second
    assert found[OTHER].state is SourceState.NO_TOKEN


@pytest.mark.parametrize("state", [UserState.NEEDS_LOGIN, UserState.OWNER_CHANGED, UserState.LEFT])
async def test_a_lost_lender_is_replaced_and_what_is_wanted_stands(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository, state: UserState
) -> None:
    await logged_in(world, 1, 2)
    await place(rows, c1=CORPORATION, c2=CORPORATION)
    await rows.settle()
    source, first = await source_of(world), await via(world)
    await sources.queue([source], 8, Origin.LOGIN)
    await world.users.mark(str(first), state, "gone")
    assert await world.wants.claim(source) is None
    (lender,) = await rows.settle()
    assert lender.replaced
    job = await world.wants.claim(source)
    assert job is not None
    assert job.user_id == lender.member.lender.user_id != first


async def test_switched_off_nothing_is_wanted_and_the_state_says_so(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    await sources.queue([await source_of(world)], 8, Origin.LOGIN)
    await rows.switch(on=False)
    assert await world.wants.claim(await source_of(world)) is None
    (found,) = await sources.all(SourceKind.CORPORATION)
    assert (found.state, found.reason) == (SourceState.PAUSED, "[corporations] enabled is false")
    await rows.switch(on=True)
    await rows.settle()
    (found,) = await sources.all(SourceKind.CORPORATION)
    assert found.state is SourceState.OK


async def test_a_corporation_s_want_is_announced_in_its_own_queue_and_claimed_by_its_message(
    world: StorageWorld, rows: CorporationRepository, sources: SourceRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    source = await source_of(world)
    users = QueueAnnouncements(world.store, "users", world.holder, second="corporations")
    queue = QueueAnnouncements(world.store, "corporations", world.holder, SourceKind.CORPORATION)
    await world.want(pilot)
    await sources.queue([source], 8, Origin.LOGIN)
    assert (await users.due(), await queue.due()) == (1, 1)
    assert [(each.name, each.messages) for each in await users.depths()] == [
        ("users", 1),
        ("corporations", 1),
    ]
    (of_pilot,) = await users.announce(10, None)
    (of_corporation,) = await queue.announce(10, None)
    assert (of_pilot.source.kind, of_corporation.source.kind) == (
        SourceKind.CHARACTER,
        SourceKind.CORPORATION,
    )
    assert (of_corporation.character_id, of_corporation.source.subject_id) == (1, CORPORATION)
    ours = WakeupMessage(CORPORATION, 8, ours=True)
    assert (await users.summon(ours)).known is False, "a corporation is no pilot"
    found = await queue.summon(ours)
    assert found.job is not None
    assert (found.job.source_id, found.job.user_id) == (source, pilot.user_id)


async def test_an_old_message_asks_for_the_corporation_s_list_by_the_stored_tokens(
    world: StorageWorld, rows: CorporationRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    queue = QueueAnnouncements(world.store, "corporations", world.holder, SourceKind.CORPORATION)
    found = await queue.summon(WakeupMessage(CORPORATION, 3, ours=False, full=True))
    assert found.job is not None
    assert (found.job.mode, found.job.user_id) == ("FULL_SYNC", pilot.user_id)
    stranger = await queue.summon(WakeupMessage(OTHER, 3, ours=False, full=True))
    assert (stranger.job, stranger.known) == (None, False)
    assert await world.value("SELECT COUNT(*) FROM sources WHERE kind = 'corporation'") == 1


async def test_a_list_that_lost_its_reader_is_told_in_the_status(
    world: StorageWorld, rows: CorporationRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    source = await source_of(world)
    status = StatusRepository(world.store)
    await rows.refused(source, pilot.user_id, Refusal.ROLE, "no")
    assert (await status.status_facts()).unread == (), "it was never read"
    await world.rows("UPDATE lenders SET not_before = 0")
    await rows.settle()
    await world.listed(Pilot(pilot.user_id, source, 1), 7)
    await rows.refused(source, pilot.user_id, Refusal.ROLE, "no")
    (unread,) = (await status.status_facts()).unread
    assert (unread.source.subject_id, unread.state) == (CORPORATION, SourceState.ROLE_MISSING)


async def test_corporations_are_counted_by_state(world: StorageWorld, rows: CorporationRepository) -> None:
    (pilot, _) = await logged_in(world, 1, 2)
    await place(rows, c1=CORPORATION, c2=OTHER)
    await rows.settle()
    await rows.refused(await source_of(world), pilot.user_id, Refusal.ROLE, "no")
    measured = await MetricsRepository(world.store).measure()
    assert dict(measured.corporations) == {"role_missing": 1, "ok": 1}


async def test_what_can_be_claimed_for_a_corporation(
    world: StorageWorld, rows: CorporationRepository
) -> None:
    (pilot,) = await logged_in(world, 1)
    await place(rows, c1=CORPORATION)
    await rows.settle()
    status = StatusRepository(world.store)
    (before,) = await status.verify_corporations()
    assert (before.corporation_id, before.complete, before.why) == (
        CORPORATION,
        False,
        "the list was not read yet",
    )
    await world.listed(Pilot(pilot.user_id, await source_of(world), 1), 7, 8)
    await world.store_mails(7)
    (after,) = await status.verify_corporations()
    assert (after.listed, after.pending, after.missing, after.complete) == (2, 1, 0, False)
    assert after.complete_from is not None
    assert (after.state, after.remedy) == (SourceState.OK, None)
    (own,) = await status.verify([pilot.user_id])
    assert (own.listed, own.complete) == (0, False), "the pilot's own list is another one"
