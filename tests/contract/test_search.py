"""The read side of mails, on every store: pages, filters, batches, the feed."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.errors import BadInput
from killsyncd.core.read_model import COUNTED_TO, DayActivity, Involved, MailFilter, Order, Role, TooMuch
from killsyncd.core.security import SecurityClass
from killsyncd.static_data.ports import TableChange
from killsyncd.static_data.records import TABLES, Build
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.repositories import driving, filtering
from killsyncd.storage.repositories import search as reading_module
from killsyncd.storage.repositories.static_data import StaticDataRepository
from tests.contract.conftest import Backend
from tests.support.api_world import PILOT, ApiWorld, mail_json
from tests.support.catalogue import (
    CHARGE,
    CONSTELLATION,
    CRUISERS,
    FRIGATES,
    REGION,
    SHIPS,
    SYSTEMS,
    WORMHOLES,
    fill_catalogue,
    group_of,
    put_values,
)

OTHER = 90_000_002


@pytest.fixture
async def api(backend: Backend, store: Migratable) -> ApiWorld:
    return ApiWorld(store, backend.clock)


def sample(now: float) -> list[dict[str, Any]]:
    """Mails that differ in everything a filter looks at; several share a second."""
    mails = []
    for number in range(60):
        shooters: list[int | None] = [None] * (number % 4)
        if number % 3 == 0:
            shooters.append(PILOT)
        if number % 5 == 0:
            shooters.append(OTHER)
        mails.append(
            mail_json(
                1000 + (number * 37) % 60,
                utc(int(now) - (number // 3) * 3600),
                victim=OTHER if number % 7 == 0 else (PILOT if number % 11 == 0 else None),
                attackers=shooters or [None],
                items=number % 3,
                system=30_000_001 + number % 3,
            )
        )
        if number % 4 == 0:
            mails[-1]["war_id"] = 7 + number % 8
    return mails


def value_of(mail: dict[str, Any]) -> int | None:
    """In hundredths of an ISK; every third mail is not valued yet."""
    killmail_id: int = mail["killmail_id"]
    return None if killmail_id % 3 == 0 else 10 ** (killmail_id % 14) + killmail_id % 5


async def add_sample(api: ApiWorld) -> list[dict[str, Any]]:
    """The sample, stored, with values and what the static data know of it."""
    mails = sample(api.clock.now())
    for part in (mails[:20], mails[20:]):
        assert len(await api.add(*part)) == len(part)
    await fill_catalogue(api.store)
    values = {each["killmail_id"]: value_of(each) for each in mails}
    await put_values(api.store, {each: value for each, value in values.items() if value is not None})
    return mails


def holds(mail: dict[str, Any], given: MailFilter) -> bool:
    """The filter, said again in Python."""
    victims, shooters = [mail["victim"]], mail["attackers"]
    sides = {Role.VICTIM: victims, Role.ATTACKER: shooters, None: [*victims, *shooters]}[given.role]
    pilots = [each for each in shooters if "character_id" in each]
    structures = [
        each
        for each in shooters
        if "character_id" not in each and not 1_000_000 <= each["corporation_id"] < 2_000_000
    ]
    at = datetime.fromisoformat(mail["killmail_time"])
    system = SYSTEMS[mail["solar_system_id"]]
    checks = [
        (given.character_id, lambda wanted: any(each.get("character_id") == wanted for each in sides)),
        (given.corporation_id, lambda wanted: any(each["corporation_id"] == wanted for each in sides)),
        (given.alliance_id, lambda wanted: any(each.get("alliance_id") == wanted for each in sides)),
        (given.ship_type_id, lambda wanted: mail["victim"]["ship_type_id"] == wanted),
        (given.solar_system_id, lambda wanted: mail["solar_system_id"] == wanted),
        (given.since, lambda wanted: at >= wanted),
        (given.until, lambda wanted: at < wanted),
        (given.min_attackers, lambda wanted: len(shooters) >= wanted),
        (given.solo, lambda wanted: (len(pilots) == 1 and not structures) is wanted),
        (given.npc, lambda wanted: (not pilots) is wanted),
        (
            given.attacker_ship_type_id,
            lambda wanted: any(each["ship_type_id"] == wanted for each in shooters),
        ),
        (
            given.final_blow_character_id,
            lambda wanted: any(
                each["final_blow"] and each.get("character_id") == wanted for each in shooters
            ),
        ),
        (given.war_id, lambda wanted: mail.get("war_id") == wanted),
        (given.killmail_ids, lambda wanted: mail["killmail_id"] in wanted),
        (given.region_id, lambda wanted: system[1] == wanted),
        (given.constellation_id, lambda wanted: system[0] == wanted),
        (given.security_class, lambda wanted: system[3] == wanted),
        (given.ship_group_id, lambda wanted: group_of(mail["victim"]["ship_type_id"]) == wanted),
        (
            given.ship_category_id,
            lambda wanted: wanted == SHIPS and group_of(mail["victim"]["ship_type_id"]) is not None,
        ),
        (given.min_value, lambda wanted: value_of(mail) is not None and (value_of(mail) or 0) >= wanted),
        (given.max_value, lambda wanted: value_of(mail) is not None and (value_of(mail) or 0) <= wanted),
        (given.any_of, lambda wanted: any(holds(mail, each) for each in wanted)),
    ]
    return all(check(wanted) for wanted, check in checks if wanted is not None)


async def test_every_filter_and_order_gives_what_it_says_page_by_page(api: ApiWorld) -> None:
    mails = await add_sample(api)
    now = utc(int(api.clock.now()))
    victim = mails[0]["victim"]
    filters = [
        MailFilter(),
        MailFilter(character_id=PILOT),
        MailFilter(character_id=OTHER, role=Role.VICTIM),
        MailFilter(character_id=OTHER, role=Role.ATTACKER),
        MailFilter(corporation_id=victim["corporation_id"]),
        MailFilter(corporation_id=victim["corporation_id"], role=Role.VICTIM),
        MailFilter(alliance_id=99_000_001, role=Role.ATTACKER),
        MailFilter(alliance_id=99_000_001),
        MailFilter(ship_type_id=victim["ship_type_id"]),
        MailFilter(solar_system_id=30_000_002),
        MailFilter(since=now - timedelta(hours=5)),
        MailFilter(until=now - timedelta(hours=5)),
        MailFilter(since=now - timedelta(hours=9), until=now - timedelta(hours=3)),
        MailFilter(since=now - timedelta(hours=5, microseconds=-1)),
        MailFilter(min_attackers=4),
        MailFilter(solo=True),
        MailFilter(solo=False),
        MailFilter(npc=True),
        MailFilter(npc=False, character_id=PILOT, solar_system_id=30_000_001),
        MailFilter(role=Role.VICTIM),
        MailFilter(character_id=PILOT, corporation_id=victim["corporation_id"], alliance_id=99_000_001),
    ]
    positions = {each.killmail_id: each for each in (await everything(api))}
    for number, given in enumerate(filters):
        order = list(Order)[number % len(Order)]
        await check(api, mails, positions, given, order)


async def check(api: ApiWorld, mails: list[Any], positions: Any, given: MailFilter, order: Order) -> int:
    """A list, page by page, and its total, against the filter as Python says it."""
    expected = [each["killmail_id"] for each in mails if holds(each, given)]

    def place(killmail_id: int) -> Any:
        mail = positions[killmail_id]
        if order is Order.VALUE_DESC:
            value = value_of({"killmail_id": killmail_id})
            return (-1 if value is None else value, killmail_id)
        return (mail.killmail_time, killmail_id) if order.by_time else mail.feed_position

    expected.sort(key=place, reverse=order.descending)
    found: list[int] = []
    after = None
    while True:
        page = await api.reading.page(given, order, 7, after)
        assert page.went_before is (after is not None)
        found += [edge.mail.killmail_id for edge in page.edges]
        if not page.more:
            break
        after = page.edges[-1].cursor
    assert found == expected, (given, order)
    assert await api.reading.count(given) == len(expected)
    return len(found)


def some_filter(rng: random.Random, mails: list[dict[str, Any]], now: datetime, depth: int = 0) -> MailFilter:
    """A filter of some conditions, most of which some mail fulfils."""
    mail = rng.choice(mails)
    shooter = rng.choice(mail["attackers"])
    hours = sorted(rng.sample(range(24), 2), reverse=True)
    values: dict[str, Any] = {
        "character_id": rng.choice((PILOT, OTHER, 1)),
        "corporation_id": rng.choice((mail["victim"], shooter))["corporation_id"],
        "alliance_id": 99_000_001,
        "role": rng.choice((Role.VICTIM, Role.ATTACKER)),
        "ship_type_id": mail["victim"]["ship_type_id"],
        "solar_system_id": mail["solar_system_id"],
        "since": now - timedelta(hours=hours[0]),
        "until": now - timedelta(hours=hours[1]),
        "min_attackers": rng.randint(0, 6),
        "solo": rng.random() < 0.5,
        "npc": rng.random() < 0.5,
        "attacker_ship_type_id": shooter["ship_type_id"],
        "final_blow_character_id": rng.choice((PILOT, OTHER)),
        "war_id": mail.get("war_id", 7),
        "region_id": rng.choice((REGION, WORMHOLES, 1)),
        "constellation_id": CONSTELLATION,
        "security_class": rng.choice(list(SecurityClass)[:4]),
        "ship_group_id": rng.choice((FRIGATES, CRUISERS)),
        "ship_category_id": rng.choice((SHIPS, CHARGE)),
        "min_value": 10 ** rng.randrange(14),
        "max_value": 10 ** rng.randrange(14),
        "killmail_ids": tuple(rng.sample(range(990, 1070), rng.choice((0, 5, 40)))),
    }
    chosen = {name: values[name] for name in rng.sample(sorted(values), rng.choice((1, 1, 2, 3)))}
    if depth < 2 and rng.random() < 0.4:
        chosen["any_of"] = tuple(
            some_filter(rng, mails, now, depth + 1) for _ in range(rng.choice((0, 1, 2, 3)))
        )
    return MailFilter(**chosen)


@pytest.mark.parametrize(
    ("few", "many", "sample", "many_ids"),
    [
        (driving.FEW, driving.MANY, driving.SAMPLE, filtering.MANY_IDS),
        (driving.FEW, driving.MANY, driving.SAMPLE, 0),
        (3, 1000, 6, 300),
        (3, 10, 6, 0),
        (1, 1, 1, 300),
    ],
)
async def test_filters_of_any_kind_give_what_they_say(
    api: ApiWorld, monkeypatch: pytest.MonkeyPatch, few: int, many: int, sample: int, many_ids: int
) -> None:
    """Also where so many mails match that they are tested one by one, tried first, or counted further."""
    monkeypatch.setattr(driving, "FEW", few)
    monkeypatch.setattr(driving, "MANY", many)
    monkeypatch.setattr(driving, "SAMPLE", sample)
    monkeypatch.setattr(filtering, "MANY_IDS", many_ids)
    mails = await add_sample(api)
    positions = {each.killmail_id: each for each in (await everything(api))}
    rng = random.Random(13)
    found = 0
    for _ in range(60):
        given = some_filter(rng, mails, utc(int(api.clock.now())))
        found += await check(api, mails, positions, given, rng.choice(list(Order)))
    assert found > 200


async def test_a_region_is_what_the_newest_build_says(api: ApiWorld) -> None:
    """Systems of regions are kept between questions, but not beyond the static data that they came from."""
    await add_sample(api)
    static_data, systems = StaticDataRepository(api.store), TABLES[-1]
    new = min(SYSTEMS)
    before = await api.reading.count(MailFilter(region_id=REGION))
    moved = TableChange(systems, [(new, CONSTELLATION, WORMHOLES, 0.5, "Moved")])
    assert await static_data.swap(Build(6, ""), 0, [])
    assert await static_data.swap(Build(7, ""), 6, [TableChange(systems, gone=[new])])
    gone = await api.reading.count(MailFilter(region_id=REGION))
    assert await static_data.swap(Build(8, ""), 7, [moved])
    there = await api.reading.count(MailFilter(region_id=WORMHOLES))
    assert (before, gone, there) == (40, 20, 40)


async def everything(api: ApiWorld) -> list[Any]:
    page = await api.reading.page(MailFilter(), Order.STORED_ASC, 100)
    return [edge.mail for edge in page.edges]


async def test_a_page_stays_put_while_mails_arrive(api: ApiWorld) -> None:
    await api.add_some(10)
    first = await api.reading.page(MailFilter(), Order.TIME_DESC, 5)
    await api.add_some(10)
    second = await api.reading.page(MailFilter(), Order.TIME_DESC, 100, first.edges[-1].cursor)
    ids = [edge.mail.killmail_id for edge in (*first.edges, *second.edges)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "=====",
        "nonsense",
        "WzEsMl0",
        "W10",
        "bnVsbA",
        "WzAsMSwxLDFd",
        "WzAsMS41LDFd",
        "ü" * 8,
        "A" * 200,
    ],
)
async def test_a_cursor_that_was_not_made_here_is_refused(api: ApiWorld, cursor: str) -> None:
    for order in Order:
        with pytest.raises(BadInput):
            await api.reading.page(MailFilter(), order, 5, cursor)


async def test_a_cursor_of_another_kind_of_order_is_refused(api: ApiWorld) -> None:
    await api.add_some(3)
    by_time = (await api.reading.page(MailFilter(), Order.TIME_DESC, 2)).edges[0].cursor
    with pytest.raises(BadInput, match="not a cursor of this list"):
        await api.reading.page(MailFilter(), Order.STORED_ASC, 2, by_time)
    # Back through the same list: newest first and oldest first share their places.
    assert (await api.reading.page(MailFilter(), Order.TIME_ASC, 2, by_time)).edges == []


async def test_a_total_stops_at_its_limit(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "COUNTED_TO", 5)
    await api.add_some(8)
    assert await api.reading.count(MailFilter()) == 5
    assert (await api.reading.counts_of([PILOT, OTHER])) == {PILOT: 5, OTHER: 0}
    assert COUNTED_TO == 10_000


async def test_pages_of_several_characters_are_each_their_own(api: ApiWorld) -> None:
    await api.add_some(6, pilot=PILOT)
    await api.add_some(4, pilot=OTHER)
    api.counting.reset()
    pages = await api.reading.pages_of([PILOT, OTHER, 1], 3)
    assert api.counting.statements == ["reading.of_characters"]
    for character, size in ((PILOT, 6), (OTHER, 4)):
        alone = await api.reading.page(MailFilter(character_id=character), Order.TIME_DESC, 3)
        assert pages[character] == alone
        assert alone.more is (size > 3)
        rest = await api.reading.pages_of([character], 100, alone.edges[-1].cursor)
        assert len(rest[character].edges) == size - 3
    assert pages[1].edges == []


async def test_batches_hold_what_esi_sent(api: ApiWorld) -> None:
    await api.pilot()
    now = utc(int(api.clock.now()))
    mail = mail_json(1, now, victim=PILOT, attackers=[OTHER, None, None], items=3)
    bare = mail_json(2, now, attackers=[None], items=0)
    del bare["victim"]["position"]
    await api.add(mail, bare)
    reading = api.reading
    ids = [1, 2, 3]
    mails = await reading.mails(ids)
    assert sorted(mails) == [1, 2]
    assert mails[1].killmail_time == now
    assert mails[1].attacker_count == 3
    victims = await reading.victims(ids)
    position = victims[1].position
    assert position is not None
    assert (position.x, position.z) == (mail["victim"]["position"]["x"], 0.25)
    assert victims[2].position is None
    attackers = await reading.attackers(ids)
    assert [each.character_id for each in attackers[1]] == [OTHER, None, None]
    assert [each.final_blow for each in attackers[1]] == [True, False, False]
    assert (await reading.final_blows(ids))[1] == attackers[1][0]
    items = await reading.items(ids)
    assert sorted(items) == [1]
    assert [each.item_type_id for each in items[1]] == [
        each["item_type_id"] for each in mail["victim"]["items"]
    ]
    assert [each.item_type_id for each in items[1][0].items] == [34]
    assert items[1][1].items == []
    assert await reading.involved(ids) == {1: [Involved(PILOT, Role.VICTIM)]}
    assert (await reading.users([PILOT, OTHER]))[PILOT].character_name == "Aldo Abrakov"
    assert await reading.names([PILOT, 77]) == {PILOT: f"Name {PILOT}"}
    assert (await reading.documents(ids))[1].startswith(b'{"killmail_id":1,')


async def test_more_rows_than_an_answer_may_have_are_refused(
    api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.add_some(2, attackers=3, items=1)
    ids = [each.killmail_id for each in await everything(api)]
    monkeypatch.setattr(reading_module, "MAX_ROWS", 6)
    assert len(await api.reading.attackers(ids)) == 2
    monkeypatch.setattr(reading_module, "MAX_ROWS", 3)
    with pytest.raises(TooMuch):
        await api.reading.attackers(ids)
    with pytest.raises(TooMuch):
        await api.reading.items(ids)


async def test_the_feed_gives_each_mail_once_in_order_of_storage(api: ApiWorld) -> None:
    start = await api.reading.feed_point()
    for count in (3, 1, 4):
        await api.add_some(count)
    seen, position = [], start.position
    while True:
        part = await api.reading.feed_after(position, 3)
        seen += [each.mail.feed_position for each in part.mails]
        if part.reached == position:
            break
        position = part.reached
    assert seen == list(range(start.position + 1, start.position + 9))
    point = await api.reading.feed_point()
    assert (point.position, point.epoch) == (seen[-1], start.epoch)


async def test_the_feed_can_be_narrowed(api: ApiWorld) -> None:
    mine = await api.add_some(3, pilot=PILOT)
    theirs = await api.add_some(3, pilot=OTHER)
    await api.make_fresh(mine[1].killmail_id)
    part = await api.reading.feed_after(0, 100, characters=frozenset({OTHER}))
    assert [each.mail.killmail_id for each in part.mails] == [each.killmail_id for each in theirs]
    assert all(OTHER in each.characters for each in part.mails)
    fresh = await api.reading.feed_after(0, 100, fresh_only=True)
    assert [each.mail.killmail_id for each in fresh.mails] == [mine[1].killmail_id]
    # Also where nothing passes, the reader knows how far it has looked.
    nothing = await api.reading.feed_after(0, 100, characters=frozenset({1}))
    assert (list(nothing.mails), nothing.reached) == ([], theirs[-1].feed_position)
    assert (await api.reading.feed_after(0, 100, characters=frozenset())).mails == []


async def test_activity_counts_our_pilots_days(api: ApiWorld) -> None:
    await api.pilot()
    now = utc(int(api.clock.now()))
    noon = now.replace(hour=12, minute=0, second=0)
    await api.add(
        mail_json(1, noon, attackers=[PILOT]),
        mail_json(2, noon, attackers=[PILOT, PILOT]),
        mail_json(3, noon - timedelta(days=1), victim=PILOT),
        mail_json(4, noon - timedelta(days=1), attackers=[OTHER]),
        mail_json(5, noon - timedelta(days=3), attackers=[PILOT]),
    )
    days = await api.reading.activity(3, now)
    today = now.date()
    assert days == [
        DayActivity(today - timedelta(days=2), 0, 0),
        DayActivity(today - timedelta(days=1), 0, 1),
        DayActivity(today, 2, 0),
    ]
