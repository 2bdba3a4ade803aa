"""A mail as it is sent to webhooks: what GraphQL gives, without hash and raw JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from graphql import parse, validate

from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.engine import Engine, make_schema
from killsyncd.api.graphql.limits import Limits
from killsyncd.api.graphql.mail_documents import MailDocuments, query_text
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import NotFound
from killsyncd.storage.migrations import migrate
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.api_world import ApiWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
    await migrate(store)
    world = ApiWorld(store, clock)
    await world.pilot()
    yield world
    await store.close()


def documents(world: ApiWorld, limits: Limits | None = None) -> MailDocuments:
    services = ApiServices(world.reading, world.operations, world.clock, limits or Limits())
    return MailDocuments(Engine(services))


def test_the_query_is_one_that_the_schema_takes() -> None:
    schema = make_schema()
    text = query_text(schema)
    assert validate(schema, parse(text)) == []
    for left_out in ("raw", "killmailHash", "expiresAt", "state"):
        assert f" {left_out} " not in text


async def test_everything_that_graphql_gives(world: ApiWorld) -> None:
    (stored,) = await world.add_some(1, attackers=2, items=3)
    found = await documents(world).of(stored.killmail_id)
    assert found["id"] == str(stored.killmail_id)
    assert found["victim"]["shipType"]["name"].startswith("Name ")
    assert [each["finalBlow"] for each in found["attackers"]] == [True, False]
    assert found["items"][0]["items"][0]["itemType"]["id"] == "34"
    assert found["users"] == [
        {
            "user": {
                "id": found["users"][0]["user"]["id"],
                "characterId": "90000001",
                "characterName": "Aldo Abrakov",
            },
            "role": "ATTACKER",
        }
    ]
    assert "killmailHash" not in found
    assert "raw" not in found


async def test_a_mail_that_is_not_there(world: ApiWorld) -> None:
    with pytest.raises(NotFound):
        await documents(world).of(5)


async def test_one_that_is_too_large_goes_without_its_long_lists(world: ApiWorld) -> None:
    (stored,) = await world.add_some(1, attackers=60, items=2)
    found = await documents(world, replace(Limits(), values=700)).of(stored.killmail_id)
    assert found["attackerCount"] == 60
    assert "attackers" not in found
    assert found["victim"]["shipType"]["id"]
