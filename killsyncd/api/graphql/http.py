"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http), for queries and mutations.

Only `application/json` bodies are taken: a browser sends them across sites after asking first
(CORS preflight), and we never agree. GET takes queries alone, so that a link changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from graphql import OperationType

from killsyncd.api.graphql.engine import Answer, Engine
from killsyncd.api.graphql.errors import BAD_USER_INPUT, TOO_EXPENSIVE, for_log, log
from killsyncd.core.errors import KillsyncdError

GRAPHQL_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"
_BODY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GraphqlRequest:
    """The parameters of a request."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None


class MalformedRequest(Exception):
    """A request that is no GraphQL request."""

    def __init__(self, status: int, message: str, code: str = BAD_USER_INPUT, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers


class GraphqlHttp:
    """The handler of `/graphql` for POST, and for GET with a query. Access was checked before."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limits = engine.services.limits

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, to the last byte."""
        media = accepted(request.headers.getall("Accept", []))
        try:
            if media is None:
                raise MalformedRequest(406, f"this answers {GRAPHQL_JSON} and {PLAIN_JSON}")
            if request.method == "GET":
                asked = _from_query(request.query)
            else:
                asked = await self._from_body(request)
            return await self._answer(request, asked, media)
        except MalformedRequest as error:
            log.info("query refused", code=error.code, reason=for_log(error.message))
            body = {"errors": [{"message": error.message, "extensions": {"code": error.code}}]}
            return respond(orjson.dumps(body), error.status, media or PLAIN_JSON, error.headers)

    async def _answer(self, request: web.Request, asked: GraphqlRequest, media: str) -> web.StreamResponse:
        prepared = await self._engine.prepare(asked.query)
        if request.method == "GET" and prepared.document is not None:
            try:
                operation = self._engine.operation(prepared, asked.operation_name)
            except KillsyncdError:
                pass  # executing says it better
            else:
                if operation.operation is not OperationType.QUERY:
                    raise MalformedRequest(405, "GET is for queries; send mutations with POST", Allow="POST")
        async with self._engine.answer(prepared, asked.variables, asked.operation_name) as answer:
            response = respond(answer.content, _status(answer, media), media)
            # Sent here, so that the answer is counted until it is gone.
            await send_whole(request, response, self._limits.send_seconds)
        return response

    async def _from_body(self, request: web.Request) -> GraphqlRequest:
        if request.content_type != PLAIN_JSON or "Content-Type" not in request.headers:
            raise MalformedRequest(415, f"send the query as {PLAIN_JSON}", Accept=PLAIN_JSON)
        if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
            raise MalformedRequest(415, "send the query in UTF-8", Accept=PLAIN_JSON)
        if "Content-Encoding" in request.headers:
            raise MalformedRequest(415, "send the query uncompressed")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise MalformedRequest(
                413, f"the request is larger than {self._limits.body // 1024} KiB", TOO_EXPENSIVE
            ) from None
        except TimeoutError:
            raise MalformedRequest(408, "the request did not arrive in time", Connection="close") from None
        try:
            body = orjson.loads(raw)
        except ValueError:
            raise MalformedRequest(400, "the body is not JSON") from None
        if not isinstance(body, dict):
            raise MalformedRequest(400, "the body is not a JSON object (batches are not served)")
        return _parameters(body)


def _from_query(query: Mapping[str, str]) -> GraphqlRequest:
    body: dict[str, Any] = dict(query)
    for name in ("variables", "extensions"):
        if name in body:
            try:
                body[name] = orjson.loads(body[name]) if body[name] else None
            except ValueError:
                raise MalformedRequest(400, f"{name} is not JSON") from None
    return _parameters(body)


def _parameters(body: Mapping[str, Any]) -> GraphqlRequest:
    query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
    if not isinstance(query, str):
        raise MalformedRequest(400, "query is missing, or not a string")
    if variables is not None and not isinstance(variables, dict):
        raise MalformedRequest(400, "variables is not an object")
    if name is not None and not isinstance(name, str):
        raise MalformedRequest(400, "operationName is not a string")
    extensions = body.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise MalformedRequest(400, "extensions is not an object")
    return GraphqlRequest(query, variables, name or None)


def _status(answer: Answer, media: str) -> int:
    # Before 2025 clients took every status but 200 for a broken server, so application/json
    # keeps 200 for requests that were understood; the newer type says it in the status.
    if answer.executed or media == PLAIN_JSON:
        return 200
    code = answer.errors[0]["extensions"]["code"]
    return {"UNAVAILABLE": 503, "INTERNAL": 500}.get(code, 400)


async def send_whole(request: web.Request, response: web.Response, seconds: float) -> None:
    """Send an answer; whoever has not taken all of it after so many seconds is cut off."""
    try:
        async with asyncio.timeout(seconds):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        log.info("connection closed", reason="its reader does not read")
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # Not raised on: aiohttp's loop would keep the error, and with it the answer, in a circle.


def respond(
    content: bytes, status: int, media: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON in UTF-8; never kept by anybody in between."""
    return web.Response(
        body=content,
        status=status,
        headers={"Content-Type": f"{media}; charset=utf-8", "Cache-Control": "no-store", **(headers or {})},
    )


def accepted(headers: list[str]) -> str | None:
    """The media type to answer with; None where the client takes neither of ours.

    Whoever does not care gets application/json, as clients of old expect.
    """
    if not headers:
        return PLAIN_JSON
    best: tuple[float, str] | None = None
    for each in ",".join(headers).split(","):
        media, *parameters = (part.strip().lower() for part in each.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        ours = {GRAPHQL_JSON: GRAPHQL_JSON}.get(
            media, PLAIN_JSON if media in (PLAIN_JSON, "application/*", "*/*") else ""
        )
        if ours and weight > 0 and (best is None or weight > best[0]):
            best = (weight, ours)
    return best[1] if best else None


def prefers_html(headers: list[str]) -> bool:
    """Whether a browser asks for a page, not a program for data."""
    return any(part.strip().lower().startswith("text/html") for part in ",".join(headers).split(","))
