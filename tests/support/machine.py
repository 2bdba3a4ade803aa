"""A small machine with a real systemd in it, for the service's own tests: systemd-nspawn over an empty root.

Nothing of this machine is in it but /usr, the interpreter and the project, all read-only; it has a network
of its own with a loopback alone. Needs root and systemd-nspawn (Debian: systemd-container).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PROOF_UNIT = """\
[Unit]
Description=The test inside the machine
After=basic.target systemd-journald.service
Requires=basic.target
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart={python} /proof/inside.py
Environment={environment} PYTHONDONTWRITEBYTECODE=1
Environment=USER=me HOME=/root
WorkingDirectory={folder}
StandardOutput=file:/proof/said
StandardError=inherit
ExecStopPost=/usr/bin/systemctl --no-block --force poweroff
"""
WRAPPER = """\
#!/bin/sh
export PYTHONPATH=/opt/killsyncd:/opt/site LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -m killsyncd "$@"
"""


SUDO = '#!/bin/sh\nexec "$@"\n'


class Layout(Protocol):
    """What a machine is made of.

    python: the interpreter inside, which sees the project by `environment`. folder: the checkout, where
    commands are run.
    """

    python: str
    environment: str
    folder: str

    def build(self, root: Path) -> None:
        """Lay out an empty root directory: a checkout in which `make binary` was run."""

    def words(self, root: Path) -> list[str]:
        """Options for systemd-nspawn."""


class Borrowed:
    """This machine's own /usr under an empty root: there in a moment, and without a network."""

    python = "/opt/python/bin/python3"
    environment = "PYTHONPATH=/opt/killsyncd:/opt/site LD_LIBRARY_PATH=/opt/python/lib"
    folder = "/checkout"

    def build(self, root: Path) -> None:
        """As `Layout`."""
        _lay_out(root)

    def words(self, root: Path) -> list[str]:
        """As `Layout`."""
        binds = {
            sys.base_prefix: "/opt/python",
            sysconfig.get_paths()["purelib"]: "/opt/site",
            str(ROOT): "/opt/killsyncd",
        }
        return [
            "--bind-ro=/usr",
            *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
            # Where the documents install to; /usr itself is this machine's.
            f"--bind={root}/opt/bin:/usr/local/bin",
        ]


def _lay_out(root: Path) -> None:
    for name in ("usr", "etc/systemd/system", "var/lib", "run", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("proc", "sys", "dev", "root", "home", "proof", "opt/python", "opt/site", "opt/killsyncd"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    etc = root / "etc"
    (etc / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    )
    (etc / "group").write_text("root:x:0:\nme:x:1000:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\nhosts: files dns\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "machine-id").write_text("uninitialized\n")
    (etc / "os-release").write_bytes(Path("/etc/os-release").read_bytes())
    if Path("/etc/alternatives").exists():  # awk and others are links that lead there and back
        shutil.copytree("/etc/alternatives", etc / "alternatives", symlinks=True)
    if Path("/etc/ld.so.cache").exists():
        (etc / "ld.so.cache").write_bytes(Path("/etc/ld.so.cache").read_bytes())
    # There is a loopback and nothing else; and what else is installed here shall not start there.
    for unit in ("systemd-networkd-wait-online.service", "timers.target", *sockets_of_this_machine()):
        (etc / "systemd/system" / unit).symlink_to("/dev/null")
    shutil.copytree(ROOT / "systemd", root / "checkout/systemd")
    for name, text in (("checkout/dist/killsyncd", WRAPPER), ("opt/bin/sudo", SUDO)):
        script = root / name
        script.parent.mkdir()
        script.write_text(text)
        script.chmod(0o755)


def sockets_of_this_machine() -> list[str]:
    """Socket units of packages that are installed here, systemd's own aside."""
    folder = Path("/usr/lib/systemd/system/sockets.target.wants")
    own = ("systemd-", "dbus.")
    return [each.name for each in folder.glob("*.socket") if not each.name.startswith(own)]


def boot(root: Path, layout: Layout, *, timeout: float) -> str:
    """Boot it; returns what the console showed when it has powered itself off."""
    words = [
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"),
        # Otherwise named after its folder, as is every other that runs just now.
        f"--machine=killsyncd-{os.getpid()}",
        *("--console=pipe", f"--directory={root}", f"--bind={root}/proof:/proof"),
        *layout.words(root),
        *("--boot", "systemd.unit=proof.service"),
    ]
    machine = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        return machine.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        # Its init does not end with systemd-nspawn.
        for each in psutil.Process(machine.pid).children():
            each.kill()
        return f"it did not power itself off within {timeout:g} s\n{machine.communicate()[0]}"


def run_inside(
    root: Path, script: Path, given: Any = None, *, layout: Layout | None = None, timeout: float = 300.0
) -> dict[str, Any]:
    """Boot a machine, run a script in it as root, and return what it wrote to /proof/result.json.

    given: JSON that the script finds in /proof/given.json. layout: `Borrowed` unless told otherwise.
    """
    layout = layout or Borrowed()
    layout.build(root)
    unit = PROOF_UNIT.format(python=layout.python, environment=layout.environment, folder=layout.folder)
    (root / "etc/systemd/system/proof.service").write_text(unit)
    (root / "proof/given.json").write_text(json.dumps(given))
    shutil.copy(script, root / "proof/inside.py")
    shutil.copy(Path(__file__).with_name("machine_inside.py"), root / "proof/kit.py")
    console = boot(root, layout, timeout=timeout)
    result = root / "proof/result.json"
    said = root / "proof/said"
    assert result.exists(), (
        f"the script inside wrote no result\n{said.read_text() if said.exists() else 'and said nothing'}\n"
        f"{console[-3000:]}"
    )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


@cache
def why_not() -> str:
    """Why no such machine can be booted here; empty when one can."""
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn (Debian: systemd-container) is not installed"
    if os.geteuid() != 0:
        return "booting a machine with systemd-nspawn needs root"
    probe = subprocess.run(
        [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"),
            *("--volatile=yes", "--console=pipe", "--directory=/", "--as-pid2", "/usr/bin/true"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        return f"systemd-nspawn does not work here: {probe.stderr.strip()[-300:]}"
    return ""


def needed(reason: str | None = None) -> None:
    """Leave the test out where no machine can be booted; fail it where machines are required, as in CI.

    reason: why it cannot be had, if the test needs another than a borrowed one; empty when it can.
    """
    if reason := why_not() if reason is None else reason:
        if os.environ.get("KILLSYNCD_TEST_REQUIRE_MACHINE") == "1":
            pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_MACHINE=1", pytrace=False)
        pytest.skip(reason)
