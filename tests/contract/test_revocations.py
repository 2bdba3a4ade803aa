"""Logouts and erasing: what goes, what stays, and the revocation between."""

from __future__ import annotations

import pytest

from killsyncd.core.model import SyncMode, UserState
from killsyncd.storage.repositories import revocations
from killsyncd.storage.repositories.import_export import ImportExportRepository
from killsyncd.storage.repositories.revocations import Revocations, logout
from tests.support.storage_world import StorageWorld, arrival

TABLES = ("killmails", "killmail_documents", "victims", "attackers", "killmail_items")


async def ids(world: StorageWorld, table: str) -> set[int]:
    return {int(row[0]) for row in await world.rows(f"SELECT DISTINCT killmail_id FROM {table}")}


async def count(world: StorageWorld, table: str) -> int:
    return int(await world.value(f"SELECT COUNT(*) FROM {table}"))


async def test_a_logout_forgets_the_tokens_and_keeps_the_history(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 11, 12)
    await world.store_mails(11)
    await world.want(pilot)
    done = await logout(world.store, pilot.user_id, erase=False)
    assert done is not None
    assert (done.erased_killmails, done.erased_pending) == (0, 0)
    assert await count(world, "grants") == 0
    assert await count(world, "wants") == 0
    user = await world.users.get(pilot.user_id)
    assert user is not None
    assert (user.state, user.expires_at) == (UserState.LEFT, None)
    assert user.state_reason == "logged out"
    assert await world.stored_ids() == [11]
    assert await world.refs() == {12: "pending"}  # what was listed is still fetched: that needs no token
    rows = Revocations(world.store)
    assert done.revocation_id is not None
    revocation = await rows.get(done.revocation_id)
    assert revocation is not None
    assert (revocation.character_id, revocation.refresh_token_enc) == (1, b"\xffrefresh")


async def test_token_care_leaves_revocations_too(world: StorageWorld) -> None:
    await world.grants.keep_revocation(7, b"\xffanother")
    [revocation] = await Revocations(world.store).due(10)
    assert (revocation.character_id, revocation.refresh_token_enc) == (7, b"\xffanother")


async def test_a_second_logout_leaves_no_second_revocation(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await logout(world.store, pilot.user_id, erase=False)
    again = await logout(world.store, pilot.user_id, erase=False)
    assert again is not None
    assert again.revocation_id is None
    assert await count(world, "revocations") == 1
    assert await logout(world.store, "nobody", erase=False) is None
    assert await logout(world.store, "nobody", erase=True) is None


async def test_erasing_takes_what_only_this_character_brought(world: StorageWorld) -> None:
    ada, bo = await world.pilot(1), await world.pilot(2)
    await world.listed(ada, 11, 12, 13, 14, 15)
    await world.listed(bo, 12, 14)
    await world.store_mails(11, 12)
    await world.rows("UPDATE refs SET state = 'quarantined' WHERE killmail_id = 15")
    # A mail from a file has an import to vouch for it.
    exchanging = ImportExportRepository(world.store, world.storing)
    source = await exchanging.import_source()
    at = await world.now()
    await exchanging.import_mails(source, [arrival(13, at)], [], at)
    done = await logout(world.store, ada.user_id, erase=True)
    assert done is not None
    assert (done.erased_killmails, done.erased_pending) == (1, 1)
    for table in TABLES:
        assert await ids(world, table) == {12, 13}, table
    assert await world.refs() == {14: "pending"}
    assert await ids(world, "sightings") == {12, 13, 14}
    assert await world.users.get(ada.user_id) is None
    assert await count(world, "users") == 1
    for table in ("pages", "walks", "grants"):
        owner = "user_id" if table == "grants" else "source_id"
        key = ada.user_id if table == "grants" else ada.source_id
        assert int(await world.value(f"SELECT COUNT(*) FROM {table} WHERE {owner} = :key", key=key)) == 0
    assert await count(world, "revocations") == 1


async def test_what_was_asked_when_outlives_an_erase(world: StorageWorld) -> None:
    """ESI's cache does not forget with us: a pilot who comes back is not asked for before Expires."""
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    written = await world.page(job, walk, [12], pages=2)
    answered = await world.ledger.page_state(pilot.source_id, 1)
    assert answered is not None
    assert await world.ledger.before_ask(pilot.source_id, 2, answered.answered_at + 1.0)
    assert written.walk.next_page == 2
    await logout(world.store, pilot.user_id, erase=True)
    pilot = await world.pilot(1)
    first = await world.ledger.page_state(pilot.source_id, 1)
    second = await world.ledger.page_state(pilot.source_id, 2)
    assert first is not None
    assert second is not None
    assert (first.etag, first.not_before) == (None, answered.expires_at)
    assert second.not_before == answered.answered_at + 1.0 + 300.0, "asked, and nobody knows what ESI cached"
    assert await world.ledger.page_state(pilot.source_id, 3) is None
    stranger = await world.pilot(2)
    assert await world.ledger.page_state(stranger.source_id, 1) is None


async def test_what_is_fetched_while_it_is_erased_is_not_stored(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 11)
    await logout(world.store, pilot.user_id, erase=True)
    stored = await world.store_mails(11)  # its detail was on the way
    assert (stored.mails, stored.known) == ([], [11])
    for table in TABLES:
        assert await count(world, table) == 0, table


async def test_a_job_under_way_finds_its_lease_lost(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    job = await world.job(pilot)
    walk = await world.ledger.open_walk(pilot.source_id, SyncMode.FIRST_SYNC)
    await logout(world.store, pilot.user_id, erase=True)
    assert not (await world.page(job, walk, [11])).held
    assert await world.refs() == {}


async def test_who_was_erased_can_come_back(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 11)
    await world.store_mails(11)
    await logout(world.store, pilot.user_id, erase=True)
    again = await world.pilot(1)
    assert again.user_id != pilot.user_id
    await world.listed(again, 11)
    assert [each.killmail_id for each in (await world.store_mails(11)).mails] == [11]


async def test_orphans_of_an_erasing_are_wanted_again(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 11, 12)
    await world.rows("DELETE FROM refs WHERE killmail_id = 11")  # as a race would leave it
    assert await world.store.write(revocations._want_orphans, [11, 12, 99]) == 1
    assert await world.refs() == {11: "pending", 12: "pending"}
    assert [each.killmail_id for each in (await world.store_mails(11)).mails] == [11]


async def test_revocations_are_worked_off(world: StorageWorld) -> None:
    first, second = await world.pilot(1), await world.pilot(2)
    for pilot in (first, second):
        await logout(world.store, pilot.user_id, erase=True)
    rows = Revocations(world.store)
    due = await rows.due(10)
    assert [each.character_id for each in due] == [1, 2]
    later = await world.now() + 500.0
    await rows.failed(due[0].id, later, refused=True)
    await rows.done(due[1].id)
    assert await rows.due(10) == []
    assert await rows.next_due() == pytest.approx(later)
    left = await rows.get(due[0].id)
    assert left is not None
    assert (left.attempts, left.refusals) == (1, 1)
    await rows.failed(left.id, later, refused=False)
    left = await rows.get(left.id)
    assert left is not None
    assert (left.attempts, left.refusals) == (2, 0), "in a row"
