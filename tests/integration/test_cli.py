"""The executable, in processes of its own: words, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd import __version__
from killsyncd.cli.command import out_json
from killsyncd.cli.ctl import VERBS
from killsyncd.cli.main import COMMANDS
from tests.support.command_line import configured
from tests.support.control_world import ControlWorld, control_world, execute


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


async def test_version_and_help(tmp_path: Path) -> None:
    ended = await execute("--version")
    assert (ended.code, ended.out) == (0, f"killsyncd {__version__}\n")
    ended = await execute("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert f"\n    {name}" in ended.out


@pytest.mark.parametrize(
    "name", [each for each in COMMANDS if each not in ("demo", "simulate", "migrate-store")]
)
async def test_every_command_has_help_with_examples(name: str) -> None:
    ended = await execute(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "--config FILE" in ended.out
    assert "examples:" in ended.out


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_has_help_with_examples(verb: str) -> None:
    ended = await execute("ctl", verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "--json" in ended.out
    assert "--socket PATH" in ended.out
    assert "examples:" in ended.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("dance",),
        ("ctl",),
        ("ctl", "dance"),
        ("ctl", "status", "--jsn"),
        ("backup",),
        ("login", "--timeout", "soon"),
        ("ctl", "explain", "x", "--socket", "/nowhere"),
        ("ctl", "retry", "1", "x", "--socket", "/nowhere"),
        ("export", "--since", "yesterday"),
        ("export", "--since", ""),
        ("export", "--format", "csv", "--json"),
        ("simulate", "--port", "70000"),
        ("simulate", "--window", "nan"),
        ("simulate", "--latency", "-1"),
        ("demo", "--port", "0"),
        ("demo", "--port", "70000"),
        ("demo", "--pilots", "-1"),
        ("demo", "--speed", "0"),
        ("demo", "--speed", "inf"),
    ],
)
async def test_words_that_do_not_fit_end_with_2(words: tuple[str, ...]) -> None:
    ended = await execute(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


async def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = await execute("demo", "--port", port)
        assert (ended.code, ended.out) == (1, "")
        assert port in ended.err
        assert "--port N" in ended.err
    (tmp_path / "file").touch()
    ended = await execute("demo", "--port", port, "--state", str(tmp_path / "file"))
    assert (ended.code, ended.out) == (1, "")
    assert "--state" in ended.err
    assert "Traceback" not in ended.err


async def test_a_demo_says_what_its_daemon_refuses(tmp_path: Path) -> None:
    (tmp_path / "killsyncd.db").write_bytes(b"no database" * 1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ended = await execute("demo", "--port", port, "--state", str(tmp_path))
    assert ended.code == 78
    assert "killsyncd.db" in ended.err
    assert "Traceback" not in ended.err


async def test_no_daemon_ends_with_69(tmp_path: Path) -> None:
    ended = await execute("ctl", "status", "--socket", str(tmp_path / "none"), "--json")
    assert (ended.code, ended.out) == (69, "")
    assert "not there" in ended.err
    ended = await execute("ctl", "status", folder=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert ended.code == 69
    assert f"{tmp_path}/killsyncd/killsyncd.sock ($XDG_RUNTIME_DIR)" in ended.err
    ended = await execute("login", "--socket", str(tmp_path / "none"))
    assert ended.code == 69


async def test_config_stands_before_or_after_the_command(served: ControlWorld) -> None:
    path = served.folder / "my.toml"
    path.write_text(f'[control]\nsocket = "{served.socket}"\n')
    for words in (("--config", str(path), "ctl", "users"), ("ctl", "users", "--config", str(path))):
        assert (await execute(*words)).code == 0
    assert (await execute("ctl", "--config", str(path), "--json", "users")).json == {"users": []}
    ended = await execute("ctl", "users", "--config", str(served.folder / "missing.toml"))
    assert ended.code == 78
    assert "no such file" in ended.err
    path.write_text("[control")
    ended = await execute("ctl", "users", "--config", str(path))
    assert ended.code == 78
    assert "is not TOML" in ended.err


async def test_a_configuration_that_does_not_hold_ends_with_78(tmp_path: Path) -> None:
    path = tmp_path / "killsyncd.toml"
    path.write_text("[sso]\nclient = 1\n")
    for command in (("run",), ("export",), ("rotate-key",), ("restore", "x.tar")):
        ended = await execute(*command, "--config", str(path))
        assert ended.code == 78, command
        assert "client_id" in ended.err
        assert "Traceback" not in ended.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["killsyncd.toml"]


@pytest.mark.parametrize(
    "words",
    [
        ("import", "/nowhere/\x1b[31m"),
        ("ctl", "status", "--socket", "/nowhere/\x1b]0;x\x07"),
        ("check\x1b[31m",),
        ("ctl", "retry", "\x1b[31m", "--socket", "/nowhere"),
        ("restore", "/nowhere/\x9b31m"),
    ],
)
async def test_errors_print_no_control_characters(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = configured(tmp_path)
    ended = await execute(*words, **{"KILLSYNCD_CONFIG": str(path)})
    assert ended.code != 0
    assert not [each for each in ended.err + ended.out if not each.isprintable() and each != "\n"]


async def test_json_lets_no_control_character_through(capsys: pytest.CaptureFixture[str]) -> None:
    out_json({"name": "a\x9b31m\x1b\u2028"})
    told = capsys.readouterr().out
    assert told.rstrip("\n").isprintable()
    assert json.loads(told) == {"name": "a\x9b31m\x1b\u2028"}
