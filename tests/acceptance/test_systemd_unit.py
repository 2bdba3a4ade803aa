"""The service: how tight the unit is, and that the daemon works under all of it.

Two proofs. One emulates what the directives do to a process (filters of system calls, memory, mounts) and
needs little; the other boots a machine with a real systemd and takes the shipped unit through its life.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, log_in, machine, wait_for
from tests.support.unit_file import UNIT, allowed_calls, read_unit

ROOT = Path(__file__).parents[2]
EXPOSURE = 11  # tenths
HAS_ANALYZE = shutil.which("systemd-analyze") is not None
needs_analyze = pytest.mark.skipif(
    not HAS_ANALYZE, reason="systemd-analyze (Debian: systemd) is not installed"
)
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap (bubblewrap) is not installed")


class TestTheFile:
    @needs_analyze
    def test_exposure(self) -> None:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", UNIT],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @needs_analyze
    def test_systemd_understands_all_of_it(self, tmp_path: Path) -> None:
        unit = tmp_path / "killsyncd.service"
        text = UNIT.read_text().replace("/usr/local/bin/killsyncd run", "/bin/true")
        unit.write_text(text.replace("Documentation=man:killsyncd(1)\n", ""))
        done = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def test_what_others_rely_on(self) -> None:
        unit = read_unit()
        assert unit["Type"] == ["notify"]
        assert unit["RestartPreventExitStatus"] == ["78"]
        assert unit["StartLimitIntervalSec"] == ["0"]  # what ends otherwise is started again for good
        assert unit["TimeoutStopSec"] == ["35"]
        assert unit["Group"] == ["killsyncd"]
        assert unit["User"] != unit["Group"]  # a dynamic user must not bear a static group's name
        # Kept runtime directories of dynamic users lie where only root gets in.
        assert "RuntimeDirectoryPreserve" not in unit

    def test_its_configuration_names_what_the_unit_makes(self) -> None:
        import tomllib

        from killsyncd.config.configuration import Config
        from killsyncd.config.loader import from_mapping

        document: dict[str, Any] = tomllib.loads((ROOT / "systemd/killsyncd.toml").read_text())
        document["sso"]["client_id"] = "0123456789abcdef"
        document["esi"]["contact"] = "tests@killsyncd.invalid"
        config: Config = from_mapping(document, source="systemd/killsyncd.toml")
        unit = read_unit()
        state = Path("/var/lib") / unit["StateDirectory"][0]
        assert config.database.sqlite_path is not None
        assert config.database.sqlite_path.parent == config.security.key_file.parent == state
        assert config.control.socket.parent == Path("/run") / unit["RuntimeDirectory"][0]


class Confined(DaemonProcess):
    """A daemon under what the unit does to a process. mounts: also with a file system of its own (bwrap)."""

    def __init__(self, folder: Path, eve: str, *, mounts: bool) -> None:
        super().__init__(folder, eve)
        self._mounts = mounts
        self._inner = 0
        self._calls = folder / "calls"
        self._calls.write_text("\n".join(sorted(allowed_calls(read_unit()))))

    def start(self, *, wait: bool = True, timeout: float = 30.0) -> Self:
        confine = [sys.executable, "-m", "tests.support.confine", str(UNIT), str(self._calls)]
        words = [*confine, sys.executable, "-m", "killsyncd", "run", "--config", str(self.config)]
        info, write = os.pipe()
        with self.log.open("ab") as log, os.fdopen(info) as reader:
            self.process = subprocess.Popen(
                [*self._own_file_system(write), *words] if self._mounts else words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=self.folder,
                pass_fds=[write] if self._mounts else [],
            )
            os.close(write)
            self._inner = json.load(reader)["child-pid"] if self._mounts else self.process.pid
        self.wait_ready(timeout)
        return self

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40.0) -> int:
        # bwrap passes no signals on; it ends when the daemon does, with its code.
        assert self.process is not None
        os.kill(self._inner, number)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def _own_file_system(self, write: int) -> list[str]:
        """`ProtectSystem=strict`, `ProtectHome=`, `PrivateTmp=`, `PrivateDevices=`, no capabilities."""
        words = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev"]
        for folder in ("/tmp", "/var/tmp", "/home"):
            words += ["--tmpfs", folder]
        for each in {str(ROOT), sys.prefix, sys.base_prefix}:
            words += ["--ro-bind", each, each]
        words += ["--bind", str(self.folder), str(self.folder), "--cap-drop", "ALL", "--new-session"]
        return [*words, "--unshare-ipc", "--unshare-uts", "--info-fd", str(write), "--"]

    def status_of(self, name: str) -> str:
        """A line of the process's status in /proc."""
        text = Path(f"/proc/{self._inner}/status").read_text()
        match = re.search(rf"(?m)^{name}:\s*(\S+)", text)
        assert match is not None
        return match[1]


def can_filter() -> bool:
    import ctypes

    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


