"""killsyncd-maintain, credentials and the nightly backup under a real systemd; what root may be led to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_systemd_unit import EXPOSURE, needs_analyze
from tests.support import machine
from tests.support.unit_file import UNIT, read_unit

BACKUP = UNIT.with_name("killsyncd-backup.service")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script inside the booted machine saw."""
    machine.needed()
    root = tmp_path_factory.mktemp("machine") / "root"
    root.mkdir()
    result = machine.run_inside(root, Path(__file__).with_name("inside_maintenance.py"))
    assert "failed" not in result, f"{result['failed']}\n{result['journal']}"
    return result


def exposure(said: dict[str, Any]) -> int:
    """In tenths."""
    match = re.search(r"exposure level for \S+: ([0-9.]+)", said["out"])
    assert match is not None, said
    return round(float(match[1]) * 10)


@pytest.mark.slow(30)
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("maintenance")
class TestCredentials:
    def test_without_them_the_unit_is_refused(self, found: dict[str, Any]) -> None:
        assert found["check_without"]["code"] == 78
        assert "[api] token_file: is required" in found["check_without"]["out"]

    def test_the_first_start_takes_the_key_and_makes_none(self, found: dict[str, Any]) -> None:
        assert (found["check"]["code"], found["first_start"]["code"]) == (0, 0), found["check"]
        assert found["first"] == {"ActiveState": "active", "ExecMainStatus": "0"}
        assert found["own_key"] is False

    def test_the_key_is_rotated_where_only_root_may_write(self, found: dict[str, Any]) -> None:
        assert found["busy"]["code"] == 78
        assert found["rotate"]["code"] == 0, found["rotate"]
        assert found["key"]["out"].split()[:2] == ["600", "root"]
        assert "first" not in found["key_lines"]
        assert found["left"] == ["api_token", "killsyncd.key", "killsyncd.toml"]
        assert found["rotated_start"]["code"] == 0
        (user,) = json.loads(found["users"]["out"])["users"]
        assert user["state"] == "ok"

    def test_restore(self, found: dict[str, Any]) -> None:
        assert found["restore"]["code"] == 0, found["restore"]
        assert found["restored_start"]["code"] == 0


@pytest.mark.slow(30)
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("maintenance")
class TestBackups:
    def test_they_are_made_by_the_services_user(self, found: dict[str, Any]) -> None:
        assert found["nightly"] == {**found["nightly"], "code": 0, "out": ""}
        mode, number, name = found["nightly_files"]["out"].split()[-3:]
        assert (mode, name) == ("600", "killsyncd-daemon")
        assert 61184 <= int(number) <= 65519

    def test_without_the_daemon_too_and_old_ones_go(self, found: dict[str, Any]) -> None:
        assert found["nightly_alone"] == {**found["nightly_alone"], "code": 0, "out": ""}
        names = found["nightly_kept"]
        assert "notes" in names
        assert len([each for each in names if each.endswith(".tar")]) == 1
        assert "killsyncd-2020-01-01.tar" not in names

    def test_exposure(self, found: dict[str, Any]) -> None:
        assert exposure(found["nightly_exposure"]) <= EXPOSURE

    @needs_analyze
    def test_it_is_as_tight_as_the_daemon(self) -> None:
        """Each restriction of the daemon's unit, or a tighter one."""
        daemon, backup = read_unit(), read_unit(BACKUP)
        tighter = {"RestrictAddressFamilies": ["AF_UNIX"], "IPAddressDeny": ["any"]}
        names = [
            each for each in daemon if re.match(r"Protect|Private|Restrict|System|Capab|NoNew|IPAddr", each)
        ]
        assert len(names) > 20
        for name in (*names, "User", "Group", "DynamicUser", "UMask", "KeyringMode", "DevicePolicy"):
            assert backup[name] == tighter.get(name, daemon[name]), name


@pytest.mark.slow(30)
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("maintenance")
class TestMaintain:
    def test_root_follows_no_link_of_the_services_user(self, found: dict[str, Any]) -> None:
        assert found["trap_restore"]["code"] == 0, found["trap_restore"]
        assert found["trapped"] == []
        assert found["trap_left"] == ["folder", "restore.tar", "theirs.tar"]

    @pytest.mark.parametrize("name", ["theirs.tar", "folder/secret"])
    def test_what_lies_with_the_service_is_opened_by_its_user(self, found: dict[str, Any], name: str) -> None:
        said = found[f"trap_{name}"]
        assert (said["code"], "cannot be read: Permission denied" in said["err"]) == (1, True), said

    def test_files_come_in_and_go_out(self, found: dict[str, Any]) -> None:
        assert int(found["export"]["out"]) > 0
        assert found["nothing"]["code"] == 0
        # The password was read: only the server is not there.
        assert "--password-file" not in found["password"]["err"], found["password"]
        assert re.search(r"(?i)postgresql|does not answer|refused", found["password"]["err"])
        assert "not to be shown" not in found["journal_of_maintenance"]

    def test_it_may_do_no_more_than_the_service(self, found: dict[str, Any]) -> None:
        assert exposure(found["exposure"]) <= EXPOSURE
        assert re.search(r"(?m)^Cap(Eff|Prm|Bnd):\s*0+$", found["process"])
        assert re.search(r"(?m)^Seccomp:\s*2$", found["process"])
        assert found["ended"] == 0
