"""A day as a self-hoster: a bare Debian, and nothing is typed but what the documents say, in one go.

The package first: credentials, maintenance, backups, PostgreSQL and back, an update that migrates and the way
back, and off it goes; then by hand, with what was kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from killsyncd.storage.migrations import migrations
from tests.support import debian, machine
from tests.support.documents import ROOT, Command, commands


@dataclass(frozen=True)
class Chapter:
    """Sections of a document (none named: all of them), read by somebody who installed in one way."""

    title: str
    file: str
    way: str
    sections: tuple[str, ...] = ()

    def commands(self) -> Iterator[Command]:
        """What is typed, in the order of the document."""
        setups = ("older",) if self.way == "older" else ("", "service", self.way)
        for command in commands(ROOT / self.file, *setups):
            if self.sections and command.under not in self.sections:
                continue
            # A reader without systemd types the blocks that need nothing; here only how to build is of those.
            if command.setup == "" and not command.text.startswith("sudo apt install"):
                continue
            yield command


SET_UP = ("2. Install it", "3. Group and configuration", "4. Start it")
DAY = (
    Chapter("install", "docs/install.md", "package", (*SET_UP, "As a Debian package", "5. Log a pilot in")),
    Chapter("living", "docs/install.md", "package", ("Living with it",)),
    Chapter("trouble", "docs/troubleshooting.md", "package"),
    Chapter("elsewhere", "docs/install.md", "package", ("Pilots from elsewhere",)),
    Chapter("update", "docs/install.md", "package", ("Update it",)),
    Chapter("older", "docs/install.md", "older"),
    Chapter("backup", "docs/backup.md", "package"),
    Chapter("move", "docs/scaling.md", "package"),
    Chapter("purge", "docs/install.md", "package", ("Remove it",)),
    Chapter("by hand", "docs/install.md", "by-hand", (*SET_UP, "By hand")),
    Chapter("new machine", "docs/backup.md", "by-hand", ("On a new machine",)),
    Chapter("living by hand", "docs/install.md", "by-hand", ("Living with it",)),
    Chapter("remove", "docs/install.md", "by-hand", ("Remove it",)),
)
# What says that something went wrong in a way that nobody foresaw.
UNFORESEEN = re.compile(r"Traceback \(most recent|^\s+File \"|Unhandled|\"level\":\"error\"", re.M)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was said, and how it was after each chapter."""
    machine.needed(debian.why_not())
    if debian.package() is None:
        machine.needed("no package to test: make binary deb, then KILLSYNCD_TEST_BINARY=dist/killsyncd")
    schema = migrations()[-1].number
    chapters = [
        {
            "title": each.title,
            "commands": [
                # The documents name the number of one release.
                (one.where, re.sub(r"schema-\d{4}", f"schema-{schema:04}", one.text), one.exits)
                for one in each.commands()
            ],
        }
        for each in DAY
    ]
    assert all(each["commands"] for each in chapters), "a chapter's headings are not in its document any more"
    root = tmp_path_factory.mktemp("day") / "root"
    root.mkdir()
    script = Path(__file__).with_name("inside_day.py")
    given = {"chapters": chapters, "schema": schema}
    found = machine.run_inside(root, script, given, layout=debian.Debian(), timeout=1500)
    told = os.environ.get("KILLSYNCD_TEST_DAY", "")
    if told:
        Path(told).write_text(transcript(found))
    assert "failed" not in found, f"{found['failed']}\n{found['journal']}"
    return found


def transcript(found: dict[str, Any]) -> str:
    """Everything typed and answered, to be read by people."""
    lines = []
    for each in found.get("said", ()):
        lines += [f"\n[{each['chapter']}, {each['where']}] $ {each['command']}", each["out"], each["err"]]
        lines += [f"(exits {each['code']})"] if each["code"] else []
    return "\n".join((*lines, "\n--- journal", found["journal"], found.get("failed", "")))


@pytest.mark.day
@pytest.mark.slow(180)
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("day")
class TestADay:
    def test_nothing_unforeseen_is_said(self, day: dict[str, Any]) -> None:
        for each in day["said"]:
            assert not UNFORESEEN.search(each["out"] + each["err"]), each
        assert not UNFORESEEN.search(day["journal"])

    def test_no_killmail_and_no_login_is_lost(self, day: dict[str, Any]) -> None:
        for title, each in day["chapters"].items():
            if title in ("purge", "remove", "by hand"):
                continue
            assert each["unit"] == {"ActiveState": "active", "NRestarts": "0"}, title
            assert each["stored"] == day["chapters"]["install"]["stored"] > 0, title
            assert [user["state"] for user in each["users"]] == ["ok"], title
            assert each["breaches"] == [], title

    def test_nothing_is_left(self, day: dict[str, Any]) -> None:
        own = ["/root/killsyncd.key", "/root/killsyncd.tar"]  # copies that backup.md has one make
        assert day["chapters"]["purge"]["left"] == day["chapters"]["remove"]["left"] == own
