"""The server's life: where it listens, and what it says when it can't."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from killsyncd.core.errors import EXIT_CONFIG, Refused
from tests.integration.api.conftest import Start


async def test_a_port_that_is_taken_is_named_with_the_remedy(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused) as refused:
            await start(listen=f"127.0.0.1:{port}")
    assert f"port {port} of 127.0.0.1 is taken" in refused.value.message
    assert "[api] listen" in refused.value.hint
    assert refused.value.exit_code == EXIT_CONFIG


async def test_an_address_of_another_machine_is_refused(start: Start) -> None:
    with pytest.raises(Refused, match=r"no address 192\.0\.2\.1"):
        await start(listen="192.0.2.1:0", token="x")


async def test_it_says_where_it_listens_and_stops_at_once(start: Start) -> None:
    api = await start()
    assert api.server.address.startswith("http://127.0.0.1:")
    async with api.client.get(f"{api.server.address}/healthz") as response:
        assert response.status == 200
    await api.server.close()
    await api.server.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.client.get(f"{api.server.address}/healthz")


async def test_the_callback_is_where_the_configuration_says(start: Start) -> None:
    api = await start(callback_url="http://127.0.0.1:7420/kills/auth/callback")
    for path in ("/kills/auth/callback", "/auth/callback"):
        async with api.client.get(f"{api.server.address}{path}") as response:
            assert "This login did not work" in await response.text()
    async with api.client.get(
        f"{api.server.address}/auth/login", headers={"Host": "localhost"}, allow_redirects=False
    ) as response:
        assert response.headers["Location"] == "http://127.0.0.1:7420/kills/auth/login?here=1"


async def test_files_are_asked_for_again_and_not_sent_again(start: Start) -> None:
    api = await start()
    url = f"{api.server.address}/plain/page.css"
    async with api.client.get(url) as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.content_type == "text/css"
    async with api.client.get(url, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with api.client.head(url) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_the_schema_is_there_as_text(start: Start) -> None:
    api = await start()
    async with api.client.get(f"{api.url}/schema.graphql") as response:
        assert response.content_type == "text/plain"
        assert "type Query {" in await response.text()


async def test_there_may_be_no_metrics(start: Start) -> None:
    api = await start(metrics=False)
    async with api.client.get(f"{api.server.address}/metrics") as response:
        assert response.status == 404


async def test_a_mistake_of_ours_is_told_as_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await start()

    def broken(*_: object) -> None:
        raise ValueError("/srv/secret/path")

    monkeypatch.setattr(api.server.access, "check", broken)
    async with api.client.post(api.url, json={"query": "{ users { id } }"}) as response:
        assert response.status == 500
        text = await response.text()
    assert '"code":"INTERNAL"' in text
    assert "secret" not in text
