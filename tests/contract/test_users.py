"""Users: who there is, who is due, what asking for a sync answers."""

from __future__ import annotations

from datetime import timedelta

from killsyncd.core.clock import utc
from killsyncd.core.model import Origin, Queued, SyncMode, UserState
from killsyncd.storage.repositories.status import StatusRepository
from tests.support.storage_world import StorageWorld, run


async def test_users_are_found_by_character_name_and_id(world: StorageWorld) -> None:
    one = await world.pilot(95465499, "John Doe")
    await world.pilot(12345678, "Jane Smith")
    for words in ("95465499", "John Doe", "JOHN DOE", one.user_id):
        assert [each.character_id for each in await world.users.find(words)] == [95465499], words
    assert await world.users.find("nobody") == []
    assert await world.users.find("9" * 18) == []
    assert [each.character_name for each in await world.users.all()] == ["Jane Smith", "John Doe"]


async def test_a_user_says_everything(world: StorageWorld) -> None:
    pilot = await world.pilot(7, "John Doe")
    await world.listed(pilot, 2, 1)
    user = await world.users.get(pilot.user_id)
    assert user is not None
    assert (user.state, user.state_reason, user.paused) == (UserState.OK, None, False)
    assert (user.pending, user.source_id, user.last_killmail_id) == (2, pilot.source_id, None)
    assert user.expires_at is not None
    assert user.created_at.tzinfo is not None
    assert abs(user.created_at - utc(await world.now())) < timedelta(seconds=5)
    assert await world.users.get("nobody") is None


async def test_logging_in_again_keeps_the_user(world: StorageWorld) -> None:
    first = await world.pilot(7, "John Doe")
    again = await world.pilot(7, "John Smith")
    assert again == first
    (user,) = await world.users.all()
    assert user.character_name == "John Smith"


async def test_queueing_answers_how_far_or_why_not(world: StorageWorld) -> None:
    first, known, dead, paused = [await world.pilot(each) for each in (1, 2, 3, 4)]
    await world.listed(known, 1)
    await world.users.mark(dead.user_id, UserState.NEEDS_LOGIN, "the grant is gone")
    await world.users.pause(paused.user_id, paused=True)
    ids = [each.user_id for each in (first, known, dead, paused)] + ["nobody"]
    answers = await world.users.queue(ids, 5, Origin.MANUAL, skip_within=900.0)
    assert [(each.queued, each.mode) for each in answers] == [
        (True, SyncMode.FIRST_SYNC),
        (False, None),
        (False, None),
        (False, None),
    ]
    assert answers[1].reason is not None
    assert answers[1].reason.startswith("synced")
    assert answers[2].reason == "the grant is gone"
    (forced,) = await world.users.queue([known.user_id], 5, Origin.MANUAL)
    assert (forced.queued, forced.mode) == (True, SyncMode.INCREMENTAL)
    (full,) = await world.users.queue([known.user_id], 5, Origin.MANUAL, full=True)
    assert full.mode is SyncMode.FULL_SYNC
    job = await world.wants.claim(known.source_id)
    assert job is not None
    assert job.mode is SyncMode.FULL_SYNC


