"""The control socket's routes for `killsyncd import` of archives and refs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from killsyncd.control.requests import answer, failure, query, read_body, text
from killsyncd.core.errors import BadInput, Unavailable, UsageError
from killsyncd.core.logging import get_logger
from killsyncd.service.history import DayRead, HistoryImports, RefsReport

CHUNK = 1 << 16
COUNTS = ("day", "mails", "kept", "stored", "refused")

log = get_logger(__name__)


def history_routes(history: HistoryImports) -> list[web.RouteDef]:
    """Routes over these use cases."""

    async def state(request: web.Request) -> web.StreamResponse:
        given = query(request, "archive", "scope")
        return answer(await history.state(given.get("archive", ""), given.get("scope", "")))

    async def day_read(request: web.Request) -> web.StreamResponse:
        body = await read_body(request, {"archive": text, "scope": text, "counts": _counts})
        if set(body) != {"archive", "scope", "counts"}:
            raise UsageError(f"the body needs archive, scope and counts ({', '.join(COUNTS)})")
        await history.day_read(DayRead(body["archive"], body["scope"], *body["counts"]))
        return answer({})

    async def refs(request: web.Request) -> web.StreamResponse:
        query(request)
        report = RefsReport()
        try:
            await history.import_refs(request.content.iter_chunked(CHUNK), report)
        except Unavailable as error:
            return failure(error, {"report": report})
        log.info("refs imported", wanted=report.wanted, known=report.known, bad=report.bad)
        return answer(report)

    return [
        web.get("/v1/history", state),
        web.post("/v1/history", day_read),
        web.post("/v1/refs", refs),
    ]


def _counts(name: str, value: Any) -> list[int]:
    """One number for each of COUNTS."""
    numbers = value if isinstance(value, list) and len(value) == len(COUNTS) else []
    if not numbers or not all(type(each) is int and 0 <= each < 2**53 for each in numbers):
        raise BadInput(f"{name} must be a list of {len(COUNTS)} numbers: {', '.join(COUNTS)}")
    return numbers
