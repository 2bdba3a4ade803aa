"""The documents as what is in them: commands with what they need, and other blocks by language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETUPS = ("", "daemon", "stopped", "service", "package", "by-hand", "older")
"""Of docs/decisions/0014."""

# What is not run as it stands, and why. Everything else in a `console` block is.
NOT_RUN = {
    r"git clone ": "the network; the checkout is there",
    r"(sudo )?pipx install |uv tool install ": "installs from the network; test_packages.py does it offline",
    r"pipx run ": "installs from the network",
    r"(sudo )?apt(-get)? install (?!.*\./)": "installs on this machine; in a booted Debian it is typed",
}
# Told with --dry-run whether it is there; CI's stages run the rest of it.
MAKE = re.compile(r"make( |$)")
# Runs until somebody ends it: Ctrl-C as soon as it has said something.
FOREGROUND = re.compile(r"killsyncd (run|demo|simulate|ctl watch)( |$)")
LOGIN = re.compile(r"killsyncd login( |$)")
EXITS = re.compile(r"\s+# exits (\d+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block. setup: the second word of its opening line; under: the heading that it stands under."""

    file: str
    line: int
    under: str
    language: str
    setup: str
    text: str

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a `console` block."""

    where: str
    under: str
    setup: str
    text: str
    exits: int


def documents() -> list[Path]:
    """Every document that people read."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(file: Path) -> Iterator[Block]:
    """The fenced blocks of a document; their indentation (in lists) is taken off."""
    name = str(file.relative_to(ROOT))
    fence, start, lines, under = None, 0, list[str](), ""
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        match = re.match(r"^(\s*)```(.*)$", line)
        if match and fence is None:
            fence, start, lines = match, number, []
        elif match and fence is not None and not match[2]:
            language, _, setup = fence[2].strip().partition(" ")
            yield Block(name, start, under, language, setup.strip(), "\n".join(lines))
            fence = None
        elif fence is not None:
            lines.append(line.removeprefix(fence[1]))
        elif line.startswith("#"):
            under = line.lstrip("# ")
    assert fence is None, f"{name}: a block that begins in line {start} does not end"


def commands(file: Path, *setups: str) -> list[Command]:
    """The commands of a document that need one of these, in their order."""
    found = []
    for block in blocks(file):
        if block.language != "console" or block.setup not in setups:
            continue
        for text in re.split(r"(?m)^\$ ", block.text.replace("\\\n", ""))[1:]:
            line = text.splitlines()[0]  # what follows is what it answers
            exits = EXITS.search(line)
            found.append(
                Command(
                    block.where, block.under, block.setup, EXITS.sub("", line), int(exits[1]) if exits else 0
                )
            )
    return found


def in_passing(file: Path) -> Iterator[str]:
    """Commands of ours that stand in the text: `killsyncd ctl status`."""
    text = re.sub(r"(?ms)^\s*```.*?^\s*```", "", file.read_text("utf-8"))
    for span in re.findall(r"`([^`\n]+)`", text):
        if re.match(r"killsyncd [a-z]", span):
            yield span


def why_not_run(command: str) -> str:
    """The reason a command is not run; empty when it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), "")


def why_not_typed(command: str) -> str:
    """The same for a booted Debian, which nobody minds installing on."""
    return "" if re.match(r"sudo apt install ", command) else why_not_run(command)
