"""Mails end stored, once, in the order of the feed."""

from __future__ import annotations

import asyncio

import pytest

from killsyncd.core import killmail as km
from killsyncd.storage.documents import unpack
from killsyncd.storage.transaction import Rows, Run, Sql, Tx
from killsyncd.sync.batch import Arrival
from tests.support.storage_world import StorageWorld, arrival, hash_of, run


async def test_a_mail_is_stored_with_everything_it_holds(world: StorageWorld) -> None:
    pilot = await world.pilot(90000001)
    await world.listed(pilot, 7)
    at = await world.now()
    mail = arrival(7, at)
    stored = await world.storing.store([mail], [587, 11])
    assert [(each.killmail_id, each.feed_position, each.fresh) for each in stored.mails] == [(7, 1, True)]
    assert await world.refs() == {}
    row = await world.row("SELECT * FROM killmails")
    assert (row["killmail_hash"], row["war_id"], row["moon_id"]) == (hash_of(7), 5, None)
    assert (row["attacker_count"], row["feed_position"], bool(row["fresh"])) == (3, 1, True)
    assert (bool(row["solo"]), bool(row["npc"]), row["origin"]) == (True, False, "esi")
    # By hand, from `document`: ESI's numbers, None for what it does not say, times in whole seconds.
    victims = await world.rows(
        "SELECT killmail_id, character_id, corporation_id, alliance_id, faction_id, ship_type_id, "
        "damage_taken, position_x, position_y, position_z, killed_at FROM victims"
    )
    assert [tuple(each) for each in victims] == [
        (7, 90000001, 98000001, None, None, 587, 2**40, 1.5, -2.25, 3e11, int(at)),
    ]
    attackers = await world.rows(
        "SELECT killmail_id, position, character_id, corporation_id, alliance_id, faction_id, ship_type_id, "
        "weapon_type_id, damage_done, final_blow, security_status, killed_at FROM attackers ORDER BY position"
    )
    assert [tuple(each) for each in attackers] == [
        (7, 0, 90000002, None, None, None, None, None, 3, True, -1.5, int(at)),
        (7, 1, None, None, None, 500010, None, None, 1, False, 0.0, int(at)),
        (7, 2, None, None, None, 500010, None, None, 1, False, 0.0, int(at)),
    ]
    items = await world.rows(
        "SELECT killmail_id, position, parent, item_type_id, flag, quantity_dropped, quantity_destroyed, "
        "singleton FROM killmail_items ORDER BY position"
    )
    assert [tuple(each) for each in items] == [
        (7, 0, None, 11, 5, 2**33, None, 0),
        (7, 1, None, 12, 5, None, 1, 0),
        (7, 2, 1, 13, 0, 1, None, 2),
    ]
    ((stored, size),) = await world.rows("SELECT document, size FROM killmail_documents")
    assert size == len(mail.raw)
    assert unpack(bytes(stored), size) == mail.raw
    names = await world.rows("SELECT id FROM names WHERE name IS NULL ORDER BY id")
    assert [each[0] for each in names] == [11, 587]


