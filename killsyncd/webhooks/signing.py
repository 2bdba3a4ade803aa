"""Signatures of Standard Webhooks:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

EVENT = "killmail.stored"


def event_id(webhook: str, killmail_id: int) -> str:
    """The same whenever the same mail is sent by the same webhook: by it a receiver knows a repeat."""
    return f"{webhook}-{killmail_id}"


def body_of(webhook: str, killmail_id: int, at: str, data: Mapping[str, Any], *, test: bool) -> bytes:
    """The JSON that is sent. at: when the mail was stored, RFC 3339."""
    document: dict[str, Any] = {
        "id": event_id(webhook, killmail_id),
        "type": EVENT,
        "timestamp": at,
        "webhook": webhook,
        "data": data,
    }
    if test:
        document["id"] += "-test"
        document["test"] = True
    return orjson.dumps(document)


def headers(id_: str, seconds: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The three headers, two where there is no key. seconds: now, since 1970. keys: each signs."""
    found = {"webhook-id": id_, "webhook-timestamp": str(seconds)}
    if keys:
        found["webhook-signature"] = " ".join(f"v1,{signature(id_, seconds, body, key)}" for key in keys)
    return found


def signature(id_: str, seconds: int, body: bytes, key: bytes) -> str:
    """Base64 of the HMAC-SHA256 of `id.timestamp.body`."""
    signed = b".".join((id_.encode(), str(seconds).encode(), body))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
