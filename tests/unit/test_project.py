"""What holds for the project as a whole: its files, its locks, its rooms."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import killsyncd

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("runtime", "build", "dev", "lock")


def locked(name: str) -> dict[str, str]:
    """Package to version, of a lock file; environment markers aside."""
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    return {
        match[1]: match[2] for match in re.finditer(r"(?m)^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^\s;]+)", text)
    }


class TestLocks:
    @pytest.mark.parametrize("name", LOCKS)
    def test_every_package_has_hashes_and_no_index_is_named(self, name: str) -> None:
        text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
        entries = re.split(r"(?m)^(?=[a-z0-9-]+(?:\[|==))", text)
        assert locked(name)
        for entry in filter(None, (each.strip() for each in entries)):
            assert "--hash=sha256:" in entry, entry.split("\n")[0]
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text

    def test_runtime_has_every_dependency(self) -> None:
        names = {re.split(r"[<>=\[; ]", each)[0] for each in PROJECT["project"]["dependencies"]}
        assert names <= set(locked("runtime"))

    def test_every_dependency_is_imported(self) -> None:
        names = {re.split(r"[<>=\[; ]", each)[0] for each in PROJECT["project"]["dependencies"]}
        imported = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            for file in (ROOT / "killsyncd").rglob("*.py")
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert {each.replace("-", "_") for each in names} <= {each.partition(".")[0] for each in imported}

    def test_dev_is_runtime_and_more(self) -> None:
        dev = locked("dev")
        assert {**locked("runtime"), **locked("build")}.items() <= dev.items()
        for each in ("pytest", "ruff", "mypy", "import-linter", "hypothesis"):
            assert each in dev

    def test_locks_were_remade_after_the_last_change_of_dependencies(self) -> None:
        """Every direct dependency is locked at a version its range allows."""
        packaging = pytest.importorskip("packaging.requirements")
        groups = PROJECT["dependency-groups"]
        for text in [
            *PROJECT["project"]["dependencies"],
            *(each for each in groups["dev"] if isinstance(each, str)),
        ]:
            requirement = packaging.Requirement(text)
            assert locked("dev")[requirement.name] in requirement.specifier, f"{text}: run make lock"


class TestFiles:
    def test_no_machine_is_named(self) -> None:
        """No path of whoever wrote it, no address of a package index."""
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split("\n")
        # Put together here, so that this file does not find itself.
        words = ["/" + "work/main", "pypi" + ".org", "/" + "root/."]
        for name in filter(None, files):
            file = ROOT / name
            if not file.is_file() or file.suffix in (".png", ".ico", ".woff2"):
                continue
            text = file.read_text("utf-8", "replace")
            for word in words:
                assert word not in text, f"{name} names {word}"

    def test_version_is_in_one_place(self) -> None:
        assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(a|b|rc|dev)\d+)?", killsyncd.__version__)
        assert "version" in PROJECT["project"]["dynamic"]

    @pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
    def test_help_lists_every_target(self) -> None:
        makefile = (ROOT / "Makefile").read_text("utf-8")
        phony = set(re.findall(r"(?m)^\.PHONY: (.*)$", makefile)[0].split()) - {"python"}
        shown = subprocess.run(
            ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert {line.split()[0] for line in shown.strip().split("\n")} == phony

    @pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
    @pytest.mark.parametrize("python", ["/nowhere/python3", "false"])
    def test_make_refuses_what_is_no_new_enough_python(self, tmp_path: Path, python: str) -> None:
        result = subprocess.run(
            ["make", "-s", f"PYTHON={python}", f"VENV={tmp_path}/venv", "demo"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode != 0
        assert "killsyncd needs Python 3.11 or newer" in result.stderr
        assert not (tmp_path / "venv").exists()


class TestRooms:
    """What import-linter cannot say; the rest is in pyproject.toml."""

    def modules(self) -> list[Path]:
        return sorted((ROOT / "killsyncd").rglob("*.py"))

    def test_only_config_and_the_commands_read_the_environment(self) -> None:
        for file in self.modules():
            inside = file.relative_to(ROOT / "killsyncd").parts
            if inside[0] in ("config", "cli", "__main__.py"):
                continue
            if inside == ("simulator", "process.py"):  # hands its own environment on to the process it starts
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                found = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
                assert not found, f"{file}:{getattr(node, 'lineno', 0)} reads the environment"

    def test_the_control_client_needs_only_the_standard_library(self) -> None:
        """`killsyncd ctl` starts fast: nothing installed is imported."""
        code = (
            "import sys; import killsyncd.control.client; "
            "print([each for each in sys.modules if each.partition('.')[0] not in sys.stdlib_module_names "
            "and each.partition('.')[0] not in ('killsyncd', '__main__', '_virtualenv') "
            "and not each.startswith('__editable__')])"
        )
        result = subprocess.run(
            [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == "[]"


def test_every_session_sends_a_request_once() -> None:
    """aiohttp sends a GET again by itself when its connection is lost: nobody's budget would know of it."""
    theirs = {"cli/demo_world.py"}  # a browser's
    for path in sorted((ROOT / "killsyncd").rglob("*.py")):
        if "simulator" in path.parts or str(path.relative_to(ROOT / "killsyncd")) in theirs:
            continue
        calls = [each for each in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(each, ast.Call)]
        made = [each for each in calls if ast.unparse(each.func) == "aiohttp.ClientSession"]
        wrapped = [each.args[0] for each in calls if ast.unparse(each.func).endswith("sends_once")]
        assert all(each in wrapped for each in made), f"{path}: a ClientSession outside of sends_once()"
