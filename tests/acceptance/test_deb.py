"""The Debian package in a booted Debian: installed, updated, taken back, removed, purged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_systemd_unit import EXPOSURE
from tests.support import debian, machine

STATE = "/var/lib/private/killsyncd"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script inside saw."""
    machine.needed(debian.why_not())
    if debian.package() is None:
        machine.needed("no package to test: make binary deb, then KILLSYNCD_TEST_BINARY=dist/killsyncd")
    root = tmp_path_factory.mktemp("machine") / "root"
    root.mkdir()
    found = machine.run_inside(root, Path(__file__).with_name("inside_package.py"), layout=debian.Debian())
    assert "failed" not in found, f"{found['failed']}\n{found['journal']}"
    return found


@pytest.mark.slow(120)
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("deb")
class TestThePackage:
    def test_it_is_not_started_before_it_is_configured(self, life: dict[str, Any]) -> None:
        assert life["install"]["code"] == 0, life["install"]
        assert life["not_started"] == {"ActiveState": "inactive", "UnitFileState": "disabled"}
        assert "sudo killsyncd-maintain check" in life["install"]["out"]

    def test_it_starts_as_tight_as_by_hand(self, life: dict[str, Any]) -> None:
        assert (life["check"]["code"], life["start"]["code"]) == (0, 0), life["check"]
        assert life["running"]["ActiveState"] == "active"
        exposure = re.search(r"exposure level for \S+: ([0-9.]+)", life["exposure"]["out"])
        assert exposure is not None
        assert float(exposure[1]) * 10 <= EXPOSURE

    def test_nothing_unpacks_itself(self, life: dict[str, Any]) -> None:
        assert life["cache"] == ""
        assert int(life["compiled"]) > 100  # when it is installed, not by whoever calls it first
        assert all(line.split()[1] == "root" for line in life["modes"].splitlines())

    def test_an_update_restarts_it_and_so_does_going_back(self, life: dict[str, Any]) -> None:
        assert (life["update"]["code"], life["version"]) == (0, "99.0"), life["update"]
        assert life["kept_configuration"]
        assert life["updated"]["ActiveState"] == "active"
        assert life["updated"]["MainPID"] not in ("0", life["running"]["MainPID"])
        assert life["back"]["code"] == 0, life["back"]
        assert life["taken_back"]["ActiveState"] == "active"
        assert life["taken_back"]["MainPID"] != life["updated"]["MainPID"]

    def test_removed_it_keeps_configuration_and_state(self, life: dict[str, Any]) -> None:
        assert life["remove"]["code"] == 0, life["remove"]
        assert "/etc/killsyncd/killsyncd.toml" in life["removed"]
        assert not [each for each in life["removed"] if each.startswith(("/usr/", "/etc/systemd/"))]
        assert life["again"]["code"] == 0
        assert life["stored_again"] == life["stored"] > 0

    def test_purged_it_leaves_nothing_but_the_state(self, life: dict[str, Any]) -> None:
        assert life["purge"]["code"] == 0, life["purge"]
        rest = [each for each in life["purged"] if not each.startswith(STATE)]
        assert rest == [
            "/etc/killsyncd",  # for the key that somebody put there: without it the state is worth less
            "/etc/killsyncd/killsyncd.key",
            "/var/lib/killsyncd",
            "/var/lib/killsyncd-backups",
        ]
        assert f"{STATE} stays" in life["purge"]["out"]
