"""The dashboard's files for themselves: what they must never hold, and the modules that need no page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.chromium import HERE, ROOT, need_node

DASHBOARD = ROOT / "killsyncd" / "api" / "web" / "dashboard"
MODULES = sorted(DASHBOARD.glob("*.js"))
SHEETS = sorted(DASHBOARD.glob("*.css"))
PAGE = DASHBOARD / "index.html"

NO_MARKUP_FROM_DATA = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser"
    r"|\beval\(|new Function"
)
ELSEWHERE = re.compile(r"https?://[^\s'\"`)]+")
KNOWN_ELSEWHERE = (
    "http://www.w3.org/2000/svg",
    "https://images.evetech.net",
    "https://github.com/enisdenjo/graphql-ws/",
)


def test_there_are_files() -> None:
    assert len(MODULES) > 20
    assert len(SHEETS) > 3


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_data_never_becomes_markup(module: Path) -> None:
    """Pilots choose their own names: they only ever become text."""
    assert NO_MARKUP_FROM_DATA.findall(module.read_text("utf-8")) == []


@pytest.mark.parametrize("file", [PAGE, *MODULES, *SHEETS], ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(file: Path) -> None:
    found = ELSEWHERE.findall(file.read_text("utf-8"))
    assert [each for each in found if not each.startswith(KNOWN_ELSEWHERE)] == []


def test_the_page_holds_no_script_and_no_style_of_its_own() -> None:
    """The content security policy would not run them."""
    text = PAGE.read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text) == []


def test_what_the_page_names_is_there() -> None:
    for name in re.findall(r"(?:src|href)=\"dashboard/([^\"]+)\"", PAGE.read_text("utf-8")):
        assert (DASHBOARD / name).is_file(), name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_every_import_is_there_and_used(module: Path) -> None:
    text = module.read_text("utf-8")
    for names, path in re.findall(r"^import \{([^}]+)\} from '\./([^']+)';$", text, re.M):
        exported = (DASHBOARD / path).read_text("utf-8")
        for name in (each.strip() for each in names.split(",")):
            assert re.search(rf"export (?:async )?(?:function|const|class|let) {name}\b", exported), (
                f"{path} has no {name}"
            )
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is imported and not used"


@pytest.mark.parametrize("file", [*MODULES, *SHEETS], ids=lambda path: path.name)
def test_files_stay_small(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 400


@pytest.mark.node
def test_modules_that_need_no_page(tmp_path: Path) -> None:
    node = need_node()
    shutil.copytree(DASHBOARD, tmp_path / "dashboard")
    shutil.copy(HERE / "units.test.mjs", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for module in sorted((tmp_path / "dashboard").glob("*.js")):
        subprocess.run([node, "--check", str(module)], check=True, capture_output=True, text=True)
    done = subprocess.run(
        [node, "--test", "units.test.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
