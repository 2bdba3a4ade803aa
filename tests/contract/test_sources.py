"""Sources in the database: each with its own times and state, whoever's token reads it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.model import Source, SourceKind, UserState
from killsyncd.core.sources import SourceState, SourceView
from killsyncd.storage.migrations import Migratable, migrate, migrations
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Backend
from tests.contract.test_migrations import migrate_to
from tests.support.storage_world import Pilot, StorageWorld, arrival

CORPORATION = 98_000_001
SCOPES = "esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1"


@pytest.fixture
def sources(world: StorageWorld) -> SourceRepository:
    return SourceRepository(world.store)


async def join(world: StorageWorld, pilot: Pilot, corporation: int | None, scopes: str = SCOPES) -> None:
    """The pilot is in this corporation, and the login carries these scopes."""
    await world.rows(
        "UPDATE users SET corporation_id = :corporation, corporation_at = {now}, scopes = :scopes "
        "WHERE id = :id",
        corporation=corporation,
        scopes=scopes,
        id=pilot.user_id,
    )


async def corporation_of(world: StorageWorld, via: Pilot | None = None) -> int:
    """The corporation's list as a source."""
    via_id = None if via is None else via.user_id
    return await world.store.write(source_id, Source(SourceKind.CORPORATION, CORPORATION), via_id)


async def refuse(world: StorageWorld, source: int, pilot: Pilot, refusal: str, *, believed: bool) -> None:
    """ESI refused the corporation's list to the pilot."""
    await world.rows(
        "INSERT INTO lenders (source_id, user_id, refusal, words, refusals, refused_since, believed, "
        "not_before) VALUES (:source, :user, :refusal, 'no', 1, {now}, :believed, {now} + 60)",
        source=source,
        user=pilot.user_id,
        refusal=refusal,
        believed=believed,
    )


async def only(sources: SourceRepository, kind: SourceKind) -> SourceView:
    (found,) = await sources.all(kind)
    return found


async def test_a_pilot_s_list_has_the_pilot_s_state_times_and_last_id(
    world: StorageWorld, sources: SourceRepository
) -> None:
    pilot = await world.pilot(1, "Ada")
    fresh = await only(sources, SourceKind.CHARACTER)
    assert (fresh.source, fresh.name, fresh.label) == (Source(SourceKind.CHARACTER, 1), "Ada", "Ada (1)")
    assert (fresh.state, fresh.reason, fresh.remedy) == (SourceState.OK, None, None)
    assert (fresh.last_sync_at, fresh.complete_from, fresh.pending) == (None, None, 0)
    await world.listed(pilot, 30, 20)
    await world.store_mails(20)
    listed = await only(sources, SourceKind.CHARACTER)
    assert (listed.last_killmail_id, listed.pending) == (20, 1)
    assert listed.last_sync_at is not None
    assert listed.complete_from is not None
    assert listed.complete_to is not None
    assert abs(listed.complete_to - listed.complete_from - timedelta(days=90)) < timedelta(seconds=60)
    user = await world.users.get(pilot.user_id)
    assert user is not None
    assert (user.last_killmail_id, user.last_killmail_sync_at) == (20, listed.last_sync_at)


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (UserState.NEEDS_LOGIN, SourceState.NO_TOKEN),
        (UserState.OWNER_CHANGED, SourceState.NO_TOKEN),
        (UserState.LEFT, SourceState.NO_TOKEN),
        (UserState.SCOPE_MISSING, SourceState.SCOPE_MISSING),
    ],
)
async def test_what_keeps_a_pilot_from_being_synced_is_the_state_of_the_pilot_s_list(
    world: StorageWorld, sources: SourceRepository, state: UserState, shown: SourceState
) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.users.mark(pilot.user_id, state, None)
    found = await only(sources, SourceKind.CHARACTER)
    assert found.state is shown
    assert found.reason
    assert "killsyncd login" in (found.remedy or "")


async def test_a_paused_pilot_s_list_is_paused(world: StorageWorld, sources: SourceRepository) -> None:
    pilot = await world.pilot(1, "Ada")
    await world.users.pause(pilot.user_id, paused=True)
    found = await only(sources, SourceKind.CHARACTER)
    assert (found.state, found.remedy) == (SourceState.PAUSED, "killsyncd ctl resume --user 1")


