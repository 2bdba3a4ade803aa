"""Man page and completions, of a parser made for the purpose and of killsyncd's own."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from killsyncd.cli.main import COMMANDS, build_parser
from killsyncd.cli.manual import (
    Section,
    bash_completion,
    fish_completion,
    man_page,
    read_parser,
    zsh_completion,
)
from killsyncd.cli.manual.__main__ import files

ROOT = Path(__file__).parents[2]


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def sample() -> argparse.ArgumentParser:
    """A parser with something of everything."""
    parser = argparse.ArgumentParser(prog="tool", description="Does things. All of them.")
    parser.add_argument("--config", metavar="FILE", help="where it's configured: [always]")
    commands = parser.add_subparsers(metavar="COMMAND")
    make = commands.add_parser(
        "make", help="makes one", description="Makes.", epilog="examples:\n  tool make .hidden -v"
    )
    make.add_argument("-v", "--verbose", action="store_true", help="says more")
    make.add_argument("--colour", choices=("red", "green"), default="red", help="of it (%(default)s)")
    make.add_argument("--into", metavar="DIR", required=True)
    make.add_argument("--tag", action="append", help="again and again")
    make.add_argument("--secret", help=argparse.SUPPRESS)
    make.add_argument("file", nargs="+", metavar="FILE", help="what to make it of")
    deep = commands.add_parser("deep", help="has more below").add_subparsers(metavar="VERB")
    deep.add_parser("down", help="goes down")
    deep.add_parser("drop", help="drops").add_argument("kind", choices=("all", "half"), nargs="?")
    return parser


class TestTree:
    def test_reads_options_arguments_and_commands(self) -> None:
        tool = read_parser(sample())
        assert [each.path for each in tool.walk()] == [
            ("tool",),
            ("tool", "make"),
            ("tool", "deep"),
            ("tool", "deep", "down"),
            ("tool", "deep", "drop"),
        ]
        make = tool.commands[0]
        options = {option.long: option for option in make.options}
        assert set(options) == {"--help", "--verbose", "--colour", "--into", "--tag"}
        assert options["--verbose"].flags == ("-v", "--verbose")
        assert options["--verbose"].value == ""
        assert options["--colour"].choices == ("red", "green")
        assert options["--colour"].help == "of it (red)"
        assert options["--into"].completes == "folder"
        assert options["--into"].required
        assert options["--tag"].repeatable
        assert make.arguments[0].completes == "file"
        assert make.arguments[0].many

    def test_own_commands_are_all_there(self) -> None:
        own = read_parser(build_parser())
        assert [each.name for each in own.commands] == list(COMMANDS)


class TestPage:
    def test_has_everything(self) -> None:
        page = man_page(read_parser(sample()), sections=[Section("Exit status", [("0", "Fine.")])])
        for words in (
            ".SH NAME",
            r"tool \- Does things",
            '.SS "tool make"',
            r"\fB\-v\fR, \fB\-\-verbose\fR",
            r"\fB\-\-into\fR\ \fIDIR\fR",
            r"[\fB\-\-tag\fR\ \fITAG\fR]...",
            '.SS "tool deep drop"',
            '.SH "EXIT STATUS"',
        ):
            assert words in page, words
        assert "secret" not in page

    def test_a_line_that_begins_with_a_dot_is_text(self) -> None:
        parser = argparse.ArgumentParser(prog="tool", description="Reads.\n\n.profile is read.")
        assert "\n\\&.profile is read." in man_page(read_parser(parser))

    @needs("mandoc")
    def test_mandoc_has_no_complaint(self, tmp_path: Path) -> None:
        page = tmp_path / "tool.1"
        page.write_text(man_page(read_parser(build_parser())))
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
        # Without a date, so that it is the same bytes every time.
        told = [line for line in lint.stdout.splitlines() if "missing date" not in line]
        assert (told, lint.stderr) == ([], "")

    @needs("mandoc")
    def test_reads_as_it_was_written(self, tmp_path: Path) -> None:
        page = tmp_path / "tool.1"
        page.write_text(man_page(read_parser(sample())))
        shown = subprocess.run(
            ["mandoc", "-T", "ascii", "-O", "width=200", page], capture_output=True, text=True, check=True
        ).stdout
        plain = "".join(
            each for at, each in enumerate(shown) if each != "\b" and shown[at + 1 : at + 2] != "\b"
        )
        assert "tool make .hidden -v" in plain
        assert "where it's configured: [always]" in plain


def bash(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    code = f"""
        source {script}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        compopt() {{ :; }}  # works only while completing
        _tool
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True, check=True)
    return found.stdout.split()


