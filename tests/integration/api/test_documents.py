"""Every query in docs/graphql.md, run against the daemon; and its table of limits against the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from killsyncd.api.graphql.limits import Limits
from killsyncd.core.clock import utc
from tests.integration.api.conftest import Running
from tests.integration.api.test_sockets import connect
from tests.support.api_world import PILOT, mail_json
from tests.support.catalogue import REGION, fill_catalogue, put_values

TEXT = (Path(__file__).parents[3] / "docs" / "graphql.md").read_text("utf-8")
QUERIES = re.findall(r"^```graphql\n(.*?)^```$", TEXT, re.M | re.S)

VARIABLES: dict[str, Any] = {
    "id": "7",
    "pilot": str(PILOT),
    "from": "2020-01-01T00:00:00Z",
    "to": "2100-01-01T00:00:00+02:00",
    "corporation": "98000001",
    "system": "30000001",
    "scout": str(PILOT),
    "region": str(REGION),
    "text": "Delve",
    "after": None,
}


def test_there_are_ten_useful_ones() -> None:
    assert len(QUERIES) >= 12


@pytest.mark.parametrize("query", QUERIES)
async def test_it_works_as_it_stands(api: Running, query: str) -> None:
    await api.world.pilot()
    await fill_catalogue(api.world.store)
    await api.world.add(mail_json(7, utc(int(api.world.clock.now())), victim=PILOT, attackers=[None] * 40))
    stored = await api.world.add_some(3)
    await put_values(api.world.store, {each.killmail_id: 10**11 for each in stored})
    variables = {name: value for name, value in VARIABLES.items() if f"${name}:" in query}
    if not query.startswith("subscription"):
        data = await api.ask(query, variables)
        assert all(data.values())
        return
    async with connect(api) as socket:
        if "after" in variables:
            variables["after"] = f"{(await api.world.reading.feed_point()).epoch}:0"
        await socket.subscribe(query, **variables)
        assert await socket.next()


def test_the_limits_are_the_codes() -> None:
    limits = Limits()
    table = TEXT.partition("## Limits")[2].partition("## Beyond")[0]
    for words in (
        f"| {limits.body // 1024} KiB |",
        f"tokens of a query | {limits.tokens:,} |",
        f"depth | {limits.depth};",
        f"repeated fields | {limits.aliases},",
        f"in a document | {limits.definitions} |",
        f"in a query | {limits.introspections} |",
        f"`first` | {limits.page} |",
        f"`characterIds` | {limits.ids:,} |",
        f"are one | {limits.values:,} |",
        f"being made | {limits.values_together:,}, and",
        f"take an answer | {limits.send_seconds:g} s |",
        f"being sent | {limits.sending // 1024**2} MiB |",
        f"on all sockets | {limits.operations:,} |",
        f"time of a query | {limits.seconds:g} s |",
        f"sockets | {limits.sockets:,} |",
        f"operations on a socket | {limits.subscriptions} |",
    ):
        assert words in table, words
    assert f"within {limits.init_seconds:g} seconds" in TEXT
    assert f"for {limits.send_seconds:g} seconds" in TEXT
