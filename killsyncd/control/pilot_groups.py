"""Routes of groups of pilots at the control socket."""

from __future__ import annotations

from aiohttp import web

from killsyncd.control.requests import answer, query, read_body, text, texts
from killsyncd.core.errors import UsageError
from killsyncd.service.pilot_groups import PilotGroups


def group_routes(groups: PilotGroups) -> list[web.RouteDef]:
    """What `killsyncd ctl group` asks."""

    async def show(request: web.Request) -> web.StreamResponse:
        query(request)
        return answer({"groups": await groups.all()})

    async def put(request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"name": text, "users": texts})
        if "name" not in body or "users" not in body:
            raise UsageError("name or users is missing", 'send {"name": "Aldo", "users": ["Aldo Alt"]}')
        return answer({"groups": await groups.put(body["name"], body["users"])})

    return [web.get("/v1/groups", show), web.post("/v1/groups", put)]
