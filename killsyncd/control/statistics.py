"""The route of checking statistics at the control socket."""

from __future__ import annotations

from aiohttp import web

from killsyncd.control.requests import answer, query
from killsyncd.service.statistics_check import StatisticsCheck


def statistics_routes(check: StatisticsCheck) -> list[web.RouteDef]:
    """What `killsyncd ctl verify --statistics` asks."""

    async def verify(request: web.Request) -> web.StreamResponse:
        return answer({"pilots": await check.check(query(request, "user").get("user"))})

    return [web.get("/v1/verify/statistics", verify)]
