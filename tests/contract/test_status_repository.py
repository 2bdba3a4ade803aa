"""What the operations ask of the database: status, verify, explain, the feed in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import BadInput, NotFound, Unavailable, UsageError
from killsyncd.core.events import Events
from killsyncd.core.model import Source, SourceKind, SyncMode, UserState, WaitsFor
from killsyncd.esi.responses import SetAside
from killsyncd.service import parse_cursor, problem_kinds
from killsyncd.service.health import Health
from killsyncd.service.operations import Operations
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.problem_kinds import stops
from killsyncd.service.status import OperationsSettings
from killsyncd.service.wording import queue_remedy
from killsyncd.storage.repositories.feed import feed_point
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.sync.walk import Outcome
from tests.contract.conftest import Backend
from tests.support.storage_world import StorageWorld


@pytest.fixture
def operating(world: StorageWorld) -> StatusRepository:
    return StatusRepository(world.store)


def operations_of(
    world: StorageWorld, clock: Clock, health: Health | None = None, rows: StatusRepository | None = None
) -> Operations:
    return Operations(
        OperationsStorage(
            rows=rows or StatusRepository(world.store),
            users=world.users,
            sources=SourceRepository(world.store),
            ledger=world.ledger,
            names=NameRepository(world.store),
            queue=world.wants,
        ),
        OperationsSettings(skip_within=900.0, producer_enabled=True, version="1.2.3", started_at=clock.now()),
        Events(),
        health or Health(clock),
        clock,
    )


@pytest.fixture
def operations(world: StorageWorld) -> Operations:
    return operations_of(world, world.timed.clock)


# --- status -------------------------------------------------------------------------------------


async def test_an_empty_database_is_not_syncing_and_says_whom_it_lacks(operations: Operations) -> None:
    status = await operations.status()
    assert not status.syncing
    assert [each.code for each in status.problems] == ["nobody_logged_in"]
    assert "killsyncd login" in status.problems[0].remedy
    assert (status.pending_details, status.quarantined, status.pending_eta) == (0, 0, 0.0)
    assert (status.consumers, status.queue.messages, status.users_by_state) == (1, 0, {})


async def test_status_counts_what_is_there(world: StorageWorld, operations: Operations) -> None:
    pilot, other = await world.pilot(1, "Ada"), await world.pilot(2, "Bo")
    await world.listed(pilot, 11, 12, 13)
    await world.store_mails(12)
    await world.rows("UPDATE refs SET state = 'quarantined', reason = 'no' WHERE killmail_id = 11")
    await world.want(other, priority=8)
    status = await operations.status()
    assert status.syncing
    assert [each.code for each in status.problems] == ["quarantined"]
    assert (status.pending_details, status.quarantined) == (1, 1)
    assert status.oldest_pending_at is not None
    assert status.queue.by_priority == {8: 1}
    assert status.users_by_state == {UserState.OK: 2}
    assert parse_cursor(status.feed_cursor, await world.store.read(feed_point)) == 1


async def test_users_who_need_something_are_problems_and_nobody_ready_stops(
    world: StorageWorld, operations: Operations
) -> None:
    pilot, other = await world.pilot(1, "Ada"), await world.pilot(2, "Bo")
    await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, "the login has ended")
    status = await operations.status()
    assert status.syncing
    assert [(each.code, each.character_id) for each in status.problems] == [("needs_login", 1)]
    assert "Ada (1): the login has ended" in status.problems[0].reason
    await world.users.pause(other.user_id, paused=True)
    status = await operations.status()
    assert not status.syncing
    assert status.problems[0].code == "nobody_syncs"
    assert problem_kinds.stops(status.problems[0])
    assert status.users_by_state == {UserState.NEEDS_LOGIN: 1, UserState.PAUSED: 1}


async def test_an_sso_that_is_down_stops_nothing_while_tokens_are_at_hand(world: StorageWorld) -> None:
    await world.pilot(1, "Ada")
    health = Health(world.timed.clock)
    operations = operations_of(world, world.timed.clock, health)
    health.report("sso_unavailable", "the SSO does not answer")
    status = await operations.status()
    assert status.syncing
    assert [each.code for each in status.problems] == ["sso_unavailable"]
    await world.timed.pass_time(1300.0)
    status = await operations.status()
    assert not status.syncing
    assert [each.code for each in status.problems] == ["tokens_ended", "sso_unavailable"]
    health.clear("sso_unavailable")
    assert (await operations.status()).syncing, "ended and renewed in a moment is no problem"


async def test_a_sync_that_fails_again_and_again_is_a_problem(
    world: StorageWorld, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    job = await world.job(pilot)
    await world.wants.postpone(job, 0.0, attempts=2, reason="ESI answered 500")
    assert (await operations.status()).problems == []
    job = await world.job(pilot)
    await world.wants.postpone(job, 0.0, attempts=3, reason="ESI answered 500")
    (problem,) = (await operations.status()).problems
    assert (problem.code, problem.character_id) == ("sync_failing", 1)
    assert "3 syncs in a row failed: ESI answered 500" in problem.reason


async def test_trouble_is_of_a_source_and_not_of_who_lends_the_token(
    world: StorageWorld, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.wants.postpone(await world.job(pilot), 0.0, attempts=3, reason="ESI answered 500")
    await world.rows(
        "INSERT INTO sources (kind, subject_id, via_user_id, created_at)"
        " VALUES ('corporation', 98000001, :user_id, {now})",
        user_id=pilot.user_id,
    )
    await world.rows(
        "INSERT INTO wants (source_id, mode, priority, origin, queued_at, attempts, last_error)"
        " SELECT id, 'INCREMENTAL', 3, 'producer', {now}, 4, 'no Director' FROM sources"
        " WHERE kind = 'corporation'"
    )
    problems = (await operations.status()).problems
    assert {each.source for each in problems} == {
        Source(SourceKind.CHARACTER, 1),
        Source(SourceKind.CORPORATION, 98000001),
    }
    assert len({each.key for each in problems}) == 2
    assert {(each.code, each.character_id) for each in problems} == {("sync_failing", 1)}


async def test_a_login_in_doubt_is_a_problem_and_the_syncs_it_costs_are_not_told_besides(
    world: StorageWorld, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    row = await world.grants.load(pilot.user_id)
    assert row is not None
    held = await world.grants.begin_attempt(pilot.user_id, holder=world.member.id, version=row.version)
    assert held is not None
    await world.grants.record_failure(
        pilot.user_id,
        holder=world.member.id,
        version=row.version,
        unanswered=False,
        refused_at=await world.now(),
        not_before=await world.now() + 60.0,
    )
    job = await world.job(pilot)
    await world.wants.postpone(job, 0.0, attempts=3, reason="the SSO refused the refresh token")
    (problem,) = (await operations.status()).problems
    assert (problem.code, problem.character_id) == ("login_doubtful", 1)
    assert "invalid_grant" in problem.reason
    await world.pilot(1, "Ada")
    assert "login_doubtful" not in [each.code for each in (await operations.status()).problems]


# --- waiting ------------------------------------------------------------------------------------


async def test_every_list_that_waits_has_a_reason_and_a_time(
    world: StorageWorld, operations: Operations
) -> None:
    pilots = [await world.pilot(number, f"Pilot {number}") for number in (1, 2, 3)]
    jobs = [await world.job(each) for each in pilots]
    at = await world.now()
    await world.wants.postpone(
        jobs[0], at + 600.0, attempts=0, reason="no tokens left: char-killmail", waits_for=WaitsFor.BUDGET
    )
    await world.wants.postpone(
        jobs[1], at + 200.0, attempts=0, reason="ESI's answer is still cached", waits_for=WaitsFor.CACHE
    )
    status = await operations.status()
    assert [(each.what, each.code, each.character_id, each.count) for each in status.waiting] == [
        ("list", "budget", 1, 1),
        ("list", "cache", 2, 1),
    ]
    assert abs(status.waiting[0].until.timestamp() - at - 600.0) < 1.0
    assert f"{status.waiting[0].until:%H:%M:%S} UTC" in status.waiting[0].reason
    (problem,) = status.problems
    assert (problem.code, problem.character_id) == ("budget_dry", 1)
    assert "Pilot 1 (1)" in problem.reason
    assert f"{status.waiting[0].until:%H:%M:%S} UTC" in problem.reason
    assert status.syncing, "one pilot who waits stops nobody"


async def test_a_list_that_may_go_on_waits_no_more(world: StorageWorld, operations: Operations) -> None:
    job = await world.job(await world.pilot(1))
    await world.wants.postpone(job, 0.0, attempts=0, reason="no tokens left", waits_for=WaitsFor.BUDGET)
    assert (await operations.status()).waiting == []


async def test_killmails_that_failed_wait_for_their_next_attempt(
    world: StorageWorld, operations: Operations
) -> None:
    await world.listed(await world.pilot(1), 11, 12)
    at = await world.now()
    await world.rows("UPDATE refs SET attempts = 1, not_before = :at WHERE killmail_id = 11", at=at + 90.0)
    (waiting,) = (await operations.status()).waiting
    assert (waiting.what, waiting.code, waiting.count) == ("details", "retry", 1)
    assert abs(waiting.until.timestamp() - at - 90.0) < 1.0


# --- switches -----------------------------------------------------------------------------------


async def test_pauses_are_kept_and_undone(world: StorageWorld, operations: Operations) -> None:
    await world.pilot(1, "Ada")
    (switched,) = await operations.pause()
    assert (switched.what, switched.paused, switched.changed) == ("daemon", True, True)
    assert not (await operations.pause())[0].changed
    status = await operations.status()
    assert (status.syncing, status.consumers) == (False, 0)
    assert status.problems[0].code == "paused"
    await operations.pause(producer=True)
    resumed = await operations.resume()
    assert [(each.what, each.changed) for each in resumed] == [("daemon", True), ("producer", True)]
    assert (await operations.status()).syncing


async def test_users_are_paused_by_name_or_id(world: StorageWorld, operations: Operations) -> None:
    await world.pilot(90000001, "Ada Lovelace")
    (switched,) = await operations.pause(users=["ada lovelace"])
    assert (switched.what, switched.changed) == ("Ada Lovelace", True)
    (user,) = await operations.users()
    assert user.shown_state is UserState.PAUSED
    await operations.resume(users=["90000001"])
    assert (await operations.user("Ada Lovelace")).shown_state is UserState.OK


async def test_an_unknown_name_is_refused_with_the_nearest(
    world: StorageWorld, operations: Operations
) -> None:
    with pytest.raises(NotFound, match="no user 'Ada'") as refusal:
        await operations.user("Ada")
    assert "killsyncd login" in refusal.value.hint
    await world.pilot(1, "Ada Lovelace")
    await world.pilot(2, "Bo")
    with pytest.raises(NotFound) as refusal:
        await operations.queue(["Bo", "Ada Lovelase"])
    assert "'Ada Lovelace'" in refusal.value.hint
    assert (await world.wants.depth()).messages == 0  # and nobody was queued


async def test_a_name_of_two_is_refused(world: StorageWorld, operations: Operations) -> None:
    await world.pilot(1, "Twin")
    await world.pilot(2, "Twin")
    with pytest.raises(UsageError, match="several") as refusal:
        await operations.user("twin")
    assert "1" in refusal.value.hint
    assert "2" in refusal.value.hint


# --- queue --------------------------------------------------------------------------------------


async def test_queue_skips_who_was_synced_unless_forced(world: StorageWorld, operations: Operations) -> None:
    assert await operations.queue() == []
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11)
    (skipped,) = await operations.queue()
    assert (skipped.queued, skipped.mode, skipped.reason) == (False, None, "synced less than a minute ago")
    assert "--force" in queue_remedy([skipped])
    assert skipped.user.last_killmail_sync_at is not None
    assert skipped.plain_at == skipped.user.last_killmail_sync_at + timedelta(minutes=15)
    (queued,) = await operations.queue(["1"], force=True)
    assert (queued.queued, queued.mode) == (True, SyncMode.INCREMENTAL)
    (queued,) = await operations.queue(force=True, full=True)
    assert queued.mode is SyncMode.FULL_SYNC
    assert queue_remedy([queued]) == ""
    assert (await world.wants.depth()).by_priority == {5: 1}


async def test_queue_names_the_remedy_for_a_paused_user(world: StorageWorld, operations: Operations) -> None:
    await world.pilot(1, "Ada")
    await operations.pause(users=["1"])
    (skipped,) = await operations.queue()
    assert skipped.reason == "paused: killsyncd ctl resume --user 1"


# --- failed, retry, explain ---------------------------------------------------------------------


async def test_failed_mails_are_shown_and_tried_again(world: StorageWorld, operations: Operations) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    await world.rows(
        "UPDATE refs SET state = 'quarantined', reason = '422', refusals = 4 WHERE killmail_id = 12"
    )
    (failed,) = await operations.failed()
    assert (failed.killmail_id, failed.reason, failed.attempts, failed.characters) == (12, "422", 4, ["Ada"])
    done = await operations.retry([12, 99])
    assert (done.retried, done.unknown) == ([12], [99])
    assert await operations.failed() == []
    assert await world.refs() == {11: "pending", 12: "pending"}


async def test_explain_tells_a_mails_way(world: StorageWorld, operations: Operations) -> None:
    ada, bo = await world.pilot(1, "Ada"), await world.pilot(2, "Bo")
    await world.listed(ada, 11, 12)
    await world.listed(bo, 11)
    await world.store_mails(11)
    told = await operations.explain(11)
    assert (told.state, told.origin, told.fresh) == ("stored", "esi", True)
    assert {each.character_name for each in told.seen} == {"Ada", "Bo"}
    assert told.first_listed_at is not None
    assert told.stored_at is not None
    assert told.fetched_at is not None
    told = await operations.explain(12)
    assert (told.state, [each.character_name for each in told.seen]) == ("pending", ["Ada"])
    assert "waits for its turn" in told.verdict
    await world.rows("UPDATE refs SET state = 'quarantined', reason = 'no', refusals = 4")
    told = await operations.explain(12)
    assert (told.state, told.reason, told.attempts) == ("quarantined", "no", 4)
    assert "ctl retry 12" in told.verdict
    told = await operations.explain(13)
    assert (told.state, told.seen) == ("unknown", [])


# --- verify -------------------------------------------------------------------------------------


async def test_nothing_is_claimed_before_an_unbroken_walk(
    world: StorageWorld, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    (found,) = await operations.verify()
    assert (found.complete, found.complete_from, found.why) == (False, None, "the list was not read yet")
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    written = await world.page(job, walk, [11], pages=3, max_pages=50)
    (found,) = await operations.verify("Ada")
    assert found.complete_from is None
    assert found.why == "the first way through the list is under way: page 2 of 3 is next"
    await world.page(job, written.walk, [10], pages=3, max_pages=2)
    (found,) = await operations.verify()
    assert found.why is not None
    assert "max_pages" in found.why
    assert found.walks_cut == 1


async def test_an_unbroken_walk_vouches_for_ninety_days(
    world: StorageWorld, backend: Backend, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    walked = utc(await world.now())
    await world.store_mails(11)
    (found,) = await operations.verify()
    assert found.complete_from is not None
    assert found.complete_to is not None
    assert abs(found.complete_from - (walked - timedelta(days=90))) < timedelta(seconds=30)
    assert abs(found.complete_to - walked) < timedelta(seconds=30), "when ESI made the list"
    assert (found.complete, found.listed, found.pending, found.missing) == (False, 2, 1, 0)
    assert found.kept_since is not None
    await world.store_mails(12)
    (found,) = await operations.verify()
    assert found.complete
    await backend.pass_time(3600.0)
    (found,) = await operations.verify()
    await world.listed(pilot, 11, 12)  # an incremental look: nothing new, and known an hour longer
    (later,) = await operations.verify()
    assert found.complete_to is not None
    assert later.complete_to is not None
    assert later.complete_to - found.complete_to >= timedelta(seconds=3500)


async def test_what_an_answer_lacks_vouches_for_nothing(world: StorageWorld, operations: Operations) -> None:
    """No X-Pages, no word of the list's age, pages of who knows which list, a 304: done, not claimed."""
    told: dict[str, dict[str, Any]] = {
        "X-Pages": {"pages": None},
        "Expires": {"made_at": None},
        "unchanged": {"unchanged": True},
        "404": {"no_list": True},
    }
    for number, (said, lacking) in enumerate(told.items(), start=1):
        pilot = await world.pilot(number, f"Pilot {number}")
        if said == "404":  # of a list that must still hold what it held before
            job = await world.job(pilot)
            walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
            await world.page(job, walk, [number], pages=None)
        job = await world.job(pilot)
        walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
        written = await world.page(job, walk, [number] if said != "404" else [], **lacking)
        assert (written.outcome, written.acknowledged) == (Outcome.COMPLETE, True)
        (found,) = await operations.verify(f"Pilot {number}")
        assert (found.complete, found.complete_from, found.complete_to) == (False, None, None)
        assert found.why is not None
        assert said in found.why
    pilot = await world.pilot(9, "Pilot 9")
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    written = await world.page(job, walk, [91], pages=2, modified=None)
    written = await world.page(job, written.walk, [90], pages=2, modified=None)
    assert written.outcome is Outcome.COMPLETE
    (found,) = await operations.verify("Pilot 9")
    assert (found.complete_from, "Last-Modified" in (found.why or "")) == (None, True)
    pilot = await world.pilot(10, "Pilot 10")
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    written = await world.page(job, walk, None, pages=2)  # another doubt does not stand before it
    written = await world.page(job, written.walk, None, pages=None, passed=True)
    assert written.outcome is Outcome.COMPLETE
    (found,) = await operations.verify("Pilot 10")
    assert (found.complete_from, "forbids" in (found.why or "")) == (None, True)


