"""Statistics and the ranking equal a recount over the mails, whatever is stored; on every store."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.read_model import MailFilter, Order
from killsyncd.core.statistics import Kind, RankBy, Subject, Tally, ranked, total_of
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.transaction import Run, Tx
from tests.contract.conftest import Backend
from tests.support.api_world import PILOT, ApiWorld, mail_json
from tests.support.catalogue import SYSTEMS, fill_catalogue, put_values

PILOTS = [PILOT, PILOT + 1, PILOT + 2]


@pytest.fixture
async def api(backend: Backend, store: Migratable) -> ApiWorld:
    world = ApiWorld(store, backend.clock)
    for number, each in enumerate(PILOTS):
        await world.pilot(each, f"Pilot {number}")
    await fill_catalogue(store)
    return world


def some_mails(now: float, count: int = 80) -> list[dict[str, Any]]:
    rng = random.Random(3)
    mails = []
    for number in range(count):
        shooters = rng.sample([*PILOTS, 95_000_001, 95_000_002, None, None], rng.randint(1, 5))
        if rng.random() < 0.3:
            shooters.append(rng.choice(PILOTS))
        mail = mail_json(
            1000 + number,
            utc(int(now)) - timedelta(days=rng.randrange(100), seconds=rng.randrange(3)),
            victim=rng.choice([*PILOTS, 95_000_003]),
            attackers=shooters,
            items=0,
            system=rng.choice([*SYSTEMS, 30_999_999]),
        )
        mails.append(mail)
    return mails


def is_solo(mail: dict[str, Any]) -> bool:
    players = [each for each in mail["attackers"] if "character_id" in each]
    return len(players) == 1


def recount(
    mails: Iterable[dict[str, Any]], values: dict[int, int], ours: Callable[[dict[str, Any]], bool]
) -> Tally:
    """The contract's words, over the mails as ESI sent them."""
    found = Tally()
    for mail in mails:
        worth = float(values.get(mail["killmail_id"], 0))
        on = [each for each in mail["attackers"] if ours(each)]
        if on:
            found += Tally(
                kills=1,
                solo=int(is_solo(mail)),
                final_blows=int(any(each["final_blow"] for each in on)),
                isk_destroyed=worth,
            )
        if ours(mail["victim"]):
            found += Tally(losses=1, isk_lost=worth)
    return found


def whose(subject: Subject) -> Callable[[dict[str, Any]], bool]:
    if subject.characters is not None:
        return lambda each: each.get("character_id") in (subject.characters or ())
    return lambda each: each.get("corporation_id") in (subject.corporations or ())


async def test_sums_equal_a_recount(api: ApiWorld) -> None:
    mails = some_mails(api.clock.now())
    now = utc(int(api.clock.now()))
    # Bit by bit, with values that come later: what is asked in between is right, too.
    values: dict[int, int] = {}
    rng = random.Random(9)
    for part in (mails[:30], mails[30:]):
        await api.add(*part)
        stored = mails[: mails.index(part[-1]) + 1]
        fresh = {each["killmail_id"]: rng.randrange(10**13) for each in part if rng.random() < 0.8}
        await put_values(api.store, fresh)
        values |= fresh
        corporation = stored[3]["victim"]["corporation_id"]
        for subject in (
            Subject(characters=(PILOT,)),
            Subject(characters=tuple(PILOTS)),
            Subject(characters=()),
            Subject(corporations=(corporation,)),
        ):
            for since, until in (
                (now - timedelta(days=200), now + timedelta(days=1)),
                (now - timedelta(days=40), now - timedelta(days=10)),
            ):
                within = [
                    each for each in stored if since <= datetime.fromisoformat(each["killmail_time"]) < until
                ]
                months = await api.reading.months(subject, since, until)
                assert total_of(months) == recount(within, values, whose(subject))
                for month in months:
                    of_month = [
                        each for each in within if each["killmail_time"][:7] == month.begins.strftime("%Y-%m")
                    ]
                    assert month.tally == recount(of_month, values, whose(subject))
                begins = [each.begins for each in months]
                assert begins == sorted(set(begins))
                await check_places(api, within, values, subject, since, until)


