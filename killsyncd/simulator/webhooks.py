"""A Discord and a receiver of signed webhooks, for `[[webhooks]]`: they enforce what the real ones do.

Discord's limits of an embed and of requests are those of its documents; a request that comes too early, a
message beyond a limit or a signature that does not hold is a breach. Scripted troubles: `429` (header and
body say how long), `429-bare` (nothing does), `500`, `hang`, `drop` (the message is taken, and no answer
comes), `404`, `gone` (404 with Discord's code of an unknown webhook), `400`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from . import wire
from .answer import Response
from .clock import SimClock

TROUBLES = ("429", "429-bare", "500", "hang", "drop", "404", "gone", "400")
EMBED_LIMITS = {"title": 256, "description": 4096}
FIELDS, FIELD_NAME, FIELD_VALUE, FOOTER, AUTHOR, TOGETHER, CONTENT = 25, 256, 1024, 2048, 256, 6000, 2000
OLDEST_SIGNATURE = 300.0
"""Seconds that a signed timestamp may be off."""

_DISCORD = re.compile(r"/api/(?:v\d+/)?webhooks/(\d{1,20})/([A-Za-z0-9_-]{1,100})(/messages/(\d{1,20}))?")
_RECEIVER = re.compile(r"/webhook-receiver/([A-Za-z0-9_-]{1,64})")
_ZKILLBOARD = re.compile(r"/zkillboard/api/killmail/add/(\d{1,19})/([0-9a-f]{40})/(?:([0-5])/)?")


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests and seconds: of one webhook, and of all of its channel."""

    webhook: tuple[int, float] = (5, 2.0)
    channel: tuple[int, float] = (30, 60.0)


@dataclass(frozen=True, slots=True)
class TakenMessage:
    """Something that was taken. hook: the webhook's id, the receiver's name, or `zkillboard`. answered:
    whether the client was told."""

    hook: str
    id: str
    body: Mapping[str, Any]
    at: float
    answered: bool = True


