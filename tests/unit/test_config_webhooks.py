"""`[[webhooks]]`: what holds, what is refused and how, and that no address is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from killsyncd.config import Config, ConfigMistakes, Secret, from_mapping, load
from killsyncd.config.webhooks import signing_keys
from killsyncd.daemon.reload import differing

ADDRESS = "https://discord.com/api/webhooks/1234/very-secret-token"


@pytest.fixture
def url_file(tmp_path: Path) -> str:
    return str(secret_file(tmp_path / "hook.url", ADDRESS))


def secret_file(path: Path, content: str) -> Path:
    path.write_text(content + "\n")
    path.chmod(0o600)
    return path


def config(*webhooks: dict[str, Any], **sections: Any) -> Config:
    document: dict[str, Any] = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
        "webhooks": list(webhooks),
    }
    return from_mapping(document | sections, source="the test's")


def refused(*webhooks: dict[str, Any]) -> str:
    with pytest.raises(ConfigMistakes) as caught:
        config(*webhooks)
    assert "very-secret-token" not in str(caught.value)
    return str(caught.value)


def test_one_of_each_kind(url_file: str, tmp_path: Path) -> None:
    secret = secret_file(tmp_path / "secret", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
    found = config(
        {"name": "corp-kills", "kind": "discord", "url_file": url_file, "mention_role": "99"},
        {"name": "tool", "kind": "json", "url_file": url_file, "secret_file": str(secret)},
        {"name": "zkb", "kind": "zkillboard", "zkillboard_delay": "3h", "delay": "10m"},
    ).webhooks
    assert [each.name for each in found] == ["corp-kills", "tool", "zkb"]
    assert found[0].url == Secret(ADDRESS)
    assert found[0].host == "https://discord.com"
    assert found[1].secret is not None
    assert signing_keys(found[1].secret) == (b"secret-secret-secret",)
    assert (found[2].zkillboard_delay, found[2].delay, found[2].url) == (10800.0, 600.0, None)
    assert "very-secret-token" not in repr(found)


def test_ids_and_names_alike(url_file: str) -> None:
    hook = {"name": "a", "kind": "discord", "url_file": url_file}
    (found,) = config({**hook, "systems": ["Jita", 30000142], "security": ["null", "wormhole"]}).webhooks
    assert found.systems == ("Jita", "30000142")
    assert found.needs_static_data


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "discord"}, "name of number 1: is required"),
        ({"name": "a"}, "kind of a: is required: one of discord, json, zkillboard"),
        ({"name": "a", "kind": "discord"}, "url_file of a: is required: the file with the address"),
        ({"name": "a", "kind": "discord", "urlfile": "/x"}, "did you mean url_file?"),
        ({"name": "a", "kind": "discord", "security": ["hig"]}, "did you mean 'high'?"),
        ({"name": "a", "kind": "discord", "regions": [True]}, "a list of names or ids"),
        ({"name": "a", "kind": "discord", "min_value": -1}, "ISK: a number from 0"),
        ({"name": "test", "kind": "zkillboard"}, "is a word of killsyncd ctl webhooks"),
        ({"name": "a", "kind": "zkillboard", "mention_role": "1"}, 'is for kind = "discord" alone'),
        ({"name": "a", "kind": "zkillboard", "zkillboard_delay": "2h"}, "1h, 3h, 8h, 24h or 72h"),
        ({"name": "a b", "kind": "zkillboard"}, "letters, digits, hyphens or underscores"),
    ],
)
def test_refused(table: dict[str, Any], said: str) -> None:
    assert said in refused(table)


def test_two_of_one_name() -> None:
    hook = {"name": "a", "kind": "zkillboard"}
    assert "is the name of two webhooks" in refused(hook, {**hook, "name": "A"})


def test_an_address_in_place_of_its_file_is_not_shown() -> None:
    assert "url_file of a: must be an absolute path" in refused(
        {"name": "a", "kind": "discord", "url_file": ADDRESS}
    )


def test_files_that_others_may_read_or_that_hold_no_address(tmp_path: Path) -> None:
    open_file = secret_file(tmp_path / "open", ADDRESS)
    open_file.chmod(0o644)
    hook = {"name": "a", "kind": "json"}
    assert "chmod 600" in refused({**hook, "url_file": str(open_file)})
    odd = secret_file(tmp_path / "odd", "ftp://example.org/very-secret-token")
    assert "must hold one http:// or https:// address" in refused({**hook, "url_file": str(odd)})


def test_misspelt_sections_and_variables(tmp_path: Path) -> None:
    file = tmp_path / "killsyncd.toml"
    file.write_text(
        '[sso]\nclient_id = "x"\n[esi]\ncontact = "me@killsyncd.invalid"\n[[webhook]]\nname = "a"\n'
    )
    with pytest.raises(ConfigMistakes, match=r"did you mean \[\[webhooks\]\]"):
        load(file, {"HOME": "/h"})
    file.write_text(
        '[sso]\nclient_id = "x"\n[esi]\ncontact = "me@killsyncd.invalid"\n[webhooks]\nname = "a"\n'
    )
    with pytest.raises(ConfigMistakes, match="begin each webhook with"):
        load(file, {"HOME": "/h"})
    with pytest.raises(ConfigMistakes, match="stand in the file alone"):
        load(None, {"HOME": "/h", "KILLSYNCD_WEBHOOKS_NAME": "x"})


def test_a_systemd_credential_is_its_file(tmp_path: Path) -> None:
    secret_file(tmp_path / "webhooks.corp.url_file", ADDRESS)
    document = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
        "webhooks": [{"name": "corp", "kind": "discord"}],
    }
    found = from_mapping(document, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.webhooks[0].url == Secret(ADDRESS)


def test_another_address_is_a_change_of_the_configuration(url_file: str) -> None:
    hook = {"name": "a", "kind": "discord", "url_file": url_file}
    before = config(hook)
    assert differing(before, config(hook)) == []
    secret_file(Path(url_file), ADDRESS + "-new")
    assert differing(before, config(hook)) == ["webhooks"]


@pytest.mark.parametrize(
    ("more", "section"),
    [
        ({"min_value": 1e9}, "prices"),
        ({"regions": ["The Forge"]}, "static_data"),
        ({"security": ["null"]}, "static_data"),
        ({"ship_groups": ["Titan"]}, "static_data"),
    ],
)
def test_what_is_switched_off_cannot_be_asked_for(more: dict[str, Any], section: str) -> None:
    hook = {"name": "a", "kind": "zkillboard", **more}
    assert config(hook).webhooks
    with pytest.raises(ConfigMistakes) as caught:
        config(hook, **{section: {"enabled": False}})
    assert f"[{section}] enabled = true" in str(caught.value)
