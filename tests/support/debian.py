"""A bare Debian that boots: what debootstrap makes, a little that every installation has, nothing prepared.

Its packages are fetched once and kept below $XDG_CACHE_HOME; each machine is a copy. Needs root,
systemd-nspawn, debootstrap and, the first time, a Debian mirror (KILLSYNCD_TEST_DEBIAN_MIRROR).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from tests.support import machine
from tests.support.machine import ROOT

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""By the Python they have: what is built here is for the Python that it is built with."""
MIRROR = os.environ.get("KILLSYNCD_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
# What debootstrap leaves out and every installed Debian has.
PACKAGES = ("systemd-sysv", "dbus", "libpam-systemd", "libnss-systemd", "sudo", "python3", "man-db", "procps")
PREPARE = """\
set -e
useradd --create-home --shell /bin/bash --groups sudo me
echo 'me ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/me
echo '127.0.0.1 localhost kills' > /etc/hosts
# Only these would want a network by themselves.
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer
apt-get clean
# What the documents have their reader install is fetched and not installed: inside there is no network.
apt-get -qq install --yes --download-only git make python3-venv postgresql
"""
WRAPPER = """\
#!/bin/sh
export PYTHONPATH=/opt/killsyncd:/opt/site
exec /usr/bin/python3 -m killsyncd "$@"
"""
PYTHON = "/usr/bin/python3"


def binary() -> Path | None:
    """The single-file executable to install, where one is named (KILLSYNCD_TEST_BINARY)."""
    named = os.environ.get("KILLSYNCD_TEST_BINARY", "")
    return ROOT / named if named else None


def package() -> Path | None:
    """The Debian package beside it."""
    found = sorted((ROOT / "dist").glob("killsyncd_*.deb")) if binary() else []
    return found[-1] if found else None


@cache
def why_not() -> str:
    """Why there is none here; empty when there is."""
    if reason := machine.why_not():
        return reason
    if shutil.which("debootstrap") is None:
        return "debootstrap is not installed"
    if sys.version_info[:2] not in SUITES:
        return f"no Debian has Python {sys.version_info[0]}.{sys.version_info[1]}"
    try:
        base()
    except subprocess.CalledProcessError as error:
        return f"no Debian could be made from {MIRROR}: {error.stdout.decode('utf-8', 'replace')[-300:]}"
    return ""


def base() -> Path:
    """The folder with the packages, made when it is missing."""
    suite = SUITES[sys.version_info[:2]]
    recipe = hashlib.sha256("\n".join((MIRROR, *PACKAGES, PREPARE)).encode()).hexdigest()[:12]
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cached) / "killsyncd-tests"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{suite}-{recipe}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = Path(tempfile.mkdtemp(prefix=f".{suite}-", dir=folder))
            try:
                _make(suite, part)
                part.chmod(0o755)
                part.rename(made)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return made


def _make(suite: str, folder: Path) -> None:
    include = f"--include={','.join(PACKAGES)}"
    for words in (
        ["debootstrap", "--variant=minbase", include, suite, str(folder), MIRROR],
        ["chroot", str(folder), "/bin/sh", "-c", PREPARE],
    ):
        subprocess.run(
            words,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
        )


class Debian:
    """How such a machine is laid out and run (`machine.Layout`)."""

    python = PYTHON
    environment = "PYTHONPATH=/opt/killsyncd:/opt/site"
    folder = "/home/me/killsyncd"

    def build(self, root: Path) -> None:
        """A copy of the bare Debian, with a checkout in which `make binary` and `make deb` were run."""
        root.rmdir()
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base()), str(root)], check=True)
        for name in ("proof", "opt/site", "opt/killsyncd"):
            (root / name).mkdir()
        (root / "etc/machine-id").write_text("uninitialized\n")
        (root / "etc/hostname").write_text("kills\n")  # debootstrap takes this machine's
        # There is a loopback and nothing else, which nobody shall wait for.
        (root / "etc/systemd/system/systemd-networkd-wait-online.service").symlink_to("/dev/null")
        checkout = root / self.folder[1:]
        for name in ("systemd", "share", "docs"):
            shutil.copytree(ROOT / name, checkout / name)
        executable = checkout / "dist/killsyncd"
        executable.parent.mkdir()
        if found := binary():
            shutil.copy(found, executable)
        else:
            executable.write_text(WRAPPER)
        executable.chmod(0o755)
        if found := package():
            shutil.copy(found, executable.parent)
        owner = (root / "home/me").stat()
        for each in (checkout, *checkout.rglob("*")):
            os.chown(each, owner.st_uid, owner.st_gid)

    def words(self, root: Path) -> list[str]:
        """Options for systemd-nspawn."""
        site = sysconfig.get_paths()["purelib"]
        return ["--hostname=kills", f"--bind-ro={site}:/opt/site", f"--bind-ro={ROOT}:/opt/killsyncd"]
