"""What is shipped: sdist and wheel, the same bytes every time, and whole; and the single-file executable."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import free_port

ROOT = Path(__file__).parents[2]
BINARY = os.environ.get("KILLSYNCD_TEST_BINARY", "")
pytestmark = [pytest.mark.slow(60), pytest.mark.timeout(300), pytest.mark.xdist_group("packages")]


def checkout(folder: Path) -> Path:
    """The project as git would hand it out, in another place and with other times."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    if not any(names):
        pytest.skip("this is no git checkout: what belongs to the project cannot be told")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return folder


def build(project: Path, out: Path, environ: Mapping[str, str]) -> dict[str, bytes]:
    """Build both from a folder; their bytes by name."""
    pytest.importorskip("build", reason="build is not installed: make venv")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {each.name: each.read_bytes() for each in out.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel."""
    folder = tmp_path_factory.mktemp("packages")
    build(checkout(folder / "project"), folder / "dist", {})
    return folder / "dist"


def test_builds_the_same_bytes_every_time(built: Path, tmp_path: Path) -> None:
    other = checkout(tmp_path / "another place")
    for file in other.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
        if file.is_file():
            file.chmod(0o755 if os.access(file, os.X_OK) else 0o600)  # as a strict umask leaves them
    again = build(other, tmp_path / "dist", {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"})
    assert set(again) == {each.name for each in built.iterdir()}
    for name, content in again.items():
        assert content == (built / name).read_bytes(), f"{name} differs from one build to the next"


def test_the_wheel_is_whole(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for file in (ROOT / "killsyncd").rglob("*"):
        name = str(file.relative_to(ROOT))
        if file.is_file() and "__pycache__" not in name and not ignored(file):
            assert name in inside, f"{name} is not in the wheel"
    shared = {re.sub(r"^[^/]+\.data/data/", "", each) for each in inside if ".data/data/" in each}
    assert "share/man/man1/killsyncd.1" in shared
    assert "share/killsyncd/systemd/killsyncd.service" in shared
    assert not [each for each in inside if each.startswith(("tests", "bench"))]


def ignored(file: Path) -> bool:
    return not subprocess.run(["git", "check-ignore", "-q", file], cwd=ROOT, check=False).returncode


def test_the_sdist_is_whole(built: Path) -> None:
    """Everything that is needed to build, test and read; and a wheel built from it is the same."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {each.partition("/")[2] for each in tar.getnames()}
    for file in (
        "Makefile",
        "README.md",
        "systemd/killsyncd.service",
        "docs/install.md",
        "tests/support/daemon.py",
    ):
        assert file in names, f"{file} is not in the sdist"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for place in wanted["wheel"]["shared-data"]:
        assert any(each == place or each.startswith(f"{place}/") for each in names), place


def test_an_installed_wheel_works(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)),
        ],
        check=True,
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "site")}
    smoke([sys.executable, "-m", "killsyncd"], environ, tmp_path)


def test_the_debian_package_is_the_same_bytes_every_time(built: Path, tmp_path: Path) -> None:
    """From another place, at another time, by another umask: dpkg-deb alone, nothing is fetched."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    (wheel,) = built.glob("*.whl")
    digests = []
    for umask, place in ((0o022, "one"), (0o077, "another place")):
        project = checkout(tmp_path / place)
        app = tmp_path / f"app-{umask}"
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
        ]
        subprocess.run([*install, "--target", str(app), str(wheel)], check=True)
        subprocess.run(
            [project / "packaging/deb/build", sys.executable, app, tmp_path / f"dist-{umask}"],
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
            umask=umask,
            check=True,
        )
        (package,) = (tmp_path / f"dist-{umask}").glob("killsyncd_*.deb")
        digests.append(package.read_bytes())
    assert digests[0] == digests[1]
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True)
    assert "root/root" in listed.stdout
    for name in ("usr/bin/killsyncd", "usr/lib/systemd/system/killsyncd.service", "man/man1/killsyncd.1.gz"):
        assert name in listed.stdout
    assert "__pycache__" not in listed.stdout


@pytest.mark.skipif(
    not BINARY, reason="no binary to test: make binary, then KILLSYNCD_TEST_BINARY=dist/killsyncd"
)
def test_the_single_file_works(tmp_path: Path) -> None:
    binary = tmp_path / "a place with spaces" / "killsyncd"
    binary.parent.mkdir()
    shutil.copy(ROOT / BINARY, binary)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([binary, "--version"], env=environ, check=True)
    root = tmp_path / ".cache/killsyncd"
    (ours,) = [each.parent for each in root.glob("venvs/*/*/*/pyvenv.cfg")]
    # An older build, with wheels that only it needs.
    older = ours.parent.with_name("older") / "build"
    shutil.copytree(ours, older, symlinks=True)
    wheel = root / "installed_wheels/3/outdated"
    wheel.mkdir()
    smoke([str(binary)], environ, tmp_path)
    assert not older.exists(), "the demo leaves an older build behind"
    assert not wheel.exists(), "the demo leaves what an older build alone needed"
    subprocess.run(
        [binary, str(tmp_path / "prefix")], env={**environ, "PEX_MODULE": "killsyncd.cli.manual"}, check=True
    )
    assert (tmp_path / "prefix/share/man/man1/killsyncd.1").is_file()


def smoke(killsyncd: list[str], environ: Mapping[str, str], folder: Path) -> None:
    """Starts, answers, and the demo brings a mail home and ends cleanly."""
    version = subprocess.run(
        [*killsyncd, "--version"], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"killsyncd \d+\.\d+\.\d+\S*\n", version.stdout)
    nobody = subprocess.run(
        [*killsyncd, "ctl", "status"], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert nobody.returncode == 69, nobody.stderr
    demo = subprocess.Popen(
        [*killsyncd, "demo", "--port", str(free_port()), "--pilots", "2", "--state", str(folder / "demo")],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    said = []
    try:
        for line in demo.stdout:
            said.append(line)
            if "saved" in line:
                break
        else:
            raise AssertionError(f"the demo saved nothing:\n{''.join(said)}")
        demo.send_signal(signal.SIGINT)
        said.append(demo.communicate(timeout=60)[0])
        assert demo.returncode == 0, "".join(said)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
