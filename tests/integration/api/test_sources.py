"""Sources over GraphQL."""

from __future__ import annotations

from typing import Any

from killsyncd.core.model import Source, SourceKind
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.transaction import Sql, Tx
from tests.integration.api.conftest import Start
from tests.support.api_world import PILOT, ApiWorld

CORPORATION = 98_000_001
SCOPES = "esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1"
ALL = """query($kind: SourceKind) { sources(kind: $kind) {
  kind subject { id name } state stateReason remedy via { characterId } pending lastSyncAt completeFrom
} }"""


def _into_corporation(user_id: str, scopes: str) -> Tx[int]:
    yield Sql(
        "UPDATE users SET corporation_id = :corporation, corporation_at = {now}, scopes = :scopes "
        "WHERE id = :id",
        {"corporation": CORPORATION, "scopes": scopes, "id": user_id},
    )
    yield Sql("INSERT INTO names (id, name) VALUES (:id, 'Example Corporation')", {"id": CORPORATION})
    return (yield from source_id(Source(SourceKind.CORPORATION, CORPORATION), user_id))


async def director(world: ApiWorld, scopes: str = SCOPES) -> int:
    user_id = await world.pilot()
    return await world.store.write(_into_corporation, user_id, scopes)


async def test_each_source_tells_its_own_state(start: Start) -> None:
    api = await start()
    await director(api.world, "esi-killmails.read_killmails.v1")
    found = (await api.ask(ALL))["sources"]
    assert {each["kind"] for each in found} == {"CHARACTER", "CORPORATION"}
    (corporation,) = (await api.ask(ALL, {"kind": "CORPORATION"}))["sources"]
    assert corporation["subject"] == {"id": str(CORPORATION), "name": "Example Corporation"}
    assert corporation["state"] == "SCOPE_MISSING"
    assert corporation["stateReason"]
    assert "login" in corporation["remedy"]


async def test_a_mail_tells_through_which_sources_it_came(start: Start) -> None:
    api = await start()
    source = await director(api.world)
    await api.world.add_some(2)

    def seen() -> Tx[None]:
        yield Sql(
            "INSERT INTO sightings (source_id, killmail_id, killmail_hash, listed_at) "
            "SELECT :source, killmail_id, killmail_hash, 1 FROM killmails",
            {"source": source},
        )

    await api.world.store.write(seen)
    page = await api.ask("{ killmails { edges { node { id sources { kind subject { name } } } } } }")
    for edge in page["killmails"]["edges"]:
        kinds = {each["kind"] for each in edge["node"]["sources"]}
        assert "CORPORATION" in kinds


async def test_a_corporations_list_is_queued_by_its_id(start: Start) -> None:
    api = await start()
    await director(api.world)
    text = """mutation($ids: [ID!]) { queueKillmailSync(corporationIds: $ids) {
      queued mode user { characterId } source { subject { id } } } }"""
    (done,) = (await api.ask(text, {"ids": [str(CORPORATION)]}))["queueKillmailSync"]
    assert done["queued"] is True
    assert done["user"]["characterId"] == str(PILOT)
    assert done["source"]["subject"]["id"] == str(CORPORATION)
    answer: dict[str, Any] = await api.answer(text, {"ids": ["98999999"]})
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_a_list_that_nobody_may_read_says_what_to_do(start: Start) -> None:
    api = await start()
    await director(api.world, "esi-killmails.read_killmails.v1")
    text = "mutation { queueKillmailSync(corporationIds: [98000001]) { queued } }"
    (error,) = (await api.answer(text))["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert "Example Corporation" in error["message"]
