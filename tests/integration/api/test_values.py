"""Values, fittings, what the static data say, and the search, over HTTP."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import orjson
import pytest

from killsyncd.core.clock import utc
from killsyncd.esi.responses import ResolvedName
from killsyncd.service import rfc3339
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.transaction import Bulk
from tests.integration.api.conftest import Running
from tests.support import real_static
from tests.support.api_world import PILOT, mail_json
from tests.support.catalogue import CONSTELLATION, FRIGATES, REGION, SHIPS, fill_catalogue, put_values
from tests.unit.test_fitting import count_text


async def test_statistics_and_ranking(api: Running) -> None:
    await api.world.pilot()
    await fill_catalogue(api.world.store)
    now = utc(int(api.world.clock.now()))
    await api.world.add(
        mail_json(1, now - timedelta(days=1), attackers=[PILOT], system=30_000_001),
        mail_json(2, now - timedelta(days=2), victim=PILOT, attackers=[95_000_001], system=30_000_003),
        mail_json(3, now - timedelta(days=70), attackers=[None, PILOT]),
    )
    await put_values(api.world.store, {1: 300_000_000_000, 2: 100_000_000_000})
    times = {"from": rfc3339(now - timedelta(days=30)), "to": rfc3339(now)}
    query = """query($from: DateTime!, $to: DateTime!, $c: ID, $o: Boolean, $k: ID) {
      statistics(from: $from, to: $to, characterId: $c, ours: $o, corporationId: $k) {
        kills losses solo finalBlows iskDestroyed iskLost efficiency
        regions { entity { name kind } kills losses } systems(first: 1) { entity { id security } }
        opponents { kills } shipsFlown { entity { name group { name } } } } }"""
    for given in ({}, {"o": True}, {"c": str(PILOT)}):
        found = (await api.ask(query, {**times, **given}))["statistics"]
        assert (found["kills"], found["losses"], found["solo"], found["finalBlows"]) == (1, 1, 1, 1)
        assert (found["iskDestroyed"], found["iskLost"], found["efficiency"]) == (3e9, 1e9, 0.75)
        assert {each["entity"]["name"] for each in found["regions"]} == {"Delve", "A-R00001"}
    assert (await api.ask(query, {**times, "k": "1"}))["statistics"]["efficiency"] is None
    assert "more than one" in (await api.refused(query, {**times, "o": True, "c": "1"}))["message"]
    assert "from is not" in (await api.refused(query, {"from": times["to"], "to": times["from"]}))["message"]
    ranking = await api.ask(
        "query($from: DateTime!, $to: DateTime!) { ranking(from: $from, to: $to, by: ISK_DESTROYED) {"
        " rank name kills efficiency users { characterId } } }",
        times,
    )
    assert ranking["ranking"] == [
        {
            "rank": 1,
            "name": "Aldo Abrakov",
            "kills": 1,
            "efficiency": 0.75,
            "users": [{"characterId": str(PILOT)}],
        }
    ]


NAMES = [
    (90_000_500, "character", "Aldo Abrakov"),
    (90_000_501, "character", "aldo Ábrakov Senior"),
    (98_000_500, "corporation", "Abrakov & Sons [OLD]"),
    (30_000_001, "solar_system", "1DH-SX"),
    (587, "inventory_type", "Rifter"),
]


async def name(api: Running) -> None:
    """Have these names resolved, as the resolver would."""
    rows = NameRepository(api.world.store)

    def ids() -> Any:
        yield Bulk("names", ("id",), [(each[0],) for each in NAMES])

    await api.world.store.write(ids)
    resolved = [ResolvedName(id=id_, name=called, category=kind) for id_, kind, called in NAMES]
    await rows.resolved(resolved, [], (1, 1, 1, 1, 1))


async def test_what_the_static_data_say(api: Running) -> None:
    await fill_catalogue(api.world.store)
    mail = mail_json(1, utc(int(api.world.clock.now())), victim=PILOT, system=30_000_002)
    mail["victim"]["ship_type_id"] = 587
    other = mail_json(2, utc(int(api.world.clock.now())), system=31_999_999)
    other["victim"]["ship_type_id"] = 588
    await api.world.add(mail, other)
    query = """query($id: ID!) { killmail(id: $id) {
      solarSystem {
        kind security securityClass region { id name region { id } } constellation { id name } group { id }
      }
      victim { character { id region { id } }
        shipType { kind group { id name group { id } } category { id name } security } }
    } }"""
    found = (await api.ask(query, {"id": "1"}))["killmail"]
    assert found["solarSystem"] == {
        "kind": "SYSTEM",
        "security": 0.1,
        "securityClass": "LOW",
        "region": {"id": str(REGION), "name": "Delve", "region": None},
        "constellation": {"id": str(CONSTELLATION + 1), "name": "OK-FEM"},
        "group": None,
    }
    assert found["victim"]["shipType"] == {
        "kind": "TYPE",
        # A group of 25 is not the type 25.
        "group": {"id": str(FRIGATES), "name": "Frigate", "group": None},
        "category": {"id": str(SHIPS), "name": "Ship"},
        "security": None,
    }
    assert found["victim"]["character"]["region"] is None
    unknown = (await api.ask(query, {"id": "2"}))["killmail"]
    assert unknown["solarSystem"]["security"] is unknown["solarSystem"]["region"] is None
    assert unknown["victim"]["shipType"]["group"] is None


async def test_values_and_lists_of_them(api: Running) -> None:
    now = utc(int(api.world.clock.now()))
    await api.world.add(*(mail_json(each, now - timedelta(hours=each)) for each in (1, 2, 3, 4)))
    await put_values(api.world.store, {1: 150_000_000_050, 2: 7, 3: 900_000_000_000})
    query = """query($f: KillmailFilter) { killmails(filter: $f, orderBy: VALUE_DESC, first: 3) { totalCount
      pageInfo { endCursor hasNextPage }
      edges { node { id value { total ship unpriced { id } pricedOn method } items { value } } } } }"""
    page = (await api.ask(query))["killmails"]
    assert [edge["node"]["id"] for edge in page["edges"]] == ["3", "1", "2"]
    assert page["edges"][1]["node"]["value"] == {
        "total": 1_500_000_000.5,
        "ship": 1_500_000_000.5,
        "unpriced": [{"id": "77"}],
        "pricedOn": "2026-11-30",
        "method": "ESI_AVERAGE",
    }
    rest = await api.ask(
        "query($a: String) {"
        " killmails(orderBy: VALUE_DESC, after: $a) { edges { node { id value { total } } } } }",
        {"a": page["pageInfo"]["endCursor"]},
    )
    assert [edge["node"] for edge in rest["killmails"]["edges"]] == [{"id": "4", "value": None}]
    dear = (await api.ask(query, {"f": {"minValue": 1.5e9, "maxValue": 1e300}}))["killmails"]
    assert [edge["node"]["id"] for edge in dear["edges"]] == ["3", "1"]
    assert dear["totalCount"] == 2
    cheap = (await api.ask(query, {"f": {"maxValue": 0.07}}))["killmails"]
    assert [edge["node"]["id"] for edge in cheap["edges"]] == ["2"]


@real_static.needs_static
async def test_a_fit_has_every_item_of_a_real_mail_and_no_other(api: Running) -> None:
    mails = [orjson.loads(each) for each in real_static.killmails()]
    await api.world.add(*mails, named=False)
    types = real_static.types()
    await api.world.store.write(_types, types)
    query = """query($ids: [ID!]) { killmails(first: 100, filter: { killmailIds: $ids }) { edges { node { id
      fitting { eft high { ...i } medium { ...i } rigs { ...i } cargo { ...i } drones { ...i } } } } } }
      fragment i on FittedItem { itemType { id } charge { id } quantity dropped }"""
    found = await api.ask(query, {"ids": [str(each["killmail_id"]) for each in mails]})
    fits = {edge["node"]["id"]: edge["node"]["fitting"] for edge in found["killmails"]["edges"]}
    assert len(fits) == len(mails) > 50

    def counted(items: Any, into: Counter[str]) -> Counter[str]:
        for each in items or ():
            type_id = each["item_type_id"]
            called = types[type_id].name if type_id in types else f"Type {type_id}"
            into[called] += each.get("quantity_dropped", 0) + each.get("quantity_destroyed", 0)
            counted(each.get("items"), into)
        return into

    for mail in mails:
        fit = fits[str(mail["killmail_id"])]
        assert count_text(fit["eft"]) == counted(mail["victim"].get("items"), Counter())


def _types(types: Any) -> Any:
    groups = {each.group_id: each.category_id for each in types.values()}
    yield Bulk(
        "type_groups", ("group_id", "category_id", "name"), [(g, c, f"G{g}") for g, c in groups.items()]
    )
    yield Bulk(
        "types",
        ("type_id", "group_id", "name"),
        [(id_, each.group_id, each.name) for id_, each in types.items()],
    )


@pytest.mark.parametrize(
    ("text", "kinds", "ids"),
    [
        ("Aldo Abrakov", None, [90_000_500, 90_000_501]),
        ("abra", None, [98_000_500, 90_000_500, 90_000_501]),
        ("ábrakov sen", None, [90_000_501]),
        ("abra", ["CORPORATION"], [98_000_500]),
        ("old", None, [98_000_500]),
        ("sx", ["SYSTEM", "TYPE"], [30_000_001]),
        ("delve", None, [REGION]),
        ("frig", ["GROUP"], [FRIGATES]),
        ("587", None, [587]),
        ("rifter", ["REGION"], []),
        ("abra", [], []),
        ("", None, []),
        ("%", None, []),
        ("_ldo", None, []),
        ("'; DROP TABLE names; --", None, []),
        ("\x00 \ufffe", None, []),
        ("[", None, []),
        ("9" * 99, None, []),
        ("ｒｉｆｔｅｒ", None, [587]),
    ],
)
async def test_search_finds_names_by_their_words(
    api: Running, text: str, kinds: list[str] | None, ids: list[int]
) -> None:
    await fill_catalogue(api.world.store)
    await name(api)
    query = "query($t: String!, $k: [EntityKind!]) { search(text: $t, kinds: $k) { id name kind } }"
    found = (await api.ask(query, {"t": text, "k": kinds}))["search"]
    assert [int(each["id"]) for each in found] == ids


async def test_a_search_is_bounded(api: Running) -> None:
    query = "query($t: String!, $n: Int) { search(text: $t, first: $n) { id } }"
    assert "text is longer" in (await api.refused(query, {"t": "x" * 101}))["message"]
    assert "first is 101" in (await api.refused(query, {"t": "x", "n": 101}))["message"]
