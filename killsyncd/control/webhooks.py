"""Routes of webhooks at the control socket."""

from __future__ import annotations

from aiohttp import web

from killsyncd.control.requests import answer, number, query, read_body, text
from killsyncd.core.errors import UsageError
from killsyncd.service.import_export import parse_since
from killsyncd.service.webhooks import WebhookOperations, selected


def webhook_routes(webhooks: WebhookOperations) -> list[web.RouteDef]:
    """What `killsyncd ctl webhooks` asks."""

    async def show(request: web.Request) -> web.StreamResponse:
        name = query(request, "name").get("name")
        return answer({"webhooks": selected(await webhooks.all(), name)})

    async def explain(request: web.Request) -> web.StreamResponse:
        query(request)
        killmail_id = number("the killmail id", request.match_info["id"])
        return answer(await webhooks.explain(_name(request), killmail_id))

    async def test(request: web.Request) -> web.StreamResponse:
        await read_body(request, {})
        return answer(await webhooks.test(_name(request)))

    async def pause(request: web.Request) -> web.StreamResponse:
        await read_body(request, {})
        return answer(await webhooks.pause(_name(request)))

    async def resume(request: web.Request) -> web.StreamResponse:
        await read_body(request, {})
        return answer(await webhooks.resume(_name(request)))

    async def replay(request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"since": text})
        if "since" not in body:
            raise UsageError("since is missing in the body", 'send {"since": "2026-11-01"}')
        return answer(await webhooks.replay(_name(request), parse_since(body["since"])))

    return [
        web.get("/v1/webhooks", show),
        web.get("/v1/webhooks/{name}/explain/{id}", explain),
        web.post("/v1/webhooks/{name}/test", test),
        web.post("/v1/webhooks/{name}/pause", pause),
        web.post("/v1/webhooks/{name}/resume", resume),
        web.post("/v1/webhooks/{name}/replay", replay),
    ]


def _name(request: web.Request) -> str:
    return text("the webhook", request.match_info["name"])