async def test_a_corporation_s_list_has_times_of_its_own_and_changes_no_pilot_s(
    world: StorageWorld, sources: SourceRepository
) -> None:
    """The pilot who lends the token keeps last sync and last id of the own list."""
    pilot = await world.pilot(1, "Ada")
    await join(world, pilot, CORPORATION)
    source = await corporation_of(world, pilot)
    lent = Pilot(pilot.user_id, source, 1)
    await world.listed(lent, 30, 20)
    await world.store_mails(20, 30)
    found = await only(sources, SourceKind.CORPORATION)
    assert (found.state, found.last_killmail_id, found.pending) == (SourceState.OK, 30, 0)
    assert found.last_sync_at is not None
    assert [each.character_name for each in found.via] == ["Ada"]
    user = await world.users.get(pilot.user_id)
    assert user is not None
    assert (user.last_killmail_id, user.last_killmail_sync_at) == (None, None)


@pytest.mark.parametrize(
    ("refusal", "believed", "shown"),
    [
        ("role", True, SourceState.ROLE_MISSING),
        ("role", False, SourceState.UNAVAILABLE),
        ("scope", True, SourceState.SCOPE_MISSING),
        ("membership", True, SourceState.NO_TOKEN),
        ("other", True, SourceState.UNAVAILABLE),
    ],
)
async def test_refusals_are_the_corporation_s_state_and_never_the_pilot_s(
    world: StorageWorld, sources: SourceRepository, refusal: str, believed: bool, shown: SourceState
) -> None:
    pilot = await world.pilot(1, "Ada")
    await join(world, pilot, CORPORATION)
    source = await corporation_of(world, pilot)
    await refuse(world, source, pilot, refusal, believed=believed)
    found = await only(sources, SourceKind.CORPORATION)
    assert found.state is shown
    assert "Ada" in (found.reason or "")
    assert found.remedy
    assert (await only(sources, SourceKind.CHARACTER)).state is SourceState.OK
    director = await world.pilot(2, "Bo")
    await join(world, director, CORPORATION)
    found = await only(sources, SourceKind.CORPORATION)
    assert found.state is SourceState.OK, "one who is not refused is enough"


async def test_a_corporation_without_a_token_says_whom_it_lacks(
    world: StorageWorld, sources: SourceRepository
) -> None:
    source = await corporation_of(world)
    found = await only(sources, SourceKind.CORPORATION)
    assert (found.state, found.via) == (SourceState.NO_TOKEN, ())
    pilot = await world.pilot(1, "Ada")
    await join(world, pilot, CORPORATION, "esi-killmails.read_killmails.v1")
    assert (await only(sources, SourceKind.CORPORATION)).state is SourceState.SCOPE_MISSING
    await join(world, pilot, CORPORATION)
    assert (await only(sources, SourceKind.CORPORATION)).state is SourceState.OK
    await world.users.mark(pilot.user_id, UserState.NEEDS_LOGIN, None)
    found = await only(sources, SourceKind.CORPORATION)
    assert found.state is SourceState.NO_TOKEN
    assert "Ada (the login has ended)" in (found.reason or "")
    assert await sources.pause(source, paused=True)
    assert not await sources.pause(source, paused=True)
    found = await only(sources, SourceKind.CORPORATION)
    assert found.state is SourceState.PAUSED
    assert f"--corporation {CORPORATION}" in (found.remedy or "")


async def test_sources_are_found_by_id_and_by_name(world: StorageWorld, sources: SourceRepository) -> None:
    await world.pilot(1, "Ada")
    await corporation_of(world)
    await world.rows(
        "INSERT INTO names (id, category, name) VALUES (:id, 'corporation', 'Byron Works')", id=CORPORATION
    )

    async def found(words: str, kind: SourceKind | None = None) -> list[int]:
        return [each.source.subject_id for each in await sources.find(words, kind)]

    assert await found("ADA") == [1]
    assert await found("byron works") == await found(str(CORPORATION)) == [CORPORATION]
    assert await found("ada", SourceKind.CORPORATION) == []
    assert await found("nobody") == await found("9" * 30) == []