async def test_unchanged_moves_no_claim(
    world: StorageWorld, backend: Backend, operations: Operations
) -> None:
    """A node of ESI's that says 304 for ever would have us claim what it hides."""
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11)
    await world.store_mails(11)
    await backend.pass_time(7200.0)
    (before,) = await operations.verify()
    assert before.complete
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.INCREMENTAL)
    assert (await world.page(job, walk, None)).acknowledged
    (after,) = await operations.verify()
    assert (after.complete_from, after.complete_to) == (before.complete_from, before.complete_to)
    await world.listed(pilot, 11)
    (later,) = await operations.verify()
    assert later.complete_to is not None
    assert before.complete_to is not None
    assert later.complete_to - before.complete_to >= timedelta(seconds=7000)


async def test_404_on_a_first_page_is_an_empty_list(world: StorageWorld, operations: Operations) -> None:
    pilot = await world.pilot(1, "Ada")
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    written = await world.page(job, walk, [], no_list=True)
    assert (written.outcome, written.acknowledged) == (Outcome.COMPLETE, True)
    (found,) = await operations.verify()
    assert (found.complete, found.listed, found.why) == (True, 0, None)


async def test_unreadable_entries_are_shown_until_a_full_walk_no_longer_meets_them(
    world: StorageWorld, operations: Operations
) -> None:
    pilot = await world.pilot(1, "Ada")
    bad = SetAside("9223372036854775808", "killmail_id is not from 1 to 2^63 - 1")
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    await world.page(job, walk, [11], set_aside=[bad])
    await world.store_mails(11)
    (found,) = await operations.verify()
    assert (found.complete, found.unreadable, found.listed) == (False, 1, 1)
    assert found.complete_from is not None
    (told,) = await operations.unreadable()
    assert (told.entry, told.reason, told.character) == (bad.entry, bad.reason, "Ada")
    await world.listed(pilot, 11)
    assert await operations.unreadable() == []
    (found,) = await operations.verify()
    assert (found.complete, found.unreadable) == (True, 0)


