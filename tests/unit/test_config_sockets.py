"""Where `ctl` looks for the daemon's socket, also for who cannot read the daemon's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from killsyncd.config import control_sockets
from killsyncd.config import paths as places


@pytest.fixture(autouse=True)
def no_system_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a killsyncd installed."""
    monkeypatch.setattr(places, "SYSTEM_DIRECTORY", tmp_path / "etc")


def paths(path: Path | None, environ: dict[str, str]) -> list[str]:
    return [str(each.path) for each in control_sockets(path, {"HOME": "/nowhere", **environ})]


def test_order() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/a", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert paths(None, environ) == [
        "/run/a/killsyncd.sock",
        "/run/user/7/killsyncd/killsyncd.sock",
        "/run/killsyncd/killsyncd.sock",
    ]


def test_without_any_directory_the_state_is_last() -> None:
    assert paths(None, {}) == [
        "/run/killsyncd/killsyncd.sock",
        "/nowhere/.local/state/killsyncd/killsyncd.sock",
    ]


def test_the_configurations_goes_first_even_if_the_rest_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "killsyncd.toml"
    file.write_text('[esi]\nnonsense = 1\n[control]\nsocket = "$STATE/mine.sock"\n')
    found = control_sockets(file, {"HOME": "/nowhere"})
    assert str(found[0].path) == "/nowhere/.local/state/killsyncd/mine.sock"
    assert found[0].why == f"control.socket of {file}"


def test_a_file_that_cannot_be_used_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    for content in (
        b"[control",
        b"\xff",
        b"control = 3",
        b"[control]\nsocket = 3",
        b'[control]\nsocket = "$NO/x"',
    ):
        broken.write_bytes(content)
        assert paths(broken, {}) == paths(None, {})
    assert paths(tmp_path, {}) == paths(None, {})


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    assert paths(None, {"KILLSYNCD_CONTROL_SOCKET": "/x/y.sock"})[0] == "/x/y.sock"