@dataclass
class WebhookTargets:
    """Discord below `/api/webhooks/ID/TOKEN`, a receiver below `/webhook-receiver/NAME`, and zKillboard's
    door for mails at `/zkillboard/api/killmail/add/`.

    channels: channel of a webhook's id; others have one of their own. secret: the receiver's key (None:
    nothing is verified). script: troubles in their order, one a request. latest: what was taken last, by
    hook.
    """

    clock: SimClock
    rates: Rates = field(default_factory=Rates)
    channels: dict[str, str] = field(default_factory=dict)
    secret: bytes | None = None
    script: deque[str] = field(default_factory=deque)
    taken: list[TakenMessage] = field(default_factory=list)
    latest: dict[str, TakenMessage] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    retry_after: float = 1.0
    hang: float = 3600.0
    requests: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _times: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _blocked: dict[str, float] = field(default_factory=dict)
    _serial: int = 0

    def takes(self, path: str) -> bool:
        """Whether a path is one of ours."""
        return bool(_DISCORD.fullmatch(path) or _RECEIVER.fullmatch(path) or _ZKILLBOARD.fullmatch(path))

    def trouble(self, kinds: Sequence[str]) -> None:
        """What happens to the next requests, one each; an empty word is no trouble."""
        self.script.extend(kinds)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to one of them."""
        self.requests += 1
        body = await request.read()
        if found := _DISCORD.fullmatch(request.path):
            if found[3]:
                return self._ask_for(request, found[1], found[4])
            return await self._discord(request, found[1], body)
        if found := _RECEIVER.fullmatch(request.path):
            return await self._receiver(request, found[1], body)
        found = _ZKILLBOARD.fullmatch(request.path)
        assert found is not None, "takes() was asked"
        return await self._zkillboard(request, found)

    # Discord

    async def _discord(self, request: web.BaseRequest, hook: str, body: bytes) -> web.StreamResponse:
        channel = self.channels.get(hook, f"9{hook}")
        now = self.clock.monotonic()
        limits = {f"webhook {hook}": self.rates.webhook, f"channel {channel}": self.rates.channel}
        for key, (number, seconds) in limits.items():
            times = self._times[key]
            while times and now - times[0] >= seconds:
                times.popleft()
            if len(times) >= number or now < self._blocked.get(key, 0.0):
                self.breaches.append(f"{key}: a request came too early")
                return self._too_many(times[0] + seconds - now if times else 0.1)
        for key in limits:
            self._times[key].append(now)
        trouble = self.script.popleft() if self.script else ""
        if trouble.startswith("429"):
            self._blocked[f"webhook {hook}"] = now + (self.retry_after if trouble == "429" else 0.0)
            return self._too_many(self.retry_after, bare=trouble.endswith("bare"))
        if (answer := self._refusal(trouble)) is not None:
            return answer
        wrong = wrong_in_message(body)
        if wrong:
            self.breaches.append(f"webhook {hook}: {wrong}")
            document = {"message": "Invalid Form Body", "code": 50035}
            return wire.whole(Response(400, orjson.dumps(document)), self.clock)
        if trouble == "hang":
            await wire.silence(request, self.hang, self.closing)
            wire.cut(request)
            return wire.nothing()
        message = self._take(hook, orjson.loads(body), answered=trouble != "drop")
        if trouble == "drop":
            wire.cut(request)
            return wire.nothing()
        if request.query.get("wait") != "true":
            self.breaches.append(f"webhook {hook}: wait=true is missing")
            return wire.whole(Response(204, b""), self.clock)
        times = self._times[f"webhook {hook}"]
        number, seconds = self.rates.webhook
        headers = {
            "X-RateLimit-Limit": str(number),
            "X-RateLimit-Remaining": str(number - len(times)),
            "X-RateLimit-Reset-After": f"{times[0] + seconds - now:.3f}",
        }
        document = {"id": message.id, "channel_id": channel, **message.body}
        return wire.whole(Response(200, orjson.dumps(document)), self.clock, headers)

    def _ask_for(self, request: web.BaseRequest, hook: str, message_id: str) -> web.StreamResponse:
        for each in self.taken:
            if each.hook == hook and each.id == message_id and request.method == "GET":
                return wire.whole(Response(200, orjson.dumps({"id": each.id, **each.body})), self.clock)
        document = {"message": "Unknown Message", "code": 10008}
        return wire.whole(Response(404, orjson.dumps(document)), self.clock)

    def _too_many(self, seconds: float, *, bare: bool = False) -> web.Response:
        if bare:
            return wire.whole(Response(429, b"slow down", content_type="text/plain"), self.clock)
        document = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
        headers = {"Retry-After": f"{seconds:.3f}", "X-RateLimit-Scope": "user"}
        return wire.whole(Response(429, orjson.dumps(document)), self.clock, headers)

    # The others

    async def _receiver(self, request: web.BaseRequest, name: str, body: bytes) -> web.StreamResponse:
        trouble = self.script.popleft() if self.script else ""
        if trouble.startswith("429"):
            return self._too_many(self.retry_after, bare=trouble.endswith("bare"))
        if (answer := self._refusal(trouble)) is not None:
            return answer
        wrong = self._wrong_in_signature(request.headers, body)
        if wrong:
            self.breaches.append(f"receiver {name}: {wrong}")
            return wire.whole(Response(400, b"{}"), self.clock)
        if trouble == "hang":
            await wire.silence(request, self.hang, self.closing)
            wire.cut(request)
            return wire.nothing()
        self._take(name, orjson.loads(body), answered=trouble != "drop")
        if trouble == "drop":
            wire.cut(request)
            return wire.nothing()
        return wire.whole(Response(200, b"{}"), self.clock)

    async def _zkillboard(self, request: web.BaseRequest, found: re.Match[str]) -> web.StreamResponse:
        trouble = self.script.popleft() if self.script else ""
        if trouble.isdigit():
            return wire.whole(Response(int(trouble), b'{"status":"error"}'), self.clock)
        known = {"killmail_id": int(found[1]), "delay": int(found[3] or 0)}
        self._take("zkillboard", known, answered=True)
        return wire.whole(Response(200, b'{"status":"success"}'), self.clock)

    def _refusal(self, trouble: str) -> web.Response | None:
        if trouble == "gone":
            document = {"message": "Unknown Webhook", "code": 10015}
            return wire.whole(Response(404, orjson.dumps(document)), self.clock)
        if trouble in ("500", "404", "400"):
            document = {"message": {"404": "Unknown Webhook"}.get(trouble, "Something is wrong"), "code": 0}
            return wire.whole(Response(int(trouble), orjson.dumps(document)), self.clock)
        return None

    def _take(self, hook: str, body: Mapping[str, Any], *, answered: bool) -> TakenMessage:
        self._serial += 1
        message = TakenMessage(hook, str(10**17 + self._serial), body, self.clock.monotonic(), answered)
        self.taken.append(message)
        self.latest[hook] = message
        return message

    def _wrong_in_signature(self, headers: Mapping[str, str], body: bytes) -> str:
        """What does not hold, as Standard Webhooks has it; empty where all does."""
        id_, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not id_ or not at.isdigit():
            return "webhook-id or webhook-timestamp is missing"
        if self.secret is None:
            return ""
        if abs(int(at) - self.clock.wall()) > OLDEST_SIGNATURE:
            return "the timestamp is too old"
        expected = hmac.new(self.secret, f"{id_}.{at}.".encode() + body, hashlib.sha256).digest()
        for each in headers.get("webhook-signature", "").split(" "):
            version, _, given = each.partition(",")
            try:
                if version == "v1" and hmac.compare_digest(base64.b64decode(given, validate=True), expected):
                    return ""
            except binascii.Error:
                continue
        return "the signature does not hold"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def wrong_in_message(body: bytes) -> str:
    """Which of Discord's limits a message breaks; empty where it keeps all."""
    try:
        message = orjson.loads(body)
    except ValueError:
        return "the body is no JSON"
    mentions = message.get("allowed_mentions")
    if not isinstance(mentions, dict) or mentions.get("parse") != []:
        return "allowed_mentions is not closed"
    if _units(message.get("content", "")) > CONTENT:
        return "content is too long"
    embeds = message.get("embeds", [])
    if not 1 <= len(embeds) <= 10:
        return "1 to 10 embeds, please"
    together = 0
    for embed in embeds:
        texts = {name: embed.get(name, "") for name in EMBED_LIMITS}
        for name, limit in EMBED_LIMITS.items():
            if _units(texts[name]) > limit:
                return f"{name} is too long"
        footer = embed.get("footer", {}).get("text", "")
        author = embed.get("author", {}).get("name", "")
        if _units(footer) > FOOTER or _units(author) > AUTHOR:
            return "footer or author is too long"
        fields = embed.get("fields", [])
        if len(fields) > FIELDS:
            return "too many fields"
        for each in fields:
            if not each["name"] or not each["value"]:
                return "a field is empty"
            if _units(each["name"]) > FIELD_NAME or _units(each["value"]) > FIELD_VALUE:
                return "a field is too long"
            together += _units(each["name"]) + _units(each["value"])
        together += sum(map(_units, texts.values())) + _units(footer) + _units(author)
    return "all embeds together are too long" if together > TOGETHER else ""