async def test_a_sighting_without_a_mail_is_missing(world: StorageWorld, operations: Operations) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11)
    await world.rows("DELETE FROM refs")
    (found,) = await operations.verify()
    assert (found.missing, found.complete) == (1, False)
    assert (await operations.explain(11)).state == "unknown"


# --- the feed -----------------------------------------------------------------------------------


async def test_the_feed_in_words(world: StorageWorld, operating: StatusRepository) -> None:
    pilot = await world.pilot(90000001, "Ada")
    assert await operating.feed_start(None) == 0
    await world.listed(pilot, 11, 12)
    await world.store_mails(11, 12, names=[587, 30000142])
    await world.rows("UPDATE names SET name = 'Rifter' WHERE id = 587")
    await world.rows("UPDATE names SET name = 'Jita' WHERE id = 30000142")
    lines, reached = await operating.feed_after(0, 10, fresh_only=False)
    assert [each.killmail_id for each in lines] == [11, 12]
    assert reached == 2
    first = lines[0]
    assert (first.ship, first.solar_system, first.victim) == ("Rifter", "Jita", None)
    assert (first.victim_id, first.final_blow_id, first.attacker_count) == (90000001, 90000002, 3)
    assert first.characters == ["Ada"]
    assert await operating.feed_start(first.feed_cursor) == 1
    assert await operating.feed_after(2, 10, fresh_only=False) == ([], 2)


