"""The configuration's documents say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from killsyncd import config
from killsyncd.config import reference
from killsyncd.config.configuration import SECTIONS, keys_of
from killsyncd.config.keys import REQUIRED
from killsyncd.config.webhooks import webhook_keys

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "killsyncd.toml.example"


@pytest.mark.parametrize("name", ["docs/configuration.md", "killsyncd.toml.example"])
def test_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == reference.document(ROOT / name), "run: make docs"


def test_example_with_every_comment_taken_off_holds_the_defaults() -> None:
    text = re.sub(r"(?m)^#(?=[a-z_]+ = |\[\[)", "", EXAMPLE.read_text("utf-8"))
    document = tomllib.loads(text)
    expected = {
        section: {key: "" if about.raw is REQUIRED else about.raw for key, about in keys_of(section).items()}
        for section in SECTIONS
    }
    webhook = {name: about.raw for name, about in webhook_keys().items()}
    shown = {"name": "corp-kills", "kind": "discord", "url_file": "/etc/killsyncd/corp-kills.url"}
    assert document == expected | {"webhooks": [webhook | shown]}


def test_example_filled_in_loads(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    text = text.replace('client_id = ""', 'client_id = "abc"').replace(
        'contact = ""', 'contact = "me@example.org"'
    )
    file = tmp_path / "killsyncd.toml"
    file.write_text(text)
    plain = config.from_mapping(
        {"sso": {"client_id": "abc"}, "esi": {"contact": "me@example.org"}}, {"HOME": "/h"}
    )
    loaded = config.load(file, {"HOME": "/h"})
    for section in SECTIONS:
        assert getattr(loaded, section) == getattr(plain, section)


def test_example_as_it_is_names_just_the_two_required_keys() -> None:
    with pytest.raises(config.ConfigMistakes) as caught:
        config.load(EXAMPLE, {"HOME": "/h"})
    assert [(each.section, each.key) for each in caught.value.mistakes] == [
        ("sso", "client_id"),
        ("esi", "contact"),
    ]


def test_every_key_says_what_it_means() -> None:
    for each in reference.describe():
        assert each.meaning.endswith("."), each.key
        assert each.allowed, each.key
        assert each.variable == f"KILLSYNCD_{each.section}_{each.key}".upper()


def test_writes_the_files_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference.main([str(tmp_path / "configuration.md"), str(tmp_path / "killsyncd.toml.example")])
    assert (tmp_path / "configuration.md").read_text().startswith("# Configuration\n")
    assert tomllib.loads((tmp_path / "killsyncd.toml.example").read_text())
    reference.main([])
    assert capsys.readouterr().out == reference.markdown()
