"""Who is alive on a database."""

from __future__ import annotations

import asyncio

from killsyncd.storage.migrations import Migratable
from killsyncd.storage.repositories.daemons import LEASE_SECONDS, Membership, daemons_alive
from killsyncd.storage.transaction import Sql, Tx
from tests.contract.conftest import Backend
from tests.support.storage_world import StorageWorld


async def join(backend: Backend, store: Migratable, egress: str = "default") -> Membership:
    return await Membership.join(store, backend.clock, egress=egress, version="1.2.3")


async def test_who_joins_is_seen_and_who_leaves_is_not(backend: Backend, store: Migratable) -> None:
    member = await join(backend, store)
    (seen,) = await daemons_alive(store)
    assert (seen.id, seen.egress, seen.version) == (member.id, "default", "1.2.3")
    assert seen.pid > 0
    assert member.alive()
    await member.leave()
    await member.leave()
    assert await daemons_alive(store) == []
    assert not member.alive()


async def test_an_exclusive_store_has_one_daemon_and_its_lease_never_ends(
    backend: Backend, store: Migratable
) -> None:
    if not store.exclusive:
        return
    before = await join(backend, store)
    after = await join(backend, store)
    assert [each.id for each in await daemons_alive(store)] == [after.id]
    assert before.id != after.id
    await backend.pass_time(30 * 86400.0)
    assert after.alive()
    assert [each.id for each in await daemons_alive(store)] == [after.id]


async def test_daemons_find_each_other(shared: Backend) -> None:
    stores = [await shared.open() for _ in range(3)]
    one, two, other = [
        await join(shared, store, egress)
        for store, egress in zip(stores, ("home", "home", "away"), strict=True)
    ]
    found = [(each.id, each.egress) for each in await one.peers()]
    assert found == [(one.id, "home"), (two.id, "home"), (other.id, "away")]


async def test_the_silent_are_swept_and_told_when_they_come_back(worlds: list[StorageWorld]) -> None:
    silent, living = worlds
    job = await silent.job(await silent.pilot(1))
    await living.timed.pass_time(LEASE_SECONDS - 10.0)
    assert await living.member.beat()
    await living.timed.pass_time(15.0)
    assert await living.member.beat()
    assert [each.id for each in await daemons_alive(living.store)] == [living.holder]
    assert not await silent.member.beat()
    assert {each.id for each in await daemons_alive(living.store)} == {living.holder, silent.holder}
    assert not await silent.wants.finish(job)
    assert await silent.member.beat()


async def test_a_lease_that_ended_is_not_revived_also_when_nobody_swept_it(
    worlds: list[StorageWorld],
) -> None:
    world, _ = worlds
    job = await world.job(await world.pilot(1))
    await world.timed.pass_time(LEASE_SECONDS + 1.0)
    assert not await world.member.beat()
    assert not await world.wants.finish(job)


async def test_others_hear_that_claims_are_free(worlds: list[StorageWorld]) -> None:
    leaving, staying = worlds
    heard: list[str] = []
    both = asyncio.Event()

    def hear(channel: str) -> None:
        heard.append(channel)
        if {"wants", "refs"} <= set(heard):
            both.set()

    async with staying.store.listen(hear):
        await leaving.member.leave()
        await both.wait()


async def test_the_heartbeat_goes_on_and_says_when_claims_fell(shared: Backend) -> None:
    world = await StorageWorld.begin(shared, await shared.open())
    lost = asyncio.Event()
    await world.timed.pass_time(LEASE_SECONDS + 1.0)
    beating = asyncio.create_task(world.member.run(on_lost=lost.set))
    await lost.wait()
    assert world.member.alive()
    beating.cancel()
    await asyncio.wait({beating})


async def test_holders_must_be_daemons(world: StorageWorld) -> None:
    """Every holder column refers to a daemon, and falls to NULL with it."""

    def holders() -> Tx[set[str]]:
        if world.store.dialect == "sqlite":
            rows = yield Sql(
                "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c"
                " WHERE m.type = 'table' AND c.name = 'holder'",
                {},
            )
            found = {str(row[0]) for row in rows}
            rows = yield Sql(
                "SELECT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f"
                " WHERE f.\"from\" = 'holder' AND f.\"table\" = 'daemons' AND f.on_delete = 'SET NULL'",
                {},
            )
        else:
            rows = yield Sql(
                "SELECT table_name FROM information_schema.columns"
                " WHERE table_schema = current_schema() AND column_name = 'holder'",
                {},
            )
            found = {str(row[0]) for row in rows}
            rows = yield Sql(
                "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
                " AND confrelid = 'daemons'::regclass AND confdeltype = 'n'"
                " AND conname LIKE '%\\_holder\\_fkey'",
                {},
            )
        return found ^ {str(row[0]) for row in rows}

    assert await world.store.read(holders) == set()
