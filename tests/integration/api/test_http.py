"""GraphQL over HTTP: media types, statuses, what is no request, and how large one may be."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest

from killsyncd.api.graphql.limits import Limits
from tests.integration.api.conftest import Running, Start, raw

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
TYPENAME = {"query": "{ __typename }"}


async def post(api: Running, body: Any = None, **options: Any) -> tuple[int, Any, str]:
    if body is not None:
        options["json"] = body
    async with api.client.post(api.url, **options) as response:
        return response.status, await response.json(content_type=None), response.content_type


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", JSON),
        (f"{JSON};q=0.5, {GRAPHQL};q=0.9", GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL),
        (f"text/plain, {JSON};q=0.1", JSON),
    ],
)
async def test_the_answer_is_what_the_client_takes(api: Running, accept: str | None, media: str) -> None:
    headers = {"Accept": accept} if accept else None
    skip = () if accept else ("Accept",)
    async with api.client.post(api.url, json=TYPENAME, headers=headers, skip_auto_headers=skip) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == f"{media}; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert await response.json(content_type=None) == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["text/plain", "image/png", f"{JSON};q=0"])
async def test_who_takes_nothing_of_ours_gets_nothing(api: Running, accept: str) -> None:
    assert (await post(api, TYPENAME, headers={"Accept": accept}))[0] == 406


@pytest.mark.parametrize(
    ("query", "graphql_status"),
    [("{", 400), ("{ nothing }", 400), ("query($id: ID!) { killmail(id: $id) { id } }", 400)],
)
async def test_requests_that_cannot_be_executed(api: Running, query: str, graphql_status: int) -> None:
    status, body, _ = await post(api, {"query": query}, headers={"Accept": GRAPHQL})
    assert status == graphql_status
    assert "data" not in body
    status, body, _ = await post(api, {"query": query}, headers={"Accept": JSON})
    assert status == 200
    assert "data" not in body


async def test_a_field_that_fails_is_an_answer(api: Running) -> None:
    query = {"query": '{ __typename killmail(id: "x") { id } }'}
    status, body, _ = await post(api, query, headers={"Accept": GRAPHQL})
    assert status == 200
    assert body["data"] == {"__typename": "Query", "killmail": None}
    assert body["errors"][0]["path"] == ["killmail"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=utf8", 200),
        ("application/json;charset=UTF-8", 200),
    ],
)
async def test_only_json_is_taken(api: Running, content_type: str, status: int) -> None:
    options = {"data": b'{"query":"{ __typename }"}', "headers": {"Content-Type": content_type}}
    assert (await post(api, **options))[0] == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"[{}]",
        b"{}",
        b"\xff\xfe",
        b'{"query":1}',
        b'{"query":null}',
        b'{"query":"{a}","variables":[]}',
        b'{"query":"{a}","operationName":1}',
        b'{"query":"{a}","extensions":"x"}',
        b"[" * 60_000,
    ],
)
async def test_what_is_no_request(api: Running, body: bytes) -> None:
    status, answer, _ = await post(api, data=body, headers={"Content-Type": JSON})
    assert status == 400
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_get_is_for_queries(api: Running) -> None:
    async def get(**params: str) -> tuple[int, Any]:
        async with api.client.get(api.url, params=params, headers={"Accept": GRAPHQL}) as response:
            return response.status, await response.json(content_type=None)

    assert await get(query="{ __typename }") == (200, {"data": {"__typename": "Query"}})
    status, body = await get(
        query="query Q($n: Int) { killmails(first: $n) { totalCount } }",
        variables='{"n": 3}',
        operationName="Q",
    )
    assert (status, body["data"]["killmails"]["totalCount"]) == (200, 0)
    assert (await get(query="{ __typename }", variables="{"))[0] == 400
    assert (await get())[0] == 400
    status, body = await get(query="mutation { queueKillmailSync { queued } }")
    assert status == 405
    assert (await get(query="query A { __typename } mutation B { login { url } }", operationName="B"))[
        0
    ] == 405


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_not_served(api: Running, method: str) -> None:
    async with api.client.request(method, api.url) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Methods" not in response.headers


async def test_a_large_body_is_refused(api: Running) -> None:
    for size, status in ((60_000, 200), (70_000, 413), (10_000_000, 413)):
        raw = io.BytesIO(orjson.dumps({"query": "{ __typename }", "x": "y" * size}))
        found, body, _ = await post(api, data=raw, headers={"Content-Type": JSON})
        assert found == status
        if status == 413:
            assert body["errors"][0]["extensions"]["code"] == "TOO_EXPENSIVE"
    status, _, _ = await post(
        api, data=b"\x1f\x8b", headers={"Content-Type": JSON, "Content-Encoding": "gzip"}
    )
    assert status in (400, 415)


EXPENSIVE = {
    "tokens": "{" + " a" * 5000 + "}",
    "depth": "{ a" * 300 + "}" * 300,
    "aliases": "{" + " ".join(f"a{n}: __typename" for n in range(200)) + "}",
    "fields": "{" + "__typename " * 990 + "}",
    "comments": "#\n" * 30_000 + "{ __typename }",
    "fragments": "{"
    + " ".join(f"...f{n}" for n in range(90))
    + "}"
    + " ".join(f"fragment f{n} on Query {{ __typename }}" for n in range(90)),
    "schemas": "{" + " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(20)) + "}",
    "comment": "{ __typename } #" + "x" * 64_000,
    "unknown": "{" + " ".join(f"killmials{n}" for n in range(900)) + "}",
}


@pytest.mark.parametrize("name", EXPENSIVE)
async def test_expensive_queries_are_refused_quickly(api: Running, name: str) -> None:
    async with api.client.post(api.url, json={"query": EXPENSIVE[name]}) as response:
        body = await response.json()
    if name not in ("comment", "unknown"):
        assert body["errors"][0]["extensions"]["code"] == "TOO_EXPENSIVE", body
        assert "data" not in body


async def test_what_was_refused_once_is_not_looked_through_again(start: Start) -> None:
    api = await start(limits=Limits(cached_queries=4))
    engine = api.server._engine
    for query in ("{ nothing }", "{ __typename }", "{"):
        first = await engine.prepare(query)
        assert await engine.prepare(query) is first
    for number in range(20):
        await engine.prepare(f"{{ a{number}: __typename }}")
    assert len(engine._prepared) == 4


async def test_a_body_that_never_comes_does_not_hold_the_others(api: Running) -> None:
    async with raw(api) as (_, writer):
        writer.write(
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 500\r\n\r\n{"
        )
        await writer.drain()
        assert (await post(api, TYPENAME))[0] == 200
