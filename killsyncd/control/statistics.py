"""The route of checking statistics at the control socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from killsyncd.control.requests import line_of, query
from killsyncd.service.statistics_check import Progress, StatisticsCheck

Stream = Callable[[web.Request, AsyncIterator[bytes], dict[str, str]], Awaitable[web.StreamResponse]]


def statistics_routes(check: StatisticsCheck, stream: Stream) -> list[web.RouteDef]:
    """What `killsyncd ctl verify --statistics` asks. stream: sends an answer as it is made."""

    async def verify(request: web.Request) -> web.StreamResponse:
        lines = _lines(check, query(request, "user").get("user"))
        return await stream(request, lines, {"Content-Type": "application/x-ndjson"})

    return [web.get("/v1/verify/statistics", verify)]


async def _lines(check: StatisticsCheck, user: str | None) -> AsyncIterator[bytes]:
    async for told in check.check(user):
        yield line_of(told if isinstance(told, Progress) else {"pilots": told})
