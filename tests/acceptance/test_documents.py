"""Every command in every document is run, and what else can be checked in them is checked.

docs/decisions/0014 has the convention. Commands run in the order in which they stand, each document with
things of its own: an empty folder, a daemon against the simulator, or a booted machine.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import urlopen

import pytest

from killsyncd.cli.main import build_parser
from killsyncd.cli.manual import read_parser
from killsyncd.config.configuration import SECTIONS, keys_of
from killsyncd.config.webhooks import webhook_keys
from tests.support import DaemonProcess, debian, machine, wait_for
from tests.support.documents import (
    FOREGROUND,
    LOGIN,
    MAKE,
    ROOT,
    SETUPS,
    Command,
    blocks,
    commands,
    documents,
    in_passing,
    why_not_run,
    why_not_typed,
)
from tests.support.stage import Stage

DOCUMENTS = documents()
NAMES = [str(each.relative_to(ROOT)) for each in DOCUMENTS]
LOOKS_TYPED = re.compile(
    r"(?m)^(\$ |# |> )?(sudo |killsyncd [a-z-]+( |$)|make [a-z]|curl |systemctl |pip |git )"
)


def those_with(*setups: str) -> Any:
    found = [each for each in DOCUMENTS if commands(each, *setups)]
    return pytest.mark.parametrize("file", found, ids=[str(each.relative_to(ROOT)) for each in found])


# --- in a folder, with and without a daemon -----------------------------------------------------


class Reader:
    """Somebody who types what stands there: a folder, a shell, and what the document's setup promises."""

    def __init__(self, stage: Stage, folder: Path, setup: str) -> None:
        self.stage = stage
        self.folder = folder / (setup or "empty")
        self.folder.mkdir()
        binaries = folder / "bin"
        if not binaries.exists():
            binaries.mkdir()
            script = binaries / "killsyncd"
            script.write_text(f'#!/bin/sh\nexec {sys.executable} -m killsyncd "$@"\n')
            script.chmod(0o755)
        (self.folder / "share").symlink_to(ROOT / "share")
        # What `make binary` leaves in a checkout.
        (self.folder / "dist").mkdir()
        (self.folder / "dist/killsyncd").symlink_to(binaries / "killsyncd")
        self.environ = {
            **{name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ},
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        self.swaps = {"--port 7421": "--port 0"}  # any other may be taken here
        if setup:
            self._begin(setup)

    def _begin(self, setup: str) -> None:
        self.eve = self.stage.eve(pilots=3, history=12)
        self.daemon: DaemonProcess = self.stage.daemon(self.eve, name=f"{self.folder.name}/daemon")
        self.stage.log_in(self.daemon, self.eve)
        mails = {mail["killmail_id"] for mail in self.eve.mails()}
        wait_for(lambda: self.daemon.stored() == len(mails), 60, self.daemon.tail)
        if setup == "stopped":
            assert self.daemon.stop() == 0
        self.environ["KILLSYNCD_CONFIG"] = str(self.daemon.config)
        # The documents name the usual places.
        self.swaps |= {
            "127.0.0.1:7420": f"127.0.0.1:{self.daemon.port}",
            "/run/killsyncd/killsyncd.sock": str(self.daemon.folder / "killsyncd.sock"),
        }

    def types(self, command: Command) -> None:
        """Run one command; it must end as the document says."""
        text = command.text
        for usual, ours in self.swaps.items():
            text = text.replace(usual, ours)
        if MAKE.match(text):
            done = self._shell(f"{text} --dry-run", ROOT)
        elif LOGIN.match(text):
            return self._login(text, command)
        elif FOREGROUND.match(text):
            return self._until_it_speaks(text, command)
        else:
            done = self._shell(text, self.folder)
        assert done.returncode == command.exits, (
            f"{command.where}: {text}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
        )

    def _shell(self, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=self.environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=100,
            check=False,
        )

    def _start(self, text: str) -> subprocess.Popen[str]:
        # exec: what we signal is the command, not a shell around it.
        return subprocess.Popen(
            ["bash", "-c", f"exec {text}"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _until_it_speaks(self, text: str, command: Command) -> None:
        process = self._start(text)
        assert process.stdout is not None
        if "watch" in text:
            self.eve.add_mails(1, [self.eve.pilots()[0]["character_id"]])
            self.eve.expire_lists()
            assert self.daemon.command("ctl", "queue", "--force").returncode == 0
        said = process.stdout.readline()
        assert said, f"{command.where}: {text} said nothing"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
        assert process.returncode in (0, 130), f"{command.where}: {text}\n{said}{rest}"

    def _login(self, text: str, command: Command) -> None:
        process = self._start(text)
        assert process.stdin is not None
        assert process.stdout is not None
        address = ""
        while not address.startswith("http"):
            address = process.stdout.readline().strip()
        pilot = self.eve.pilots()[0]["character_id"]
        if "--paste" in text:
            from tests.support.login_browser import _get

            location = _get(f"{address}&_sim_character={pilot}", {})[1]["Location"]
            said = process.communicate(f"{location}\n", timeout=60)[0]
        else:
            with urlopen(f"{address}&_sim_character={pilot}", timeout=30):
                said = process.communicate(timeout=60)[0]
        assert process.returncode == command.exits, f"{command.where}: {text}\n{said}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(tmp_path, stack)
        yield made
        made.abandon()


@pytest.mark.slow
@pytest.mark.timeout(300)
@those_with("", "daemon", "stopped")
def test_commands(file: Path, stage: Stage, tmp_path: Path) -> None:
    readers: dict[str, Reader] = {}
    for command in commands(file, "", "daemon", "stopped"):
        if why_not_run(command.text):
            continue
        if command.setup not in readers:
            readers[command.setup] = Reader(stage, tmp_path, command.setup)
        readers[command.setup].types(command)


# --- in a machine with systemd ------------------------------------------------------------------

INSTALL = ROOT / "docs/install.md"


def in_debian(folder: Path, typed: list[Command], before: Sequence[Command] = ()) -> dict[str, Any]:
    """Type commands in a bare Debian; those before them are the reader's, too."""
    machine.needed(debian.why_not())
    (folder / "root").mkdir()
    script = Path(__file__).with_name("inside_documents.py")
    given = {
        "before": [each.text for each in before],
        "commands": [(each.text, each.exits) for each in typed if not why_not_typed(each.text)],
    }
    found = machine.run_inside(folder / "root", script, given, layout=debian.Debian(), timeout=550.0)
    assert "failed" not in found, f"{found['failed']}\n{found['journal']}"
    assert len(found["commands"]) == len(given["commands"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@those_with("service")
def test_commands_of_the_service(file: Path, tmp_path: Path) -> None:
    """install.md as it stands, by hand; what other documents have, after its first part."""
    before = [] if file == INSTALL else set_up()
    found = in_debian(tmp_path, commands(file, "service", *(["by-hand"] if file == INSTALL else [])), before)
    if file == INSTALL:
        assert found["left"] == [], "what docs/install.md leaves behind"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands_of_the_package(tmp_path: Path) -> None:
    """install.md with the Debian package."""
    if debian.package() is None:
        machine.needed("no package to test: make binary deb, then KILLSYNCD_TEST_BINARY=dist/killsyncd")
    found = in_debian(tmp_path, commands(INSTALL, "service", "package"))
    assert found["left"] == [], "what docs/install.md leaves behind"


def set_up() -> list[Command]:
    """install.md up to the running service."""
    found = []
    for command in commands(INSTALL, "service", "by-hand"):
        found.append(command)
        if "enable --now" in command.text:
            return found
    raise AssertionError("docs/install.md does not start the service")


# --- everything else in them --------------------------------------------------------------------


@pytest.mark.parametrize("file", DOCUMENTS, ids=NAMES)
class TestBlocks:
    def test_commands_stand_where_they_are_run(self, file: Path) -> None:
        for block in blocks(file):
            if block.language == "console":
                assert block.setup in SETUPS, f"{block.where}: what is {block.setup!r}?"
                assert re.search(r"(?m)^\$ ", block.text), f"{block.where} has no command"
            elif block.language in ("", "sh", "bash", "shell", "text"):
                match = LOOKS_TYPED.search(block.text)
                assert match is None, f"{block.where}: {match and match[0]!r} belongs into a console block"

    def test_configuration_has_known_keys(self, file: Path) -> None:
        for block in blocks(file):
            if block.language == "toml":
                for section, table in tomllib.loads(block.text).items():
                    if section == "webhooks":
                        assert all(set(each) <= set(webhook_keys()) for each in table), block.where
                        continue
                    assert section in SECTIONS, f"{block.where}: [{section}]"
                    assert set(table) <= set(keys_of(section)), f"{block.where}: [{section}]"

    def test_python_compiles(self, file: Path) -> None:
        for block in blocks(file):
            if block.language == "python":
                compile(block.text, block.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    def test_links_lead_somewhere(self, file: Path) -> None:
        text = re.sub(r"(?ms)^\s*```.*?^\s*```", "", file.read_text("utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            linked = (file.parent / unquote(path)).resolve() if path else file
            assert linked.exists(), f"{file.relative_to(ROOT)} links to {target}, which is not there"
            if anchor and linked.suffix == ".md":
                assert anchor in anchors(linked), (
                    f"{file.relative_to(ROOT)} links to {target}: no such heading"
                )


@pytest.mark.parametrize("file", DOCUMENTS, ids=NAMES)
def test_commands_in_passing_exist(file: Path) -> None:
    killsyncd = read_parser(build_parser())
    for span in in_passing(file):
        command = killsyncd
        for word in span.replace("|", " ").split()[1:]:
            below = next((each for each in command.commands if each.name == word), None)
            if below is not None:
                command = below
            elif word.startswith("--"):
                flags = {flag for option in command.options for flag in option.flags}
                assert word.partition("=")[0].rstrip("],") in flags, f"{file.name}: {span}"
            else:
                assert not command.commands or not word.islower(), f"{file.name}: {span}: {word}?"


def anchors(file: Path) -> set[str]:
    """The names that GitHub gives to a document's headings."""
    found = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", file.read_text("utf-8")):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


@pytest.mark.slow
def test_sql_runs(stage: Stage, tmp_path: Path) -> None:
    reader = Reader(stage, tmp_path, "daemon")
    statements = [
        (block.where, statement)
        for file in DOCUMENTS
        for block in blocks(file)
        if block.language == "sql"
        for statement in block.text.split(";")
        if statement.strip()
    ]
    assert statements
    for where, statement in statements:
        with reader.daemon.rows() as rows:
            try:
                assert rows.execute(statement).fetchall(), f"{where}: {statement} finds nothing"
            except sqlite3.Error as error:
                raise AssertionError(f"{where}: {statement}") from error


def test_what_is_not_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of exceptions is no place to hide: each is used, and none is about killsyncd itself."""
    every = [each for file in DOCUMENTS for each in commands(file, *SETUPS)]
    left_out = [(each.text, why_not_run(each.text)) for each in every if why_not_run(each.text)]
    assert not [text for text, _ in left_out if text.startswith(("killsyncd", "sudo killsyncd"))]
    assert len(left_out) < len(every) / 5
