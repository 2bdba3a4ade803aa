"""compose.yaml, as far as it can be checked without Docker: its settings are settings that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from killsyncd.config import load

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
FILLED = {
    "CLIENT_ID": "fedcba9876543210fedcba9876543210",
    "CALLBACK": "https://kills.example.org/auth/callback",
    "CONTACT": "pilot@killsyncd.invalid",
    "HOSTS": "kills.example.org,10.0.0.7",
}


def environment(folder: Path) -> dict[str, str]:
    """What a daemon's container would see, secrets and state lying in a folder."""
    found = dict(re.findall(r"^    ([A-Z_]+): (.+)$", COMPOSE, re.M))
    filled = {}
    for name, value in found.items():
        value = re.sub(r"\$\{(\w+):[^}]*\}", lambda match: FILLED[match[1]], value.strip('"'))
        if value.startswith("/run/secrets/"):
            secret = folder / value.rpartition("/")[2]
            secret.touch(mode=0o600)
            secret.write_text("a secret of forty characters, or nearly so\n")
            value = str(secret)
        filled[name] = value
    return filled


def test_its_settings_hold(tmp_path: Path) -> None:
    config = load(None, {**environment(tmp_path), "HOME": str(tmp_path)})
    assert config.database.backend == "postgresql"
    assert config.database.password is not None
    assert not config.queue.embedded
    assert config.queue.password is not None
    assert (config.api.listen, config.api.loopback) == ("0.0.0.0:7420", False)
    assert config.api.token is not None
    assert config.api.allowed_hosts == ("kills.example.org", "10.0.0.7")
    assert config.esi.egress == "home"
    assert str(config.security.key_file) == "/state/killsyncd.key"


def test_without_names_of_its_own_it_still_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILLED, "HOSTS", "")
    assert load(None, {**environment(tmp_path), "HOME": str(tmp_path)}).api.allowed_hosts == ()


def test_every_secret_has_a_file_that_the_document_makes() -> None:
    document = (ROOT / "docs/scaling.md").read_text("utf-8")
    made = re.search(r"for name in ([\w ]+); do", document)
    assert made is not None
    files = re.findall(r"file: \./secrets/(\w+)", COMPOSE)
    assert sorted(files) == sorted(made[1].split())
    assert "./secrets/rabbitmq.conf" in COMPOSE
    assert "secrets/rabbitmq.conf" in document
    asked = set(re.findall(r"\$\{(\w+):", COMPOSE))
    shown = "".join(re.findall(r"```ini\n(.*?)```", document, re.S))
    assert asked == set(re.findall(r"^(\w+)=", shown, re.M))


def test_it_publishes_on_loopback_alone() -> None:
    ports = re.findall(r'ports: \["([^"]*)"\]', COMPOSE)
    assert len(ports) == 2
    assert all(each.startswith("127.0.0.1:") for each in ports), ports


def test_every_image_can_be_pinned_by_its_digest() -> None:
    images = re.findall(r'image: "?([^"\n]+)', COMPOSE)
    assert [each for each in images if not each.startswith("${")] == ["killsyncd"]  # the one that is built
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"(?m)^FROM (\S+)", dockerfile)) == {"${PYTHON}"}
