"""What was listed, what is wanted, how far each walk came."""

from __future__ import annotations

from datetime import UTC, datetime

from killsyncd.core.model import QUARANTINE_SECONDS, Doubt, Origin, SyncMode, Walk
from killsyncd.storage.repositories.sightings import derive_last_ids
from killsyncd.sync.walk import Outcome, Sighted
from tests.support.storage_world import Pilot, StorageWorld, entries, hash_of, run


async def started(world: StorageWorld, pilot: Pilot, mode: SyncMode = SyncMode.FIRST_SYNC) -> Walk:
    return await world.ledger.open_walk(pilot.source_id, mode)


async def test_a_page_is_one_transaction_with_its_validators(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    assert await world.ledger.before_ask(pilot.source_id, 1, 50.0)
    asked = await world.ledger.page_state(pilot.source_id, 1)
    assert asked is not None
    assert (asked.asked_at, asked.answered_at, asked.etag) == (50.0, 0.0, None)
    written = await world.page(job, walk, [3, 2, 1], pages=2, etag="e1", modified="m1")
    assert (written.held, written.outcome) == (True, Outcome.GO_ON)
    assert written.sighted == Sighted(3, 3)
    known = await world.ledger.page_state(pilot.source_id, 1)
    assert known is not None
    assert (known.etag, known.last_modified, known.pages) == ("e1", "m1", 2)
    assert known.answered_at > 0
    assert await world.refs() == {1: "pending", 2: "pending", 3: "pending"}
    assert written.walk.next_page == 2
    assert (await started(world, pilot)).next_page == 2


async def test_the_last_page_acknowledges_the_job_and_marks_the_user(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    written = await world.listed(pilot, 3, 2, 1)
    assert written.outcome is Outcome.COMPLETE
    assert (await world.wants.depth()).by_priority == {}
    source = await world.ledger.source_state(pilot.source_id)
    assert source is not None
    assert source.unbroken_at is not None
    assert source.full_walk_at is not None
    user = await world.users.get(pilot.user_id)
    assert user is not None
    assert user.last_killmail_sync_at is not None
    assert abs((datetime.fromtimestamp(await world.now(), UTC) - user.last_killmail_sync_at).seconds) < 5
    assert user.pending == 3


async def test_a_walk_goes_on_where_it_stopped_and_widens(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    await world.page(job, walk, [9, 8], pages=3)
    again = await started(world, pilot, SyncMode.FULL_SYNC)
    assert (again.id, again.next_page, again.mode, again.pages) == (walk.id, 2, SyncMode.FULL_SYNC, 3)
    assert (again.listed, again.new) == (2, 2)
    restarted = await world.ledger.restart_walk(again)
    assert restarted.id != walk.id
    assert (restarted.next_page, restarted.mode) == (1, SyncMode.FULL_SYNC)


async def test_an_incremental_walk_stops_at_a_page_that_is_known_whole(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 4, 3, 2, 1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    first = await world.page(job, walk, [6, 5], pages=3)
    assert first.outcome is Outcome.GO_ON
    second = await world.page(job, first.walk, [4, 3], pages=3)
    assert second.outcome is Outcome.STOPPED
    assert second.acknowledged


async def test_a_known_page_stops_nobody_who_never_saw_the_whole_list(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    await world.page(job, walk, [6, 5], pages=3)
    walk = await world.ledger.restart_walk(await started(world, pilot))
    again = await world.page(job, walk, [6, 5], pages=3)
    assert again.outcome is Outcome.GO_ON


async def test_a_page_that_a_given_up_walk_made_known_stops_nobody(world: StorageWorld) -> None:
    """The walk that was given up after page 1 never looked at page 2, where there may be more news."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    assert (await world.page(job, walk, [6, 5], pages=3, etag="e")).outcome is Outcome.GO_ON
    walk = await world.ledger.restart_walk(walk)
    unchanged = await world.page(job, walk, None, pages=3)
    assert unchanged.outcome is Outcome.GO_ON
    second = await world.page(job, unchanged.walk, [4, 3], pages=3)
    assert (second.sighted.new, second.outcome) == (2, Outcome.GO_ON)
    assert (await world.page(job, second.walk, [2, 1], pages=3)).outcome is Outcome.COMPLETE
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    assert (await world.page(job, walk, None, pages=3)).outcome is Outcome.STOPPED


async def test_a_page_that_a_torn_walk_made_known_stops_nobody(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    first = await world.page(job, walk, [6, 5], pages=3, modified="monday")
    assert (await world.page(job, first.walk, [2, 1], pages=3, modified="tuesday")).outcome is Outcome.TORN
    again = await started(world, pilot, SyncMode.INCREMENTAL)
    assert (await world.page(job, again, [6, 5], pages=3, modified="tuesday")).outcome is Outcome.GO_ON


async def test_other_sources_sightings_do_not_make_a_page_known(world: StorageWorld) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    await world.listed(one, 3, 2, 1)
    await world.listed(two, 3)
    job, walk = await world.job(two), await started(world, two, SyncMode.INCREMENTAL)
    page = await world.page(job, walk, [3, 2], pages=2)
    assert (page.sighted.new, page.outcome) == (1, Outcome.GO_ON)


async def test_a_torn_walk_keeps_what_it_saw_and_counts_as_none(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    first = await world.page(job, walk, [4, 3], pages=2, modified="monday")
    second = await world.page(job, first.walk, [3, 2], pages=2, modified="tuesday")
    assert second.outcome is Outcome.TORN
    assert not second.acknowledged
    assert await world.refs() == dict.fromkeys((4, 3, 2), "pending")
    source = await world.ledger.source_state(pilot.source_id)
    assert source is not None
    assert source.unbroken_at is None
    assert await world.ledger.torn_in_a_row(pilot.source_id) == 1
    assert (await world.wants.depth()).working == 1
    again = await started(world, pilot)
    assert (again.next_page, again.torn) == (1, False)
    await world.page(job, again, [4, 3, 2])
    assert await world.ledger.torn_in_a_row(pilot.source_id) == 0


async def test_a_walk_cut_short_is_acknowledged_and_counts_as_none(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    page = await world.page(job, walk, [4, 3], pages=9, max_pages=1)
    assert page.outcome is Outcome.CUT
    assert page.acknowledged
    source = await world.ledger.source_state(pilot.source_id)
    assert source is not None
    assert source.unbroken_at is None


async def test_a_full_walk_takes_nothing_that_was_called_unchanged(world: StorageWorld) -> None:
    """The first page of an incremental walk was a 304; when somebody asks for all, it is asked for again."""
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    first = await world.page(job, walk, [6, 5], pages=2)
    await world.page(job, first.walk, [4, 3], pages=2)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    first = await world.page(job, walk, None, pages=3)
    assert first.walk.doubt is Doubt.UNCHANGED
    again = await started(world, pilot, SyncMode.FULL_SYNC)
    assert (again.next_page, again.mode, again.doubt) == (1, SyncMode.FULL_SYNC, None)


async def test_a_walk_of_unchanged_pages_counts_as_none(world: StorageWorld) -> None:
    """Else the daily full walk of a list of one page would never come."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    await world.timed.pass_time(400.0)
    before = await world.ledger.source_state(pilot.source_id)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    assert (await world.page(job, walk, None)).outcome is Outcome.COMPLETE
    assert await world.ledger.source_state(pilot.source_id) == before


async def test_a_page_knows_when_it_was_sent_last(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    await world.timed.pass_time(400.0)
    sent = await world.ledger.page_state(pilot.source_id, 1)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    await world.page(job, walk, None)
    unchanged = await world.ledger.page_state(pilot.source_id, 1)
    assert sent is not None
    assert unchanged is not None
    assert unchanged.body_at == sent.body_at == sent.answered_at
    assert unchanged.answered_at > unchanged.body_at


async def test_not_modified_renews_the_page_and_keeps_its_validators(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    before = await world.ledger.page_state(pilot.source_id, 1)
    await world.timed.pass_time(400.0)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    page = await world.page(job, walk, None, pages=None, etag=None, modified=None)
    assert page.acknowledged
    after = await world.ledger.page_state(pilot.source_id, 1)
    assert before is not None
    assert after is not None
    assert (after.etag, after.last_modified, after.pages) == (before.etag, before.last_modified, before.pages)
    assert after.expires_at > await world.now()


async def test_without_x_pages_a_list_is_as_long_as_it_was(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    for _ in range(2):
        job, walk = await world.job(pilot), await started(world, pilot)
        first = await world.page(job, walk, [6, 5], pages=3)
        second = await world.page(job, first.walk, [4, 3], pages=None)
        assert second.outcome is Outcome.GO_ON
        assert (await world.page(job, second.walk, [2, 1], pages=None)).outcome is Outcome.COMPLETE
    job, walk = await world.job(pilot), await started(world, pilot)
    assert (await world.page(job, walk, [6, 5], pages=None)).outcome is Outcome.GO_ON


async def test_a_list_that_grew_behind_a_known_page_is_read_on(world: StorageWorld) -> None:
    """ESI promises no order; and the first answer may have come without X-Pages."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 6, 5)
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    first = await world.page(job, walk, None, pages=2)
    assert first.outcome is Outcome.GO_ON
    assert (await world.page(job, first.walk, [2, 1], pages=2)).sighted.new == 2
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    assert (await world.page(job, walk, None, pages=2)).outcome is Outcome.STOPPED
    job, walk = await world.job(pilot), await started(world, pilot, SyncMode.INCREMENTAL)
    news = await world.page(job, walk, [7, 6], pages=3)
    assert (await world.page(job, news.walk, [5, 2], pages=3)).outcome is Outcome.STOPPED, "it grew by 7"


async def test_a_page_of_its_own_without_etag_forgets_the_old_one(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    job, walk = await world.job(pilot), await started(world, pilot)
    await world.page(job, walk, [3, 2, 1], etag=None)
    state = await world.ledger.page_state(pilot.source_id, 1)
    assert state is not None
    assert state.etag is None


async def test_fewer_pages_than_before_forget_those_beyond(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    page = await world.page(job, walk, [4, 3], pages=2)
    await world.page(job, page.walk, [2, 1], pages=2)
    assert await world.ledger.page_state(pilot.source_id, 2) is not None
    job, walk = await world.job(pilot), await started(world, pilot)
    await world.page(job, walk, [4, 3], pages=1)
    assert await world.ledger.page_state(pilot.source_id, 2) is None


async def test_who_lost_the_lease_writes_nothing(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    await world.wants.postpone(job, 0.0, attempts=0, reason=None)
    assert not await world.ledger.before_ask(pilot.source_id, 1, 1.0)
    page = await world.page(job, walk, [2, 1])
    assert not page.held
    assert await world.refs() == {}
    assert await world.ledger.page_state(pilot.source_id, 1) is None


async def test_a_mail_two_listed_is_wanted_once(world: StorageWorld) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    await world.listed(one, 2, 1)
    written = await world.listed(two, 3, 2)
    assert written.sighted == Sighted(2, 2)
    assert set(await world.refs()) == {1, 2, 3}
    assert {ref.killmail_id for ref in (await world.ledger.pending_of(one.source_id, 10)).refs} == {1, 2}
    assert {ref.killmail_id for ref in (await world.ledger.pending_of(two.source_id, 10)).refs} == {2, 3}


async def test_a_list_that_shrank_without_saying_so_is_not_asked_past_its_end_again(
    world: StorageWorld,
) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    first = await world.page(job, walk, [4, 3], pages=2)
    assert (await world.page(job, first.walk, [2, 1], pages=2)).outcome is Outcome.COMPLETE
    job, walk = await world.job(pilot), await started(world, pilot)
    news = await world.page(job, walk, [5, 4], pages=None)
    assert news.outcome is Outcome.GO_ON, "as long as it was said to be"
    walk = await world.ledger.restart_walk(news.walk, ends_at=1)  # page 2 was a 404
    assert (await world.page(job, walk, None, pages=None)).outcome is Outcome.COMPLETE


async def test_a_quarantined_mail_comes_back_after_a_day_with_what_counts_against_it(
    world: StorageWorld,
) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    refs = {ref.killmail_id: ref for ref in (await world.ledger.pending_of(pilot.source_id, 10)).refs}
    assert await world.ledger.ref_failed(
        refs[1],
        reason="ESI answered 422",
        not_before=await world.now() + QUARANTINE_SECONDS,
        attempts=4,
        refusals=4,
        quarantine=True,
    )
    assert await world.ledger.revive(10) == 0
    await world.timed.pass_time(QUARANTINE_SECONDS + 1.0)
    assert await world.ledger.revive(10) == 1
    assert await world.refs() == {1: "pending", 2: "pending"}
    again = {ref.killmail_id: ref for ref in (await world.ledger.pending_of(pilot.source_id, 10)).refs}
    assert (again[1].attempts, again[1].refusals) == (4, 4)
    await world.rows("UPDATE refs SET state = 'quarantined', not_before = 0 WHERE killmail_id = 1")
    await world.timed.pass_time(90 * 86_400.0)
    assert await world.ledger.revive(10) == 0, "no list can have it any more"


async def test_a_stored_mail_is_sighted_and_not_wanted_again(world: StorageWorld) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    await world.listed(one, 1)
    await world.store_mails(1)
    written = await world.listed(two, 2, 1)
    assert (written.sighted.new, written.sighted.stored) == (2, 1)
    assert set(await world.refs()) == {2}


async def test_what_is_listed_and_neither_stored_nor_wanted_is_wanted_again(world: StorageWorld) -> None:
    """A ref that vanished (a restored backup, a hand in the database) heals at the next look."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    await world.store.script(["DELETE FROM refs WHERE killmail_id = 1"])
    assert set(await world.refs()) == {2}
    written = await world.listed(pilot, 2, 1)
    assert written.sighted.new == 0
    assert set(await world.refs()) == {1, 2}
    assert (await world.ledger.pending_of(pilot.source_id, 10)).total == 2


async def hash_wanted(world: StorageWorld) -> tuple[str, str]:
    row = await world.row("SELECT killmail_hash, state FROM refs WHERE killmail_id = 1")
    return str(row[0]), str(row[1])


async def list_as(world: StorageWorld, pilot: Pilot, *hashes: str) -> None:
    job, walk = await world.job(pilot), await started(world, pilot)
    await world.page(job, walk, [(1, each) for each in hashes])


async def test_a_second_hash_is_tried_only_after_quarantine_and_once(world: StorageWorld) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    other = hash_of(1, "other")
    await world.listed(one, 1)
    await quarantine(world, one)
    await list_as(world, two, other)
    assert await hash_wanted(world) == (other, "pending")
    await quarantine(world, one)
    await list_as(world, two, other)
    await world.listed(one, 1)
    assert await hash_wanted(world) == (other, "quarantined")


async def test_a_hash_listed_while_another_is_tried_is_not_forgotten(world: StorageWorld) -> None:
    """Its page may be answered 304 ever after."""
    one, two = await world.pilot(1), await world.pilot(2)
    other, late = hash_of(1, "other"), hash_of(1, "late")
    await world.listed(one, 1)
    await list_as(world, two, other)
    assert await hash_wanted(world) == (hash_of(1), "pending")
    assert not await refuse(world, one)
    assert await hash_wanted(world) == (other, "pending")
    await list_as(world, two, late)
    assert not await refuse(world, one)
    assert await hash_wanted(world) == (late, "pending")
    await quarantine(world, one)
    assert await hash_wanted(world) == (late, "quarantined")


async def test_two_hashes_on_one_page_are_both_tried_and_again_with_retry(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    first, last = hash_of(1, "first"), hash_of(1, "last")
    await list_as(world, pilot, first, last)
    assert await hash_wanted(world) == (first, "pending")
    assert not await refuse(world, pilot)
    assert await hash_wanted(world) == (last, "pending")
    await quarantine(world, pilot)
    assert await world.ledger.retry() == [1]
    await list_as(world, pilot, last, first)
    assert not await refuse(world, pilot)
    assert await hash_wanted(world) == (first, "pending")


async def test_a_mail_with_several_hashes_is_tried_daily_by_each_in_turn(world: StorageWorld) -> None:
    """The one that was tried last was tried for ever, although another may be right by now."""
    pilot = await world.pilot(1)
    first, last = hash_of(1, "first"), hash_of(1, "last")
    await list_as(world, pilot, first, last)
    assert not await refuse(world, pilot)
    await quarantine(world, pilot)
    for following in (first, last, first):
        await world.timed.pass_time(QUARANTINE_SECONDS + 1.0)
        assert await world.ledger.revive(10) == 1
        assert await hash_wanted(world) == (following, "pending")
        await quarantine(world, pilot)


async def refuse(world: StorageWorld, pilot: Pilot) -> bool:
    """One refusal too many for the hash by which it is wanted; False: another one is wanted now."""
    (ref,) = (await world.ledger.pending_of(pilot.source_id, 10)).refs
    return await world.ledger.ref_failed(
        ref, reason="422", not_before=0.0, attempts=1, refusals=4, quarantine=True
    )


async def quarantine(world: StorageWorld, pilot: Pilot) -> None:
    assert await refuse(world, pilot)


async def test_a_mail_that_failed_waits_until_its_time(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    ref = (await world.ledger.pending_of(pilot.source_id, 1)).refs[0]
    assert ref.killmail_id == 2
    until = await world.now() + 60.0
    await world.ledger.ref_failed(
        ref, reason="502", not_before=until, attempts=1, refusals=0, quarantine=False
    )
    pending = await world.ledger.pending_of(pilot.source_id, 10)
    assert [each.killmail_id for each in pending.refs] == [1]
    assert pending.total == 2
    assert await world.ledger.next_retry() == until
    nobody, now = await world.ledger.ripe_sources(0.0)
    assert nobody == []
    await world.timed.pass_time(61.0)
    ripe, _ = await world.ledger.ripe_sources(now - 61.0 if world.store.dialect == "postgres" else now)
    assert ripe == [pilot.source_id]
    pending = await world.ledger.pending_of(pilot.source_id, 10)
    assert [(each.killmail_id, each.attempts) for each in pending.refs] == [(2, 1), (1, 0)]
    assert pending.refs[0].killmail_hash == hash_of(2)


async def test_quarantined_mails_can_be_tried_again(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await quarantine(world, pilot)
    assert await world.ledger.pending_sources() == []
    assert await world.ledger.retry([1, 99]) == [1]
    assert await world.refs() == {1: "pending"}
    await quarantine(world, pilot)
    assert await world.ledger.retry() == [1]
    assert await world.ledger.pending_sources() == [pilot.source_id]


async def test_last_killmail_id_stops_below_the_first_gap_and_may_go_back(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 30, 20, 10)
    assert await world.last_id(pilot) is None
    await world.store_mails(10, 30)
    assert await world.last_id(pilot) == 10
    await world.store_mails(20)
    assert await world.last_id(pilot) == 30
    await world.listed(pilot, 30, 20, 15, 10)
    assert await world.last_id(pilot) == 10
    await quarantine(world, pilot)
    assert await world.last_id(pilot) == 10
    await world.ledger.retry()
    await world.store_mails(15)
    assert await world.last_id(pilot) == 30


async def test_last_killmail_id_counts_each_list_by_itself(world: StorageWorld) -> None:
    one, two = await world.pilot(1), await world.pilot(2)
    await world.listed(one, 30, 20)
    await world.listed(two, 20, 10)
    await world.store_mails(20)
    assert (await world.last_id(one), await world.last_id(two)) == (20, None)
    await world.store.write(derive_last_ids, [one.source_id, two.source_id])
    assert (await world.last_id(one), await world.last_id(two)) == (20, None)


async def test_a_paused_pilot_s_mails_wait(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.users.pause(pilot.user_id, paused=True)
    assert await world.ledger.pending_sources() == []
    assert (await world.ledger.pending_of(pilot.source_id, 10)).refs == []


async def test_an_erased_source_takes_its_sightings_along(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.store.script([f"DELETE FROM sources WHERE id = {pilot.source_id}"])
    assert await world.ledger.source_state(pilot.source_id) is None
    assert int(await world.value("SELECT COUNT(*) FROM sightings")) == 0


async def test_old_walks_go(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    for _ in range(85):
        await world.listed(pilot, 1)
    # Not with each walk: one in eight deletes what is older than the last 50.
    assert 50 <= int(await world.value("SELECT COUNT(*) FROM walks")) <= 75


async def test_claims_of_mails_are_exclusive_between_daemons(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    pilot = await one.pilot(1)
    await one.listed(pilot, 3, 2, 1)
    assert await one.ledger.claim_refs([3, 2]) == {3, 2}
    assert await two.ledger.claim_refs([3, 2, 1]) == {1}
    # Its own it sees: the fetcher knows what is under way, and the rest was left behind.
    assert [each.killmail_id for each in (await two.ledger.pending_of(pilot.source_id, 10)).refs] == [1]
    assert [each.killmail_id for each in (await one.ledger.pending_of(pilot.source_id, 10)).refs] == [3, 2]
    await one.ledger.release_refs([3])
    assert await two.ledger.claim_refs([3, 2]) == {3}
    await one.member.leave()
    assert await two.ledger.claim_refs([2]) == {2}


async def test_a_failure_lets_go_of_the_claim_and_others_failures_do_not(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    pilot = await one.pilot(1)
    await one.listed(pilot, 1)
    (ref,) = (await one.ledger.pending_of(pilot.source_id, 10)).refs
    assert await one.ledger.claim_refs([1]) == {1}
    fails = {"reason": "502", "not_before": 0.0, "attempts": 1, "refusals": 0, "quarantine": False}
    assert not await two.ledger.ref_failed(ref, **fails)  # type: ignore[arg-type]
    assert await one.ledger.ref_failed(ref, **fails)  # type: ignore[arg-type]
    assert await two.ledger.claim_refs([1]) == {1}


async def test_a_swept_daemon_cannot_write_a_page_that_another_walks(worlds: list[StorageWorld]) -> None:
    late, living = worlds
    pilot = await late.pilot(1)
    job, walk = await late.job(pilot), await started(late, pilot)
    await living.store.write(run, "meta.daemon_leave", id=late.holder)
    taken = await living.wants.claim()
    assert taken is not None
    assert not (await late.page(job, walk, entries(2, 1))).held
    assert (await living.page(taken, walk, entries(2, 1))).acknowledged


async def test_a_message_does_not_change_a_source_s_weight(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.want(pilot, priority=8, origin=Origin.LOGIN)
    await world.want(pilot, priority=3, origin=Origin.MESSAGE)
    assert (await world.ledger.pending_of(pilot.source_id, 1)).weight == 8


async def test_a_page_that_is_said_to_be_gone_is_so_since_the_first_time(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job, walk = await world.job(pilot), await started(world, pilot)
    walk = (await world.page(job, walk, [3], pages=2)).walk

    async def gone_at() -> float:
        known = await world.ledger.page_state(pilot.source_id, 2)
        assert known is not None
        return known.gone_at

    await world.ledger.before_ask(pilot.source_id, 2, 100.0)
    await world.ledger.page_refused(pilot.source_id, 2, 100.0, 0.0)
    assert await gone_at() == 0.0, "another failure says nothing of it"
    for at in (200.0, 500.0):
        await world.ledger.page_refused(pilot.source_id, 2, at, 0.0, gone=True)
        assert await gone_at() == 200.0
    await world.ledger.page_refused(pilot.source_id, 2, 600.0, 0.0)
    assert await gone_at() == 200.0
    await world.page(job, walk, [2], pages=2)
    assert await gone_at() == 0.0


async def test_refusals_of_a_list_are_believed_where_another_list_comes_meanwhile(
    world: StorageWorld,
) -> None:
    lost, fine, other = await world.pilot(1), await world.pilot(2), await world.pilot(3)

    async def refused(pilot: Pilot) -> tuple[int, bool]:
        grant = await world.grants.load(pilot.user_id)
        assert grant is not None
        heard = await world.grants.list_refused(pilot.user_id, pilot.source_id, version=grant.version)
        assert heard is not None
        return heard.count, heard.believed

    await world.listed(fine, 9)
    for count in range(1, 9):
        assert await refused(other) == (count, False)
        await world.timed.pass_time(10)
        assert await refused(lost) == (count, False), "nobody's list came since"
        await world.timed.pass_time(3600)
    await world.listed(fine, 9)
    await world.timed.pass_time(3600)
    assert await refused(lost) == (9, True)
    await world.grants.list_accepted(lost.user_id, lost.source_id)
    assert await refused(lost) == (1, False)