@needs_analyze
@pytest.mark.skipif(not can_filter(), reason="libseccomp.so.2 is not installed")
@pytest.mark.parametrize("mounts", [False, pytest.param(True, marks=needs_bwrap)], ids=["filters", "mounts"])
def test_works_under_emulated_directives(tmp_path: Path, mounts: bool) -> None:
    """Logs pilots in, syncs, answers, is backed up and stops, and asks the kernel for nothing it may not."""
    with SimulatorProcess(pilots=2, history=30) as eve:
        pilots = [each["character_id"] for each in eve.perform("pilots", {})]
        mails = {each["killmail_id"] for pilot in pilots for each in eve.mails(pilot)}
        with Confined(tmp_path / "state", eve.base_url, mounts=mounts) as daemon:
            assert daemon.status_of("NoNewPrivs") == "1"
            assert daemon.status_of("Seccomp") == "2"
            for pilot in pilots:
                log_in(daemon.url, eve.base_url, pilot)
            wait_for(lambda: daemon.stored() == len(mails), 60, lambda: daemon.tail())
            assert daemon.ctl("status")["syncing"] is True
            assert daemon.get("/metrics")[0] == 200
            backup = daemon.command("backup", "--output", str(tmp_path / "backup.tar"))
            assert backup.returncode == 0, backup.stderr
            assert daemon.stop() == 0
            said = daemon.log.read_text()
        assert not re.search(r"(?i)operation not permitted|permission denied|\"level\":\"error\"", said), said
        assert eve.perform("breaches", {}) == []


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script inside the booted machine saw."""
    machine.needed()
    root = tmp_path_factory.mktemp("machine") / "root"
    root.mkdir()
    found = machine.run_inside(root, Path(__file__).with_name("inside_service.py"))
    assert "failed" not in found, f"{found['failed']}\n{found['journal']}"
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("machine")
class TestUnderSystemd:
    """The shipped unit under a real systemd."""

    def test_starts_when_it_is_ready(self, life: dict[str, Any]) -> None:
        for step in ("setup", "check", "start"):
            assert life[step]["code"] == 0, life[step]
        assert life["running"]["ActiveState"] == "active"
        assert "killmails stored since the start" in life["running"]["StatusText"]

    def test_has_no_rights_to_speak_of(self, life: dict[str, Any]) -> None:
        status = life["process"]
        assert re.search(r"(?m)^NoNewPrivs:\s*1$", status)
        assert re.search(r"(?m)^Seccomp:\s*2$", status)
        assert re.search(r"(?m)^Cap(Eff|Prm|Bnd):\s*0+$", status)
        assert re.search(r"(?m)^Uid:\s*(6[1-5]\d{3})", status)  # the range of dynamic users
        # Its root is read-only, homes and other processes are out of sight.
        assert re.search(r" / ro,", life["mounts"])
        assert re.search(r"hidepid=invisible,subset=pid", life["mounts"])
        assert re.search(r"inaccessible/dir /root ro", life["mounts"])
        exposure = re.search(r"exposure level for killsyncd.service: ([0-9.]+)", life["exposure"]["out"])
        assert exposure is not None
        assert float(exposure[1]) * 10 <= EXPOSURE

    def test_what_it_keeps_is_its_own(self, life: dict[str, Any]) -> None:
        modes = dict(reversed(line.split(" ", 2)[::2]) for line in life["state"]["out"].splitlines())
        assert modes["killsyncd.db"] == modes["killsyncd.key"] == "600"

    def test_syncs(self, life: dict[str, Any]) -> None:
        assert life["stored"] == life["wanted"] > 0
        assert life["backup"]["code"] == 0
        assert life["export"]["out"].strip() == str(life["stored"])

    def test_members_of_the_group_may_use_ctl_and_others_may_not(self, life: dict[str, Any]) -> None:
        owners = ["killsyncd-daemon", "killsyncd"]
        assert life["socket"]["out"].split() == ["750", *owners, "660", *owners]
        assert life["member"]["code"] == 0
        assert json.loads(life["member"]["out"])["syncing"] is True
        assert life["queued"]["code"] == 0
        assert life["stranger"]["code"] == 69
        assert "join the group killsyncd" in life["stranger"]["err"]

    def test_reloads(self, life: dict[str, Any]) -> None:
        assert life["reload"]["code"] == 0
        assert life["after_reload"] == {"ActiveState": "active", "MainPID": life["running"]["MainPID"]}

    def test_restarts_and_stops_cleanly(self, life: dict[str, Any]) -> None:
        assert life["restart"]["code"] == 0
        assert life["after_restart"] == life["stored"]
        assert life["stop"]["code"] == 0
        assert life["stopped"] == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}

    def test_maintenance_runs_as_the_same_user(self, life: dict[str, Any]) -> None:
        assert life["rotate"]["code"] == 0
        assert life["restore_old_key"]["code"] == 78  # a backup of before needs the key of before
        assert life["second_start"]["code"] == 0
        assert life["second_stored"] == life["stored"]

    def test_the_watchdog_ends_what_stands_still_and_nothing_else(self, life: dict[str, Any]) -> None:
        assert life["fed"] is True
        assert life["back"] == life["stored"]

    def test_a_refused_configuration_is_not_tried_again(self, life: dict[str, Any]) -> None:
        assert life["refused_start"]["code"] != 0
        assert life["refused"] == {
            "ActiveState": "failed",
            "Result": "exit-code",
            "ExecMainStatus": "78",
            "NRestarts": "0",
        }

    def test_the_kernel_was_asked_for_nothing_it_refuses(self, life: dict[str, Any]) -> None:
        assert "Operation not permitted" not in life["journal"]
