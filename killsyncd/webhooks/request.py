"""What is sent for a mail, by the webhook's kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from killsyncd.config import WebhookConfig
from killsyncd.config.webhooks import ZKILLBOARD_DELAYS, signing_keys
from killsyncd.webhooks import embed, signing
from killsyncd.webhooks.http import TIMEOUT, ZKILLBOARD_TIMEOUT
from killsyncd.webhooks.model import Shown


@dataclass(frozen=True, slots=True)
class Request:
    """One request. url: a secret, and shown nowhere."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    timeout: float = TIMEOUT

    def __repr__(self) -> str:
        return f"Request({len(self.body)} bytes)"


def discord(shown: Shown, config: WebhookConfig, public_url: str) -> Request:
    """A message with one embed. `wait=true`: the answer is the message, with its id."""
    assert config.url is not None, "the configuration asks for it"
    parts = urlsplit(config.url.reveal())
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "wait"]
    url = urlunsplit(parts._replace(query=urlencode([*query, ("wait", "true")])))
    return Request(url, orjson.dumps(embed.message(shown, config, public_url)), {})


def signed(shown: Shown, config: WebhookConfig, data: Mapping[str, Any], now: float) -> Request:
    """The mail as JSON, signed where there is a secret. now: seconds since 1970.

    What the body tells of time is when the mail was stored, so that a repeat says the same.
    """
    assert config.url is not None, "the configuration asks for it"
    killmail_id = shown.candidate.mail.killmail_id
    at = f"{shown.candidate.mail.created_at:%Y-%m-%dT%H:%M:%SZ}"
    body = signing.body_of(config.name, killmail_id, at, data, test=shown.test)
    id_ = signing.event_id(config.name, killmail_id) + ("-test" if shown.test else "")
    keys = signing_keys(config.secret) if config.secret is not None else None
    return Request(config.url.reveal(), body, signing.headers(id_, int(now), body, keys or ()))


def published(shown: Shown, config: WebhookConfig, api_url: str, agent: str) -> Request:
    """Id and hash for zKillboard, which asks ESI for the mail by itself.

    api_url: zKillboard's, unless the webhook has an address of its own. agent: who we are; it asks for that.
    """
    base = (config.url.reveal() if config.url is not None else api_url).rstrip("/")
    mail = shown.candidate.mail
    delay = ZKILLBOARD_DELAYS[int(config.zkillboard_delay / 3600)]
    url = f"{base}/killmail/add/{mail.killmail_id}/{mail.killmail_hash}/" + (f"{delay}/" if delay else "")
    return Request(url, b"", {"User-Agent": agent}, ZKILLBOARD_TIMEOUT)