def fish(script: Path, line: str) -> list[str]:
    """What fish offers at the end of the line."""
    code = f"source {script}; complete -C '{line}'"
    environment = {**os.environ, "HOME": str(script.parent), "XDG_CONFIG_HOME": str(script.parent)}
    found = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return [each.split("\t")[0] for each in found.stdout.splitlines()]


def zsh(script: Path, line: str) -> list[str]:
    """What zsh offers at the end of the line, in a terminal of its own."""
    out = script.parent / "offered"
    out.write_text("")
    setup = script.parent / "setup.zsh"
    setup.write_text(
        f"fpath=({script.parent} $fpath)\n"
        "autoload -Uz compinit; compinit -D -u\n"
        "autoload -Uz _tool; compdef _tool tool\n"
        # Write down what is offered, besides offering it.
        'compadd() { builtin compadd "$@"; local -a found; '
        f'builtin compadd -A found "$@"; print -rl -- $found >> {out}; }}\n'
        "PS1='at your command'\n"
    )
    ours, theirs = os.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        os.write(ours, f"source {setup}\n".encode())
        # The prompt shows once the editor reads; a key before that may be lost.
        read_until(ours, b"at your command")
        os.write(ours, f"{line}\t".encode())
        os.write(ours, b"\x15print fin''ished\n")
        read_until(ours, b"finished")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
    return out.read_text().split()


def read_until(terminal: int, words: bytes) -> None:
    """Read from a terminal until these words were shown."""
    shown = b""
    while words not in shown:
        ready, _, _ = select.select([terminal], [], [], 30.0)
        assert ready, shown
        shown += os.read(terminal, 4096)


class TestBash:
    @pytest.fixture
    def script(self, tmp_path: Path) -> Path:
        script = tmp_path / "tool"
        script.write_text(bash_completion(read_parser(sample())))
        return script

    @needs("bash")
    def test_offers_what_fits(self, script: Path, tmp_path: Path) -> None:
        assert bash(script, "tool", "") == ["make", "deep"]
        assert bash(script, "tool", "ma") == ["make"]
        assert bash(script, "tool", "deep", "d") == ["down", "drop"]
        assert bash(script, "tool", "deep", "drop", "") == ["all", "half"]
        assert bash(script, "tool", "make", "--c") == ["--colour"]
        assert bash(script, "tool", "make", "--colour", "g") == ["green"]
        (tmp_path / "there").mkdir()
        assert bash(script, "tool", "make", "--into", f"{tmp_path}/th") == [f"{tmp_path}/there"]

    @needs("bash")
    def test_passes_over_the_values_of_options(self, script: Path) -> None:
        assert bash(script, "tool", "--config", "make", "de") == ["deep"]
        assert bash(script, "tool", "--config", "make", "make", "--ver") == ["--verbose"]

    @needs("shellcheck")
    def test_shellcheck_has_no_complaint(self, script: Path) -> None:
        done = subprocess.run(
            ["shellcheck", "--shell=bash", script], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""


class TestFish:
    @needs("fish")
    def test_offers_what_fits(self, tmp_path: Path) -> None:
        script = tmp_path / "tool.fish"
        script.write_text(fish_completion(read_parser(sample())))
        assert fish(script, "tool ") == ["deep", "make"]
        assert fish(script, "tool deep d") == ["down", "drop"]
        assert fish(script, "tool deep drop ") == ["all", "half"]
        assert "--colour" in fish(script, "tool make --")
        assert fish(script, "tool make --colour ") == ["green", "red"]
        assert fish(script, "tool --config make de") == ["deep"]


class TestZsh:
    @needs("zsh")
    def test_offers_what_fits(self, tmp_path: Path) -> None:
        script = tmp_path / "_tool"
        script.write_text(zsh_completion(read_parser(sample())))
        assert {"make", "deep"} <= set(zsh(script, "tool "))
        assert {"down", "drop"} <= set(zsh(script, "tool deep "))
        assert {"all", "half"} <= set(zsh(script, "tool deep drop "))
        assert "--colour" in zsh(script, "tool make --c")
        assert {"red", "green"} <= set(zsh(script, "tool make --colour "))
        assert "drop" in zsh(script, "tool --config make deep dr")


def test_what_is_shipped_is_what_the_parser_says() -> None:
    for name, text in files().items():
        shipped = ROOT / name
        assert shipped.is_file(), f"{name} is missing: make man completions"
        assert shipped.read_text("utf-8") == text, f"{name} is old: make man completions"
