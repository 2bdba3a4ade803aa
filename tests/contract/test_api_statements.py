"""A page of killmails with everything costs a constant number of statements, on every store."""

from __future__ import annotations

import orjson

from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.engine import Engine
from killsyncd.api.graphql.limits import Limits
from killsyncd.storage.migrations import Migratable
from tests.contract.conftest import Backend
from tests.support.api_world import ApiWorld

PAGE = """query($first: Int) { killmails(first: $first) { totalCount edges { node {
  id solarSystem { name } raw finalBlow { character { name } }
  victim { character { id name } shipType { name } }
  attackers { character { id name } shipType { name } weaponType { name } }
  items { itemType { name } items { itemType { name } } }
  users { role user { characterName
    killmails(first: 2) { totalCount edges { node { victim { damageTaken } } } } } }
} } } }"""


async def test_no_statement_per_mail(backend: Backend, store: Migratable) -> None:
    api = ApiWorld(store, backend.clock)
    await api.pilot()
    await api.add_some(100, attackers=8, items=6)
    engine = Engine(ApiServices(api.reading, api.operations, api.clock, Limits()))
    await engine.epoch()
    costs = []
    for first in (10, 100):
        api.counting.reset()
        async with engine.answer(await engine.prepare(PAGE), {"first": first}, None) as answer:
            body = orjson.loads(answer.content)
        assert "errors" not in body
        assert len(body["data"]["killmails"]["edges"]) == first
        statements = api.counting.statements
        assert statements.count("reading.names") <= 8
        costs.append(sorted(each for each in statements if each != "reading.names"))
    assert costs[0] == costs[1]
    assert len(costs[1]) <= 13
