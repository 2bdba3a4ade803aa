"""Scripted faults: which requests go wrong, how, and for how long."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson

from killsyncd.core.errors import BadInput

from .answer import Response, RoutedRequest, error
from .clock import SimClock, http_date
from .listing import etag_of

KINDS = {
    "latency": "answer `seconds` later, otherwise as always",
    "status": "answer `status` (with `headers`, `body`, `retry_after`); `bare`: without any limit headers",
    "truncate": "promise the whole body, send half of it, close the connection",
    "malformed": "a whole answer whose JSON breaks off in the middle",
    "ids_as_strings": "every id of the body as a string",
    "html": "a page of HTML with `status` (200)",
    "wrong_type": "the right body as text/plain",
    "body": "`body` in place of the right one",
    "entry": "a list with `body` (JSON) as one more entry",
    "capitals": "killmail hashes in capitals",
    "unchanged": "304 for ever to whoever asks with an ETag; `newer`: with the ETag of today's list",
    "headers": "the right answer with `headers` over its own; an empty value takes one away",
    "clock": "the right answer of a machine whose clock is `seconds` off: its Date, and its Expires with it "
    "unless `only_date`",
    "big": "a body of `size` bytes (50 MB)",
    "bomb": "the same, gzipped to a thousandth of that",
    "reset": "cut the connection without an answer",
    "hang": "say nothing for `seconds` (an hour), then cut the connection",
    "stall": "send the headers and half of the body, then hang",
    "oauth": "an OAuth error: `body` is its code (invalid_client), `status` 400 or 401",
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One scripted fault. A request must fit every condition that is given."""

    kind: str
    route: str = "*"
    """`esi.killmail`, `esi.*`, `sso.token`, `*`; the part before the dot may be left out."""
    path: str = ""
    """Regular expression that the path must contain."""
    character: int | None = None
    killmail: int | None = None
    page: int | None = None
    skip: int = 0
    """Let so many fitting requests pass first."""
    count: int | None = None
    """How often; None: no end."""
    duration: float | None = None
    """Seconds from when it was scripted."""
    probability: float = 1.0
    processed: bool = False
    """True: the request takes effect (a refresh token is replaced), only the answer is lost."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    retry_after: int | None = None
    bare: bool = False
    seconds: float = 0.0
    only_date: bool = False
    newer: bool = False
    size: int = 50_000_000
    id: int = 0
    hits: int = 0
    seen: int = 0
    since: float = 0.0

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Fault:
        """Raises BadInput, naming what is not known."""
        known = {entry.name for entry in fields(cls)} - {"id", "hits", "seen", "since"}
        if unknown := set(raw) - known:
            raise BadInput(
                f"a fault has no {', '.join(sorted(unknown))}", f"Known: {', '.join(sorted(known))}."
            )
        if raw.get("kind") not in KINDS:
            raise BadInput(
                f"there is no fault of kind {raw.get('kind')!r}", f"Known: {', '.join(sorted(KINDS))}."
            )
        try:
            fault = cls(**raw)
            re.compile(fault.path)
        except (TypeError, re.error) as problem:
            raise BadInput(f"this fault cannot be read: {problem}", "See docs/simulator.md.") from problem
        if fault.kind == "status" and not 200 <= fault.status <= 599:
            raise BadInput(f"a fault of kind status with status {fault.status}", "Give 200 to 599.")
        return fault

    def fits(self, call: RoutedRequest, path: str, now: float, rng: random.Random) -> bool:
        """Whether it strikes this request; counts when it does."""
        if self.count is not None and self.hits >= self.count:
            return False
        if self.duration is not None and now >= self.since + self.duration:
            return False
        if not (fnmatchcase(call.route, self.route) or fnmatchcase(call.route.partition(".")[2], self.route)):
            return False
        if self.character is not None and self.character != call.character:
            return False
        if self.killmail is not None and not (call.route == "esi.killmail" and call.subject == self.killmail):
            return False
        if self.page is not None and self.page != call.page:
            return False
        if self.path and re.search(self.path, path) is None:
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.probability < 1 and rng.random() >= self.probability):
            return False
        self.hits += 1
        return True

    def to_json(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


class Faults:
    """All scripted faults, in the order in which they were scripted."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._faults: dict[int, Fault] = {}
        self._last = 0

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault, now: float) -> int:
        self._last += 1
        fault.id, fault.since = self._last, now
        self._faults[fault.id] = fault
        return fault.id

    def remove(self, fault_id: int | None = None) -> int:
        """Take one away, or all; returns how many there were."""
        if fault_id is None:
            gone = len(self._faults)
            self._faults.clear()
            return gone
        return 1 if self._faults.pop(fault_id, None) else 0

    def listed(self) -> list[dict[str, Any]]:
        return [fault.to_json() for fault in self._faults.values()]

    def strike(self, call: RoutedRequest, path: str, now: float) -> list[Fault]:
        """The faults that strike this request: any number of latencies, and one that does more."""
        struck: list[Fault] = []
        for fault in self._faults.values():
            if fault.kind != "latency" and any(other.kind != "latency" for other in struck):
                continue
            if fault.fits(call, path, now, self._random):
                struck.append(fault)
        return struck