async def test_storing_twice_changes_nothing(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    await world.store_mails(2, 1)
    again = await world.store_mails(2, 1)
    assert (again.mails, again.known, again.refused) == ([], [1, 2], [])
    assert await world.stored_ids() == [1, 2]
    assert int(await world.value("SELECT COUNT(*) FROM attackers")) == 6


async def test_what_nobody_wants_is_not_stored(world: StorageWorld) -> None:
    stored = await world.store_mails(5)
    assert (stored.mails, stored.known) == ([], [5])
    assert await world.stored_ids() == []
    assert int(await world.value("SELECT COUNT(*) FROM killmail_documents")) == 0


async def test_a_ref_of_a_stored_mail_is_settled(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    await world.store_mails(1)
    await world.store.script(
        [
            "INSERT INTO refs (killmail_id, killmail_hash, first_listed_at, changed_at)"
            " VALUES (1, 'x', 0, 0)",
            f"INSERT INTO ref_sources (source_id, killmail_id) VALUES ({pilot.source_id}, 1)",
        ]
    )
    await world.store_mails(1)
    assert await world.refs() == {}
    assert await world.stored_ids() == [1]
    assert await world.last_id(pilot) == 1


async def test_positions_follow_ids_within_a_batch_and_commits_between(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 40, 30, 20, 10)
    await world.store_mails(40, 20)
    await world.store_mails(30, 10)
    assert await world.stored_ids() == [20, 40, 10, 30]
    positions = await world.rows("SELECT feed_position FROM killmails ORDER BY feed_position")
    assert [each[0] for each in positions] == [1, 2, 3, 4]


async def test_an_old_mail_is_not_fresh(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 2, 1)
    at = await world.now()
    stored = await world.storing.store([arrival(1, at - 3700.0), arrival(2, at - 3500.0)], [])
    assert [each.fresh for each in stored.mails] == [False, True]


def beyond(killmail_id: int, at: float) -> Arrival:
    """A mail with a number that no database takes: it got past the decoder by a bug."""
    good = arrival(killmail_id, at)
    victim = km.EsiVictim(damage_taken=2**70, ship_type_id=587)
    changed = km.Killmail(good.killmail.killmail_id, good.killmail.killmail_time, 1, victim, [])
    return Arrival(changed, good.killmail_hash, good.raw, at)


@pytest.mark.parametrize("count", [1, 2, 7, 300])
async def test_a_row_that_is_refused_fails_no_other(world: StorageWorld, count: int) -> None:
    pilot = await world.pilot(1)
    ids = list(range(1, count + 1))
    await world.listed(pilot, *ids)
    at = await world.now()
    bad = {1, count // 2, count} - {0}
    stored = await world.storing.store([beyond(e, at) if e in bad else arrival(e, at) for e in ids], [])
    assert {each for each, _ in stored.refused} == bad
    assert all(reason for _, reason in stored.refused)
    assert await world.stored_ids() == [each for each in ids if each not in bad]
    assert await world.refs() == dict.fromkeys(bad, "quarantined")
    assert int(await world.value("SELECT COUNT(*) FROM killmail_documents")) == count - len(bad)


async def test_many_rows_go_in_at_once(world: StorageWorld) -> None:
    """More than the limit from which PostgreSQL is given its rows by COPY."""
    pilot = await world.pilot(1)
    ids = range(1, 601)
    await world.listed(pilot, *ids)
    await world.store_mails(*ids, names=range(1, 1200))
    assert await world.stored_ids() == list(ids)
    assert int(await world.value("SELECT COUNT(*) FROM attackers")) == 1800
    assert int(await world.value("SELECT COUNT(*) FROM names")) == 1199
    assert await world.last_id(pilot) == 600


async def test_imported_mails_are_numbered_and_never_fresh(world: StorageWorld) -> None:
    at = await world.now()
    source = await world.store.write(run, "users.source", kind="import", subject_id=0, user_id=None)
    source_id = int(source[0][0])
    pilot = await world.pilot(1)
    await world.listed(pilot, 2)
    stored = await world.storing.import_mails(source_id, [arrival(1, at), arrival(2, at)], [], at)
    assert [(each.killmail_id, each.fresh) for each in stored.mails] == [(1, False), (2, False)]
    assert await world.refs() == {}
    again = await world.storing.import_mails(source_id, [arrival(2, at), arrival(3, at)], [], at)
    assert ([each.killmail_id for each in again.mails], again.known) == ([3], [2])
    assert await world.stored_ids() == [1, 2, 3]
    assert await world.last_id(pilot) == 2


async def test_a_mail_claimed_by_another_daemon_is_left_to_it(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    pilot = await one.pilot(1)
    await one.listed(pilot, 1)
    assert await one.ledger.claim_refs([1]) == {1}
    assert (await two.store_mails(1)).mails == []
    assert [each.killmail_id for each in (await one.store_mails(1)).mails] == [1]


def feed_after(position: int) -> Tx[Rows]:
    return (
        yield Sql(
            "SELECT killmail_id, feed_position FROM killmails WHERE feed_position > :position"
            " ORDER BY feed_position LIMIT 50",
            {"position": position},
        )
    )


async def test_a_reader_behind_a_cursor_misses_nothing_while_several_write(
    worlds: list[StorageWorld],
) -> None:
    """Ten writers over two stores, batches of all sizes, one reader that follows."""
    one, two = worlds
    pilot = await one.pilot(1)
    total = 400
    await one.listed(pilot, *range(1, total + 1))
    chunks = [list(range(first, total + 1, 10)) for first in range(1, 11)]
    reading = asyncio.create_task(follow(one, total))

    async def write(world: StorageWorld, ids: list[int]) -> None:
        at = await world.now()
        size = 1 + ids[0] % 5
        for first in range(0, len(ids), size):
            await world.storing.store([arrival(each, at) for each in ids[first : first + size]], [])

    await asyncio.gather(*(write((one, two)[n % 2], ids) for n, ids in enumerate(chunks)))
    seen = await reading
    assert [position for _, position in seen] == list(range(1, total + 1))
    assert {killmail_id for killmail_id, _ in seen} == set(range(1, total + 1))


async def follow(world: StorageWorld, total: int) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    while len(seen) < total:
        rows = await world.store.read(feed_after, seen[-1][1] if seen else 0)
        seen += [(int(row[0]), int(row[1])) for row in rows]
        await asyncio.sleep(0)
    return seen


async def test_daemons_that_bring_the_same_mail_store_it_once(worlds: list[StorageWorld]) -> None:
    """An import, and two fetchers whose leases were mixed up, all at the same moment."""
    one, two = worlds
    pilot = await one.pilot(1)
    ids = list(range(1, 61))
    await one.listed(pilot, *ids)
    source = await one.store.write(run, "users.source", kind="import", subject_id=0, user_id=None)
    at = await one.now()
    mails = [arrival(each, at) for each in ids]
    done = await asyncio.gather(
        one.storing.store(mails, [1, 2, 3]),
        two.storing.store(mails[::-1], [3, 2, 1]),
        two.storing.import_mails(int(source[0][0]), mails, [2, 3, 4], at),
    )
    assert sorted(each.killmail_id for stored in done for each in stored.mails) == ids
    assert sorted(await one.stored_ids()) == ids
    assert int(await one.value("SELECT position FROM feed")) == len(ids)
    assert await one.last_id(pilot) == 60


async def test_last_killmail_id_is_right_whoever_stores_last(worlds: list[StorageWorld]) -> None:
    one, two = worlds
    pilot = await one.pilot(1)
    for first in range(1, 200, 20):
        ids = list(range(first, first + 20))
        await one.listed(pilot, *ids)
        await asyncio.gather(*((one, two)[each % 2].store_mails(each) for each in ids))
        assert await one.last_id(pilot) == ids[-1]


async def test_nothing_is_stored_when_the_transaction_fails_at_its_end(world: StorageWorld) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 1)
    at = await world.now()

    def storing_and_failing() -> Tx[None]:
        yield from world.storing.store_batch.tx([arrival(1, at)], [], careful=False)
        yield Run("meta.now", {})
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        await world.store.write(storing_and_failing)
    assert await world.stored_ids() == []
    assert await world.refs() == {1: "pending"}
    assert int(await world.value("SELECT position FROM feed")) == 0