async def check_places(
    api: ApiWorld,
    mails: list[dict[str, Any]],
    values: dict[int, int],
    subject: Subject,
    since: datetime,
    until: datetime,
) -> None:
    ours = whose(subject)
    wanted: dict[Kind, dict[int, list[float]]] = {kind: defaultdict(lambda: [0, 0, 0.0]) for kind in Kind}

    def seen(kind: Kind, ids: Iterable[int], place: int, worth: float) -> None:
        for each in set(ids):
            wanted[kind][each][place] += 1
            wanted[kind][each][2] += worth

    for mail in mails:
        worth = float(values.get(mail["killmail_id"], 0))
        system, victim = mail["solar_system_id"], mail["victim"]
        region = [SYSTEMS[system][1]] if system in SYSTEMS else []
        on = [each for each in mail["attackers"] if ours(each)]
        if on:
            seen(Kind.SHIPS_FLOWN, (each["ship_type_id"] for each in on), 0, worth)
            seen(Kind.SHIPS_KILLED, [victim["ship_type_id"]], 0, worth)
            seen(Kind.SYSTEMS, [system], 0, worth)
            seen(Kind.REGIONS, region, 0, worth)
            seen(Kind.OPPONENTS, [victim["corporation_id"]], 0, worth)
        if ours(victim):
            seen(Kind.SHIPS_LOST, [victim["ship_type_id"]], 1, worth)
            seen(Kind.SYSTEMS, [system], 1, worth)
            seen(Kind.REGIONS, region, 1, worth)
            blows = [each["corporation_id"] for each in mail["attackers"] if each["final_blow"]]
            seen(Kind.OPPONENTS, blows, 1, worth)
    for kind in Kind:
        places = await api.reading.most(kind, subject, since, until, 1000)
        assert {each.id: [each.kills, each.losses, each.isk] for each in places} == wanted[kind], kind
        often = [each.kills + each.losses for each in places]
        assert often == sorted(often, reverse=True)
        assert await api.reading.most(kind, subject, since, until, 3) == places[:3]


async def test_alts_are_one_and_a_mail_of_two_of_them_counts_once(api: ApiWorld) -> None:
    mails = some_mails(api.clock.now())
    await api.add(*mails)
    values = {each["killmail_id"]: each["killmail_id"] * 1000 for each in mails}
    await put_values(api.store, values)

    def group() -> Tx[None]:
        for each in PILOTS[:2]:
            yield Run("statistics.group_put", {"character_id": each, "name": "The Twins"})

    await api.store.write(group)
    now = utc(int(api.clock.now()))
    rows = await api.reading.ranking(now - timedelta(days=200), now + timedelta(days=1))
    assert {(each.name, each.characters) for each in rows} == {
        ("The Twins", tuple(PILOTS[:2])),
        (None, (PILOTS[2],)),
    }
    for row in rows:
        assert row.tally == recount(mails, values, whose(Subject(characters=row.characters)))
    best = ranked(rows, RankBy.ISK_DESTROYED, 1)
    assert best == [max(rows, key=lambda each: each.tally.isk_destroyed)]
    page = await api.reading.page(MailFilter(character_id=PILOT), Order.TIME_DESC, 1)
    assert page.edges
    assert UTC is now.tzinfo


async def test_how_much_there_is_to_count(api: ApiWorld) -> None:
    await api.add(*some_mails(api.clock.now()))
    now = utc(int(api.clock.now()))
    everybody = Subject(characters=tuple(PILOTS))
    assert await api.reading.on_mails(everybody, now - timedelta(days=200), now, 5) >= 5
    assert await api.reading.on_mails(everybody, now, now + timedelta(days=1), 5) <= 5
    assert await api.reading.on_mails(Subject(characters=()), now - timedelta(days=200), now, 5) == 0
