"""`killsyncd check` names every address that the daemon talks to, and of a secret one only the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from killsyncd.cli.check_addresses import NOT_OUTGOING, OUTGOING, addresses
from killsyncd.config import Config, from_mapping
from killsyncd.config.configuration import SECTIONS, keys_of

BASE: dict[str, Any] = {"sso": {"client_id": "x"}, "esi": {"contact": "me@killsyncd.invalid"}}


def config(**sections: Any) -> Config:
    return from_mapping(BASE | sections)


def test_hosts_and_what_for(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://discord.com/api/webhooks/1/very-secret\n")
    file.chmod(0o600)
    webhooks = [
        {"name": "corp", "kind": "discord", "url_file": str(file)},
        {"name": "zkb", "kind": "zkillboard"},
    ]
    said = addresses(config(webhooks=webhooks, queue={"url": "amqp://guest@broker.lan/"})).message
    for each in (
        "https://login.eveonline.com (logins)",
        "https://esi.evetech.net (ESI)",
        "amqp://broker.lan (queue)",
        "https://discord.com (webhook corp)",
        "https://zkillboard.com (webhook zkb, which cannot be taken back)",
    ):
        assert each in said
    assert "very-secret" not in said
    assert "guest" not in said


def test_what_is_off_is_not_named() -> None:
    said = addresses(config(static_data={"enabled": False})).message
    assert "static data" not in said
    assert "market history" not in said


def test_every_address_of_the_configuration_is_known_here() -> None:
    """A new key with an address belongs into OUTGOING, or into NOT_OUTGOING."""
    known = {(section, key) for section, key, _, _ in OUTGOING} | NOT_OUTGOING
    there = {
        (section, key)
        for section in SECTIONS
        for key, about in keys_of(section).items()
        if about.kind.name == "address" and about.kind.allowed.startswith("an http")
    }
    assert there <= known
