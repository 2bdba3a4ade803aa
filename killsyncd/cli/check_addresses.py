"""`killsyncd check`: every address that the daemon may talk to, and nothing else does it talk to."""

from __future__ import annotations

from urllib.parse import urlsplit

from killsyncd.cli.checking import Finding
from killsyncd.config import Config
from killsyncd.config.webhooks import shown_host

OUTGOING: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("sso", "base_url", "logins", ()),
    ("esi", "base_url", "ESI", ()),
    ("static_data", "url", "static data", ("enabled",)),
    ("prices", "history_url", "market history", ("history",)),
    ("zkillboard", "api_url", "zKillboard", ("enabled",)),
    ("zkillboard", "stream_url", "zKillboard's stream", ("enabled", "stream")),
    ("history", "everef_url", "history, when it is asked for", ()),
    ("history", "zkillboard_url", "history, when it is asked for", ()),
)
"""Section, key, what for, and the switches of the section that must all be on."""

NOT_OUTGOING = frozenset({("sso", "callback_url"), ("api", "public_url")})
"""Addresses in the configuration that browsers go to, and the daemon does not."""


def addresses(config: Config) -> Finding:
    """Where requests go to, by host, and what for. Of a webhook's address only the host is shown."""
    found: dict[str, list[str]] = {}
    for section, key, what, switches in OUTGOING:
        values = getattr(config, section, None)
        url = getattr(values, key, "")
        if url and all(getattr(values, switch) for switch in switches):
            found.setdefault(shown_host(url), []).append(what)
    if config.database.sqlite_path is None:
        found.setdefault(_server(config.database.url), []).append("database")
    if not config.queue.embedded:
        found.setdefault(_server(config.queue.url), []).append("queue")
    for each in config.webhooks:
        warning = ", which cannot be taken back" if each.kind == "zkillboard" else ""
        host = each.host or shown_host(config.zkillboard.api_url)
        found.setdefault(host, []).append(f"webhook {each.name}{warning}")
    told = "; ".join(f"{host} ({', '.join(dict.fromkeys(whats))})" for host, whats in found.items())
    return Finding("addresses", "ok", f"talks to {told}, and to nobody else")


def _server(url: str) -> str:
    """Scheme, host and port; a socket's folder for PostgreSQL on this machine."""
    parts = urlsplit(url)
    return shown_host(url) if parts.hostname else f"{parts.scheme}, on this machine"
