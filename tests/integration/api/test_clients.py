"""GraphQL driven by other people's clients: npm graphql-http and graphql-ws, Python gql."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.integration.api.conftest import TOKEN, Running, Start

NODE = Path(__file__).parents[2] / "node"
REQUIRED = os.environ.get("KILLSYNCD_TEST_REQUIRE_NODE", "") == "1"
NEW = """subscription($after: String) {
  newKillmail(after: $after) { id feedCursor victim { shipType { name } } }
}"""


@pytest.fixture
def node() -> str:
    """Node.js, with the packages installed."""
    found = shutil.which("node")
    if found is None:
        return _left_out("Node.js is not installed (apt-get install nodejs npm)")
    if not (NODE / "node_modules" / "graphql-ws").is_dir():
        return _left_out("its npm packages are not installed (npm ci --prefix tests/node)")
    return found


def _left_out(reason: str) -> str:
    if REQUIRED:
        pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_NODE=1", pytrace=False)
    pytest.skip(reason)


class Script:
    """A script of tests/node that prints JSON, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdout is not None
        self._lines = process.stdout

    @classmethod
    async def run(cls, node: str, name: str, *arguments: str) -> Script:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(node, str(NODE / name), *arguments, stdout=pipe, cwd=NODE)
        )

    async def line(self) -> Any:
        text = await asyncio.wait_for(self._lines.readline(), 60)
        assert text, f"it ended with {await self._process.wait()}"
        return json.loads(text)

    async def end(self) -> int:
        return await asyncio.wait_for(self._process.wait(), 60)


@pytest.mark.node
async def test_the_whole_audit_of_graphql_over_http(api: Running, node: str) -> None:
    script = await Script.run(node, "audit.mjs", api.url)
    result = await script.line()
    assert await script.end() == 0
    assert result["failed"] == []
    assert result["counts"] == {"MUST": 13, "SHOULD": 23, "MAY": 25}


@pytest.mark.node
async def test_graphql_ws_resumes_across_a_restart(start: Start, node: str) -> None:
    api = await start()
    world = api.world
    stored = [str(each.killmail_id) for each in await world.add_some(5)]
    after = f"{(await world.reading.feed_point()).epoch}:0"
    url = api.url.replace("http", "ws", 1)
    script = await Script.run(node, "subscribe.mjs", url, NEW, json.dumps({"after": after}), "12")
    seen = [(await script.line())["data"]["newKillmail"]["id"] for _ in range(5)]
    stored += [str(each.killmail_id) for each in await world.add_some(2)]
    seen += [(await script.line())["data"]["newKillmail"]["id"] for _ in range(2)]
    port = int(api.server.address.rpartition(":")[2])
    await api.server.close()
    stored += [str(each.killmail_id) for each in await world.add_some(3)]
    await start(listen=f"127.0.0.1:{port}")
    seen += [(await script.line())["data"]["newKillmail"]["id"] for _ in range(3)]
    stored += [str(each.killmail_id) for each in await world.add_some(2)]
    seen += [(await script.line())["data"]["newKillmail"]["id"] for _ in range(2)]
    assert await script.end() == 0
    assert seen == stored


@pytest.mark.node
async def test_graphql_ws_shows_the_token(start: Start, node: str) -> None:
    api = await start(token=TOKEN)
    url = api.url.replace("http", "ws", 1)
    query = "subscription { workerStatusUpdates { queueName } }"
    script = await Script.run(node, "subscribe.mjs", url, query, "{}", "1", f"Bearer {TOKEN}")
    assert (await script.line())["data"]["workerStatusUpdates"][0]["queueName"]
    assert await script.end() == 0
    script = await Script.run(node, "subscribe.mjs", url, query, "{}", "1", "Bearer wrong")
    assert await script.line() == {"failed": 4403}
    assert await script.end() == 1


async def test_gql_asks_and_subscribes(start: Start) -> None:
    api = await start(token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    await api.world.add_some(3)
    async with Client(
        transport=AIOHTTPTransport(api.url, headers=bearer), fetch_schema_from_transport=True
    ) as session:
        result = await session.execute(gql("{ killmails { totalCount } status { feedCursor } }"))
        assert result["killmails"]["totalCount"] == 3
        with pytest.raises(TransportQueryError, match="first is 0"):
            await session.execute(gql("{ killmails(first: 0) { totalCount } }"))
    socket = WebsocketsTransport(
        api.url.replace("http", "ws", 1), init_payload={"authorization": bearer["Authorization"]}
    )
    async with Client(transport=socket) as session:
        epoch = result["status"]["feedCursor"].rpartition(":")[0]
        request = gql(NEW)
        request.variable_values = {"after": f"{epoch}:1"}
        got = []
        async for each in session.subscribe(request):
            got.append(each["newKillmail"]["feedCursor"])
            if len(got) == 2:
                await api.world.add_some(1)
            if len(got) == 3:
                break
        assert got == [f"{epoch}:{position}" for position in (2, 3, 4)]