def disturbed(
    fault: Fault, answer: Response | None, clock: SimClock, if_none_match: str | None = None
) -> Response:
    """What the client gets in place of `answer` (None: the request was not processed)."""
    if fault.kind == "status":
        made = error(fault.status, _MESSAGES.get(fault.status, "Scripted fault"))
        if fault.body:
            made.body = fault.body.encode()
        if fault.retry_after is not None:
            made.headers["Retry-After"] = str(fault.retry_after)
        made.headers.update(fault.headers)
        return made
    if fault.kind == "oauth":
        code = fault.body or "invalid_client"
        return Response(
            fault.status or (401 if code == "invalid_client" else 400),
            orjson.dumps({"error": code, "error_description": "Scripted fault."}),
        )
    if fault.kind == "html":
        page = "<!DOCTYPE html><html><title>EVE Online</title><h1>We'll be back</h1></html>"
        return Response(fault.status or 200, page.encode(), dict(fault.headers), "text/html; charset=utf-8")
    assert answer is not None
    match fault.kind:
        case "malformed":
            answer.body = answer.body[: max(1, len(answer.body) // 2)]
        case "ids_as_strings":
            answer.body = re.sub(rb'("[a-z_]*id":)(-?\d+)', rb'\1"\2"', answer.body)
        case "wrong_type":
            answer.content_type = "text/plain; charset=utf-8"
        case "entry":
            _add_entry(answer, fault.body)
        case "capitals":
            answer.body = re.sub(
                rb'("killmail_hash":")([0-9a-f]{40})', lambda found: found[1] + found[2].upper(), answer.body
            )
        case "unchanged" if if_none_match is not None and answer.status == 200:
            answer.status, answer.body = 304, b""
            if not fault.newer:
                answer.headers["ETag"] = if_none_match
        case "body":
            answer.body = fault.body.encode()
        case "bomb":
            answer.headers["Content-Encoding"] = "gzip"
            answer.body = gzip.compress(b"[" + b" " * (fault.size - 2) + b"]")
        case "clock":
            shifted = ["Date"] if fault.only_date else ["Date", "Expires"]
            answer.headers.setdefault("Date", clock.http_now())
            for name in shifted:
                if name in answer.headers:
                    moment = parsedate_to_datetime(answer.headers[name]).timestamp()
                    answer.headers[name] = http_date(moment + fault.seconds)
        case "big":
            answer.body = b"[" + b" " * (fault.size - 2) + b"]"
    for name, value in fault.headers.items():
        if value:
            answer.headers[name] = value
        else:
            answer.headers.pop(name, None)
    return answer


def _add_entry(answer: Response, entry: str) -> None:
    """As text: what is no JSON for us may be what a client has to live with."""
    body = answer.body.rstrip()
    if answer.status != 200 or not body.endswith(b"]"):
        return
    comma = b"," if body != b"[]" else b""
    answer.body = body[:-1] + comma + entry.encode() + b"]"
    answer.headers["ETag"] = etag_of(answer.body)


_MESSAGES = {
    400: "Bad request",
    401: "Unauthorized - invalid token",
    403: "Forbidden",
    404: "Not found",
    420: "This software has exceeded the error limit for ESI.",
    422: "Invalid killmail_id and/or killmail_hash",
    429: "Too many requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "The server is unavailable",
    504: "Timeout contacting tranquility",
}