async def test_due_is_what_was_not_synced_since_and_does_not_wait(
    world: StorageWorld, sources: SourceRepository
) -> None:
    synced, never, waiting, paused, dead = [await world.pilot(each) for each in (1, 2, 3, 4, 5)]
    await world.listed(synced, 1)
    await world.want(waiting)
    await world.users.pause(paused.user_id, paused=True)
    await world.users.mark(dead.user_id, UserState.NEEDS_LOGIN, "the grant is gone")
    now = await world.now()
    assert await sources.due(utc(now - 60.0)) == [never.source_id]
    await world.timed.pass_time(120.0)
    assert await sources.due(utc(await world.now() - 60.0)) == [never.source_id, synced.source_id]


async def test_how_a_mail_came_is_told_by_its_sources(world: StorageWorld, sources: SourceRepository) -> None:
    pilot = await world.pilot(1, "Ada")
    await join(world, pilot, CORPORATION)
    source = await corporation_of(world, pilot)
    await world.listed(pilot, 20)
    await world.listed(Pilot(pilot.user_id, source, 1), 20, 30)
    assert await sources.of_killmails([20, 30, 40]) == {20: [pilot.source_id, source], 30: [source]}


async def test_who_fought_is_remembered_by_the_time_of_the_newest_fresh_kill(world: StorageWorld) -> None:
    """Of every source that lists the mail, also of one that lists it after it was stored."""
    first, second = await world.pilot(1), await world.pilot(2)
    at = await world.now()
    await world.listed(first, 10, 20)
    mails = [arrival(10, at - 7200.0), arrival(20, at - 60.0)]
    await world.storing.store(mails, ())

    async def fought(pilot: Pilot) -> Any:
        return await world.value("SELECT last_fresh_at FROM sources WHERE id = :id", id=pilot.source_id)

    assert await fought(first) == pytest.approx(at - 60.0, abs=1.0)
    assert await fought(second) is None
    await world.listed(second, 20)
    assert await fought(second) == pytest.approx(at - 60.0, abs=1.0)


async def test_whoever_is_on_a_fresh_mail_fought_also_without_it_on_the_own_list(world: StorageWorld) -> None:
    """Who only helped, and the corporations of all: their lists are where the next kill shows."""
    lister, victim, elsewhere = [await world.pilot(each) for each in (1, 2, 3)]
    helper = await world.pilot(5)
    corporation = await corporation_of(world)
    at = await world.now()
    await world.listed(lister, 20)
    attackers = [
        {"damage_done": 3, "final_blow": True, "security_status": 0.0, "character_id": 1},
        {"damage_done": 1, "final_blow": False, "security_status": 0.0, "character_id": 5},
    ]
    lost = {"damage_taken": 4, "ship_type_id": 587, "character_id": 2, "corporation_id": CORPORATION}
    await world.storing.store([arrival(20, at - 60.0, victim=lost, attackers=attackers)], ())

    async def fought(source_id: int) -> Any:
        return await world.value("SELECT last_fresh_at FROM sources WHERE id = :id", id=source_id)

    for each in (lister.source_id, victim.source_id, helper.source_id, corporation):
        assert await fought(each) == pytest.approx(at - 60.0, abs=1.0)
    assert await fought(elsewhere.source_id) is None


async def test_a_database_of_the_version_before_keeps_what_it_knows_of_each_list(empty: Backend) -> None:
    """Sources take over the pilots' last sync and last id: nothing is walked again for it."""
    store: Migratable = await empty.open()
    number = next(each.number for each in migrations() if each.name == "sources")
    await migrate_to(store, number - 1)

    def before() -> Tx[None]:
        for character, at, last in ((1, "2026-11-01 12:00:00", 77), (2, None, None)):
            yield Sql(
                "INSERT INTO users (id, character_id, character_name, state_since, last_killmail_sync_at, "
                f"last_killmail_id, created_at) VALUES (:id, :id_of, 'A', 0, {(at and repr(at)) or 'NULL'}, "
                ":last, {now_time})",
                {"id": f"u{character}", "id_of": character, "last": last},
            )
            yield Sql(
                "INSERT INTO sources (kind, subject_id, via_user_id, unbroken_at, vouched_at, created_at) "
                "VALUES ('character', :id_of, :id, 5000, 4000, 0)",
                {"id": f"u{character}", "id_of": character},
            )

    await store.write(before)
    assert number in await migrate(store)
    first, second = await SourceRepository(store).all(SourceKind.CHARACTER)
    assert (first.last_killmail_id, first.last_sync_at) == (77, utc(1793534400.0))
    assert first.complete_to == utc(4000.0)
    assert (second.last_sync_at, second.last_killmail_id) == (None, None)
