"""Queries and mutations, over HTTP."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import orjson
import pytest

from killsyncd.api.graphql.limits import Limits
from killsyncd.core.clock import utc
from killsyncd.core.errors import Unavailable
from killsyncd.service import rfc3339
from killsyncd.storage.transaction import Sql, Tx
from tests.integration.api.conftest import Running, Start
from tests.support.api_world import PILOT, mail_json

ENTITY = "{ id name }"
EVERYTHING = f"""
query Everything($first: Int, $after: String) {{
  killmails(first: $first, after: $after) {{
    totalCount
    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
    edges {{ cursor node {{
      id feedCursor fresh killmailHash killmailTime solarSystem {ENTITY} attackerCount warId moonId solo npc
      createdAt raw
      victim {{ character {ENTITY} corporation {ENTITY} alliance {ENTITY} faction {ENTITY}
               shipType {ENTITY} damageTaken position {{ x y z }} }}
      attackers {{ character {ENTITY} corporation {ENTITY} alliance {ENTITY} faction {ENTITY}
                  shipType {ENTITY} weaponType {ENTITY} damageDone finalBlow securityStatus }}
      finalBlow {{ character {ENTITY} shipType {ENTITY} }}
      items {{ itemType {ENTITY} flag quantityDropped quantityDestroyed singleton
              items {{ itemType {ENTITY} }} }}
      users {{ role user {{ id characterId characterName state
              killmails(first: 3) {{ totalCount edges {{ node {{ id victim {{ shipType {ENTITY} }} }} }} }}
      }} }}
    }} }}
  }}
}}"""


async def test_a_mail_comes_out_as_esi_sent_it(api: Running) -> None:
    await api.world.pilot()
    at = utc(int(api.world.clock.now()))
    mail = mail_json(101, at, victim=95_000_001, attackers=[PILOT, None], items=2)
    mail["war_id"] = 700_001
    mail["victim"]["items"][1]["quantity_destroyed"] = 2**40
    del mail["victim"]["alliance_id"]
    await api.world.add(mail)
    node = (await api.ask(EVERYTHING))["killmails"]["edges"][0]["node"]
    assert node["raw"] == mail
    assert node["id"] == "101"
    assert node["killmailTime"] == rfc3339(at)
    assert node["solarSystem"] == {
        "id": str(mail["solar_system_id"]),
        "name": f"Name {mail['solar_system_id']}",
    }
    assert (node["warId"], node["moonId"], node["attackerCount"]) == ("700001", None, 2)
    assert (node["solo"], node["npc"], node["fresh"]) == (True, False, False)
    assert node["victim"]["character"] == {"id": "95000001", "name": "Name 95000001"}
    assert node["victim"]["alliance"] is None
    assert node["victim"]["damageTaken"] == mail["victim"]["damage_taken"]
    assert node["victim"]["position"] == mail["victim"]["position"]
    first, second = node["attackers"]
    assert first["character"]["id"] == str(PILOT)
    assert first["finalBlow"] is True
    assert second["character"] is None
    assert second["securityStatus"] == mail["attackers"][1]["security_status"]
    assert node["finalBlow"]["character"] == first["character"]
    assert node["items"][1]["quantityDestroyed"] == 2**40
    assert node["items"][0]["items"] == [{"itemType": {"id": "34", "name": "Name 34"}}]
    (ours,) = node["users"]
    assert (ours["role"], ours["user"]["characterName"], ours["user"]["state"]) == (
        "ATTACKER",
        "Aldo Abrakov",
        "OK",
    )
    assert ours["user"]["killmails"]["totalCount"] == 1
    assert (await api.ask("{ status { feedCursor } }"))["status"]["feedCursor"] == node["feedCursor"]


async def test_names_are_null_until_they_are_resolved(api: Running) -> None:
    mail = mail_json(101, utc(int(api.world.clock.now())), attackers=[PILOT])
    await api.world.add(mail, named=False)
    node = (await api.ask("{ killmail(id: 101) { victim { shipType { id name } } } }"))["killmail"]
    assert node["victim"]["shipType"] == {"id": str(mail["victim"]["ship_type_id"]), "name": None}


async def test_a_page_costs_the_same_number_of_statements_whatever_its_length(start: Start) -> None:
    api = await start()
    await api.world.pilot()
    await api.world.pilot(90_000_002, "Brenna Cadelanne")
    await api.world.add_some(60, attackers=12, items=10)
    await api.world.add_some(60, pilot=90_000_002, attackers=12, items=10)
    counting = api.world.counting
    costs = {}
    for first in (1, 10, 100):
        counting.reset()
        edges = (await api.ask(EVERYTHING, {"first": first}))["killmails"]["edges"]
        assert len(edges) == first
        assert all(len(edge["node"]["attackers"]) == 12 for edge in edges)
        # Names are read with each kind of thing, unless another kind brought the same ids before.
        assert counting.statements.count("reading.names") <= 8
        costs[first] = sorted(each for each in counting.statements if each != "reading.names")
    assert costs[10] == costs[100]
    assert len(costs[100]) == len(set(costs[100])) <= 12


async def test_no_names_are_read_where_none_is_asked_for(api: Running) -> None:
    await api.world.add_some(5)
    await api.ask("{ status { version } }")
    api.world.counting.reset()
    await api.ask("{ killmails { edges { node { solarSystem { id } attackers { character { id } } } } } }")
    assert "reading.names" not in api.world.counting.statements


async def test_pages_go_on_where_they_ended(api: Running) -> None:
    await api.world.add_some(25)
    query = """query($after: String, $order: KillmailOrder) {
      killmails(first: 10, after: $after, orderBy: $order) {
        totalCount edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    for order in ("TIME_DESC", "TIME_ASC", "STORED_ASC", "STORED_DESC"):
        seen: list[str] = []
        after = None
        for length, more in ((10, True), (10, True), (5, False)):
            page = (await api.ask(query, {"after": after, "order": order}))["killmails"]
            ids = [edge["node"]["id"] for edge in page["edges"]]
            assert len(ids) == length
            info = page["pageInfo"]
            assert info["hasNextPage"] is more
            assert info["hasPreviousPage"] is (after is not None)
            assert info["startCursor"] == page["edges"][0]["cursor"]
            assert page["totalCount"] == 25
            after = info["endCursor"]
            seen += ids
        assert seen == sorted(seen, key=int, reverse=order.endswith("DESC"))
        assert len(set(seen)) == 25


async def test_filters_narrow(api: Running) -> None:
    now = utc(int(api.world.clock.now()))
    await api.world.add(
        mail_json(1, now, victim=PILOT, attackers=[None]),
        mail_json(2, now - timedelta(hours=2), attackers=[PILOT, 95_000_600]),
        mail_json(3, now - timedelta(hours=4), attackers=[95_000_600]),
    )
    query = "query($f: KillmailFilter) { killmails(filter: $f) { totalCount edges { node { id } } } }"

    async def ids(**given: object) -> list[str]:
        found = (await api.ask(query, {"f": given}))["killmails"]
        assert found["totalCount"] == len(found["edges"])
        return [edge["node"]["id"] for edge in found["edges"]]

    assert await ids() == ["1", "2", "3"]
    assert await ids(characterId=str(PILOT)) == ["1", "2"]
    assert await ids(characterId=PILOT, role="VICTIM") == ["1"]
    assert await ids(characterId=str(PILOT), role="ATTACKER") == ["2"]
    assert await ids(npc=True) == ["1"]
    assert await ids(solo=True) == ["3"]
    assert await ids(minAttackers=2) == ["2"]
    assert await ids(finalBlowCharacterId="95000600") == ["3"]
    assert await ids(killmailIds=["3", "1", "3", "77"]) == ["1", "3"]
    assert await ids(killmailIds=[]) == []
    assert await ids(warId="1") == []
    assert await ids(any=[]) == []
    assert await ids(any=[{"npc": True}, {"minAttackers": 2, "any": [{"characterId": PILOT}]}]) == ["1", "2"]
    assert await ids(any={"solo": True}, killmailIds=["2", "3"]) == ["3"]
    assert await ids(**{"from": rfc3339(now - timedelta(hours=2))}) == ["1", "2"]
    assert await ids(to=rfc3339(now - timedelta(hours=2))) == ["3"]
    # An offset is an offset.
    later = (now - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S") + "+00:30"
    assert await ids(**{"from": later}) == ["1", "2"]


async def test_filters_in_filters_end_somewhere(api: Running) -> None:
    query = "query($f: KillmailFilter) { killmails(filter: $f) { totalCount } }"
    deep: dict[str, Any] = {"npc": True}
    for _ in range(20):
        deep = {"any": [deep]}
    assert (await api.ask(query, {"f": deep}))["killmails"]["totalCount"] == 0
    assert "more than 20 filters in any" in (await api.refused(query, {"f": {"any": [deep]}}))["message"]
    wide = {"any": [{"characterId": str(each)} for each in range(1, 22)]}
    assert "more than 20 filters in any" in (await api.refused(query, {"f": wide}))["message"]
    many = {"killmailIds": [str(each) for each in range(1, 1002)]}
    assert "more than 1000 killmailIds" in (await api.refused(query, {"f": many}))["message"]
    for depth in (50, 300, 900, 5000):
        inner = '{"any":[' * depth + "]}" * depth
        text = f'{{"query": "{query}", "variables": {{"f": {inner}}}}}'
        headers = {"Content-Type": "application/json"}
        async with api.client.post(api.url, data=text, headers=headers) as answer:
            (error,) = (await answer.json(content_type=None))["errors"]
        assert error["extensions"]["code"] in ("BAD_USER_INPUT", "TOO_EXPENSIVE"), (depth, error)


async def test_users_and_activity(api: Running) -> None:
    await api.world.pilot()
    await api.world.add_some(3)
    data = await api.ask(
        """{ users { id characterId characterName state stateReason remedy pending createdAt expiresAt
                     lastKillmailSyncAt lastKillmailId
                     killmails(first: 2) { totalCount edges { node { id } } } }
             user(characterId: "90000001") { characterName }
             nobody: user(characterId: "1") { characterName }
             nothing: killmail(id: "5") { id }
             activity(days: 2) { day kills losses } }"""
    )
    (user,) = data["users"]
    assert user["characterId"] == str(PILOT) != user["id"]
    assert user["killmails"]["totalCount"] == 3
    assert len(user["killmails"]["edges"]) == 2
    assert user["remedy"] is None
    assert (data["user"]["characterName"], data["nobody"], data["nothing"]) == ("Aldo Abrakov", None, None)
    assert sum(day["kills"] for day in data["activity"]) == 3
    assert all(day["day"].endswith("T00:00:00Z") for day in data["activity"])


async def test_status_says_what_to_do(api: Running) -> None:
    data = await api.ask(
        """{ status { syncing problems { code reason remedy since characterId stops } feedCursor
             pendingDetails quarantined oldestPendingAt pendingEta budgets { group } lastProducerRun
             nextProducerRun downtime usersByState { state count } version startedAt }
             workerStatus { queueName messageCount consumerCount byPriority { priority count } } }"""
    )
    status = data["status"]
    assert status["syncing"] is False
    assert status["problems"][0]["code"] == "nobody_logged_in"
    assert status["problems"][0]["remedy"] == "killsyncd login"
    assert status["problems"][0]["stops"] is True
    (queue,) = data["workerStatus"]
    assert queue["queueName"] == "esi_user_killmails_queue"
    assert (queue["messageCount"], queue["byPriority"]) == (0, [])


async def test_status_says_what_waits(api: Running) -> None:
    await api.world.pilot()
    await api.ask(f'mutation {{ queueKillmailSync(characterIds: ["{PILOT}"]) {{ queued }} }}')

    until = api.world.clock.now() + 600.0

    def postponed() -> Tx[None]:
        yield Sql("UPDATE wants SET not_before = :until, waits_for = 'budget'", {"until": until})

    await api.world.store.write(postponed)
    data = await api.ask("{ status { waiting { what code reason until count characterId characterName } } }")
    (waiting,) = data["status"]["waiting"]
    assert (waiting["what"], waiting["code"], waiting["count"]) == ("list", "budget", 1)
    assert (waiting["characterId"], waiting["characterName"]) == (str(PILOT), "Aldo Abrakov")
    assert waiting["until"].endswith("Z")


async def test_queueing_a_sync(api: Running) -> None:
    await api.world.pilot()
    await api.world.pilot(90_000_002, "Brenna Cadelanne")
    mutation = """mutation($ids: [ID!], $full: Boolean) { queueKillmailSync(characterIds: $ids, full: $full) {
        user { characterName } mode queued reason } }"""
    (queued,) = (await api.ask(mutation, {"ids": [str(PILOT)]}))["queueKillmailSync"]
    assert queued == {
        "user": {"characterName": "Aldo Abrakov"},
        "mode": "FIRST_SYNC",
        "queued": True,
        "reason": None,
    }
    everybody = (await api.ask(mutation, {"full": True}))["queueKillmailSync"]
    assert [each["mode"] for each in everybody] == ["FULL_SYNC", "FULL_SYNC"]
    worker = (await api.ask("{ workerStatus { messageCount byPriority { priority count } } }"))[
        "workerStatus"
    ]
    assert worker == [{"messageCount": 2, "byPriority": [{"priority": 5, "count": 2}]}]
    error = await api.refused(mutation, {"ids": [str(PILOT), "12"]})
    assert error["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ('{ killmail(id: "abc") { id } }', "id is no id of EVE"),
        ('{ killmail(id: "-5") { id } }', "id is no id of EVE"),
        ('{ killmail(id: "99999999999999999999") { id } }', "id is no id of EVE"),
        ('{ user(characterId: "٣") { id } }', "characterId is no id of EVE"),
        ("{ killmails(first: 0) { totalCount } }", "first is 0"),
        ("{ killmails(first: 101) { totalCount } }", "first is 101"),
        ("{ killmails(first: 99999999999) { totalCount } }", "Int cannot represent"),
        ('{ killmails(after: "x") { totalCount } }', "after is not a cursor"),
        ('{ killmails(filter: {shipTypeId: "x"}) { totalCount } }', "filter.shipTypeId"),
        ('{ killmails(filter: {from: "yesterday"}) { totalCount } }', "DateTime is RFC 3339"),
        ('{ killmails(filter: {from: "2026-01-01T00:00:00"}) { totalCount } }', "DateTime is RFC 3339"),
        ('{ killmails(filter: {from: "2026-02-30T00:00:00Z"}) { totalCount } }', "DateTime is RFC 3339"),
        ("{ activity(days: 1000) { day } }", "days is 1000"),
        (f"{{ killmails(first: {'9' * 5000}) {{ totalCount }} }}", "Expected value of type 'Int'"),
        ("{ nothing }", "Cannot query field 'nothing'"),
        ("{", "Syntax Error"),
        ("", "Syntax Error"),
        ("subscription { newKillmail { id } }", "subscriptions do not go over HTTP"),
        ("query A { users { id } } query B { users { id } }", "several operations"),
    ],
)
async def test_a_wrong_query_is_told_what_is_wrong(
    api: Running, caplog: pytest.LogCaptureFixture, query: str, words: str
) -> None:
    caplog.set_level(logging.INFO, logger="killsyncd")
    error = await api.refused(query)
    assert words in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    (line,) = caplog.records
    assert line.exc_info is None


async def test_what_breaks_inside_stays_inside(
    api: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ValueError("/srv/secret/path of table users")

    monkeypatch.setattr(api.world.operations, "status", broken)
    caplog.set_level(logging.INFO, logger="killsyncd")
    body = await api.answer("{ status { version } }")
    assert body["data"] is None
    assert body["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "secret" not in orjson.dumps(body).decode()
    assert sum(record.exc_info is not None for record in caplog.records) == 1

    async def down() -> None:
        raise Unavailable("the database does not answer", "wait")

    monkeypatch.setattr(api.world.operations, "status", down)
    error = await api.refused("{ status { version } }")
    assert error["extensions"] == {"code": "UNAVAILABLE", "remedy": "wait"}


async def test_a_query_that_takes_too_long_is_ended(start: Start) -> None:
    api = await start(limits=Limits(seconds=0.0))
    await api.world.pilot()
    await api.world.add_some(100, attackers=50, items=20)
    error = await api.refused(EVERYTHING, {"first": 100})
    assert error["extensions"]["code"] == "TOO_EXPENSIVE"
    assert "longer than 0 s" in error["message"]
    assert (await api.ask("{ __typename }")) == {"__typename": "Query"}


PAGES_IN_PAGES = """{ users { killmails(first: 100) { edges { node {
  users { user { killmails(first: 100) { edges { node { id } } } } } } } } } }"""


async def test_pages_in_pages_end_before_they_have_multiplied(start: Start) -> None:
    api = await start(limits=Limits(values=30_000))
    await api.world.pilot()
    await api.world.add_some(100)
    error = await api.refused(PAGES_IN_PAGES)
    assert error["extensions"]["code"] == "TOO_EXPENSIVE"
    assert "more than 30,000 values" in error["message"]
    nodes = (await (await start()).ask(EVERYTHING, {"first": 100}))["killmails"]["edges"]
    assert len(nodes) == 100


async def test_an_answer_that_grows_too_large_has_no_holes(start: Start) -> None:
    api = await start(limits=Limits(values=80))
    await api.world.pilot()
    await api.world.add_some(40)
    answer = await api.answer("{ users { killmails(first: 40) { edges { cursor } } } }")
    assert [each["extensions"]["code"] for each in answer["errors"]] == ["TOO_EXPENSIVE"]
    assert "data" not in answer


async def test_introspection_works(api: Running) -> None:
    from graphql import build_client_schema, get_introspection_query

    data = await api.ask(get_introspection_query())
    schema = build_client_schema(data)
    for name, kind in schema.type_map.items():
        if name.startswith("__") or name in ("String", "Int", "Float", "Boolean", "ID"):
            continue
        assert kind.description, name
        for field_name, field in getattr(kind, "fields", {}).items():
            assert field.description, f"{name}.{field_name}"
        for value_name, value in getattr(kind, "values", {}).items():
            assert value.description, f"{name}.{value_name}"