async def test_fresh_only_leaves_history_out_and_goes_on(
    world: StorageWorld, operating: StatusRepository
) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    await world.store_mails(11, 12)
    await world.rows("UPDATE killmails SET fresh = {false} WHERE killmail_id = 12")
    lines, reached = await operating.feed_after(0, 10, fresh_only=True)
    assert ([each.killmail_id for each in lines], reached) == ([11], 2)


async def test_a_foreign_cursor_is_refused(operating: StatusRepository) -> None:
    with pytest.raises(BadInput, match="restored or moved"):
        await operating.feed_start("abcdef:3")
    with pytest.raises(BadInput, match="no feedCursor"):
        await operating.feed_start("3")


async def test_watch_begins_where_it_is_told(world: StorageWorld, operations: Operations) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    await world.store_mails(11, 12)
    lines = operations.watch("start")
    first = await anext(lines)
    second = await anext(lines)
    assert (first.killmail_id, second.killmail_id) == (11, 12)
    resumed = operations.watch(first.feed_cursor)
    assert (await anext(resumed)).killmail_id == 12
    await lines.aclose()  # type: ignore[attr-defined]
    await resumed.aclose()  # type: ignore[attr-defined]


async def test_a_database_that_fails_is_a_problem_and_no_error(
    world: StorageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing_facts() -> None:
        raise Unavailable("the disk of /x is full", "free some space")

    health, rows = Health(world.timed.clock), StatusRepository(world.store)
    operations = operations_of(world, world.timed.clock, health, rows)
    monkeypatch.setattr(rows, "status_facts", failing_facts)
    health.report("downtime", "EVE is down")
    status = await operations.status()
    assert not status.syncing
    assert {each.code for each in status.problems} == {"database_failing", "downtime"}
    (failing,) = [each for each in status.problems if each.code == "database_failing"]
    assert (failing.reason, failing.remedy) == ("the disk of /x is full", "free some space")
    assert (await operations.status()).problems[0].since == status.problems[0].since
    monkeypatch.undo()
    assert "database_failing" not in [each.code for each in (await operations.status()).problems]


# --- logged out ---------------------------------------------------------------------------------


async def test_whoever_logged_out_is_no_trouble(world: StorageWorld, operations: Operations) -> None:
    gone, here = await world.pilot(1, "Ada"), await world.pilot(2, "Bea")
    await world.listed(gone, 11)
    await world.store_mails(11)
    await operations.logout("Ada")
    status = await operations.status()
    assert [each.code for each in status.problems if each.code != "revocation_pending"] == []
    assert status.users_by_state == {UserState.LEFT: 1, UserState.OK: 1}
    assert await world.stored_ids() == [11], "the mails stay"
    assert [each.user.id for each in await operations.queue()] == [here.user_id], "everybody is who is here"
    (skipped,) = await operations.queue(["Ada"])
    assert not skipped.queued
    assert "killsyncd login" in (skipped.reason or "")
    again = await world.pilot(1, "Ada")
    assert again.user_id == gone.user_id
    assert (await operations.status()).users_by_state == {UserState.OK: 2}


async def test_where_all_have_logged_out_that_is_said(world: StorageWorld, operations: Operations) -> None:
    await world.pilot(1, "Ada")
    await operations.logout("Ada")
    (problem,) = [each for each in (await operations.status()).problems if stops(each)]
    assert (problem.code, problem.reason) == ("nobody_logged_in", "whoever logged in has logged out again")