async def test_expires_is_left_to_the_door_which_knows_esi_s_clock(world: StorageWorld) -> None:
    """With this machine's clock behind, a time of ESI's would keep the job back for as long."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.rows("UPDATE pages SET answered_at = answered_at + 3600, expires_at = expires_at + 3600")
    (queued,) = await world.users.queue([pilot.user_id], 5, Origin.MANUAL)
    assert queued.reason == "ESI has nothing newer for another 301 s"
    assert await world.wants.claim(pilot.source_id) is not None


async def test_who_logs_in_after_a_dead_login_is_queued_whenever_he_was_synced(world: StorageWorld) -> None:
    """What he wanted meanwhile is forgotten; "synced a moment ago" would leave it so."""
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.timed.pass_time(5.0)
    (again,) = await world.users.queue([pilot.user_id], 8, Origin.LOGIN, skip_within=900.0)
    assert not again.queued, "who logs in twice is skipped, with the reason"
    await world.pilot(1)
    (again,) = await world.users.queue([pilot.user_id], 8, Origin.LOGIN, skip_within=900.0)
    assert not again.queued
    await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, "the grant is gone")
    await world.timed.pass_time(5.0)
    await world.pilot(1)
    (again,) = await world.users.queue([pilot.user_id], 8, Origin.LOGIN, skip_within=900.0)
    assert again.queued


async def test_states_are_counted_as_shown(world: StorageWorld) -> None:
    ok, paused, dead = [await world.pilot(each) for each in (1, 2, 3)]
    await world.users.pause(paused.user_id, paused=True)
    assert await world.users.mark(dead.user_id, UserState.NEEDS_LOGIN, "gone")
    assert not await world.users.mark(dead.user_id, UserState.NEEDS_LOGIN, "gone")
    facts = await StatusRepository(world.store).status_facts()
    assert facts.users_by_state == {UserState.OK: 1, UserState.PAUSED: 1, UserState.NEEDS_LOGIN: 1}
    assert not await world.users.pause("nobody", paused=True)
    assert ok.user_id


async def test_the_contract_s_statements_run_as_they_stand(world: StorageWorld) -> None:
    """CONTRACT, Tables: words that operators paste into psql and sqlite3."""
    synced, never = await world.pilot(1, "John Doe"), await world.pilot(2, "Jane Smith")
    await world.listed(synced, 2, 1)
    await world.store_mails(1, 2)
    await world.store.write(run, "grants.user_expiry", user_id=never.user_id, expires_at=utc(1.0))
    if world.store.dialect == "sqlite":
        # Its own clock stands behind CURRENT_DATE, and the test's stands elsewhere.
        await world.store.script(
            [
                "UPDATE killmails SET created_at = datetime('now', '+1 minute')",
                "UPDATE users SET expires_at = datetime('now', '+1 hour') WHERE character_id = 1",
            ]
        )
    rows = await world.rows(
        "SELECT character_name, last_killmail_sync_at, last_killmail_id, expires_at FROM users "
        "ORDER BY last_killmail_sync_at DESC NULLS LAST"
    )
    assert [(each[0], each[2]) for each in rows] == [("John Doe", 2), ("Jane Smith", None)]
    counted = await world.rows("SELECT COUNT(*) FROM killmails WHERE created_at > CURRENT_DATE")
    assert counted[0][0] == 2
    rows = await world.rows(
        "SELECT character_name, expires_at FROM users WHERE expires_at > CURRENT_TIMESTAMP"
    )
    assert [each[0] for each in rows] == ["John Doe"]


async def test_force_has_a_refused_login_asked_for_soon(world: StorageWorld) -> None:
    """`queue --force` did not lift what one wrong answer had settled. It is no sync yet: the SSO decides."""
    pilot = await world.pilot(1)
    row = await world.grants.load(pilot.user_id)
    assert row is not None
    now = await world.now()
    await world.grants.mark(
        row.user_id,
        version=row.version,
        state=UserState.SCOPE_MISSING,
        reason="refused",
        not_before=now + 86400,
    )

    async def queued(skip_within: float | None, origin: Origin) -> Queued:
        (done,) = await world.users.queue([pilot.user_id], 5, origin, skip_within=skip_within)
        return done

    for skip_within, origin in ((900.0, Origin.MANUAL), (None, Origin.PRODUCER)):
        assert not (await queued(skip_within, origin)).queued
        assert await world.grants.due(now + 3600, 10) == [], "only force does that, and only by hand"
    forced = await queued(None, Origin.MANUAL)
    assert not forced.queued
    assert "in a minute" in (forced.reason or "")
    assert await world.grants.due(now + 55, 10) == [], "not at once"
    assert await world.grants.due(now + 65, 10) == [pilot.user_id]


async def test_the_reason_changes_and_the_state_lasts(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, "once")
    await world.rows("UPDATE users SET state_since = 7")
    assert await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, "twice")
    assert await world.value("SELECT state_since FROM users") == 7


async def test_a_paused_users_tokens_are_used_on(world: StorageWorld) -> None:
    """A refresh token that nobody uses for a month dies; pausing must not cost the login."""
    pilot = await world.pilot(1)
    await world.users.pause(pilot.user_id, paused=True)
    assert await world.grants.due(await world.now() + 1200.0, 10) == [pilot.user_id]
