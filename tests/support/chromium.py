"""Chromium, headless, driven through playwright-core (driver.mjs): the little that tests need of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

HERE = Path(__file__).parents[1] / "browser"
ROOT = HERE.parents[1]
ARTIFACTS = ROOT / "artifacts" / "browser"
REQUIRED = "1" in (os.environ.get(f"KILLSYNCD_TEST_REQUIRE_{each}") for each in ("BROWSER", "NODE"))
PATIENCE = 15_000
"""Milliseconds that anything in the page may take."""


def need_node() -> str:
    """Node.js; skips without it."""
    return shutil.which("node") or _left_out("Node.js is not installed (apt-get install nodejs npm)")


def need_browser() -> str:
    """Chromium's path; skips where it, Node.js or the npm packages are missing."""
    need_node()
    found = (
        os.environ.get("KILLSYNCD_TEST_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
    )
    if not found:
        return _left_out("Chromium is not installed (apt-get install chromium)")
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return _left_out("its npm packages are not installed (npm ci --prefix tests/browser)")
    return found


def _left_out(reason: str) -> str:
    if REQUIRED:
        pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_BROWSER (or _NODE) is 1", pytrace=False)
    pytest.skip(reason)


class Chromium:
    """A browser process, as a context manager."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._driver = subprocess.Popen(
            ["node", str(HERE / "driver.mjs"), executable, str(profile)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self, **options: Any) -> Page:
        """A page with cookies and storage of its own; options as Playwright's newContext has them."""
        settings = {"viewport": {"width": 1280, "height": 900}, "colorScheme": "dark", **options}
        return Page(self, self.ask("open", options=settings))

    def ask(self, verb: str, **parameters: Any) -> Any:
        """Have the driver do something. Raises AssertionError with what it says."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"verb": verb, **parameters}) + "\n")
        self._driver.stdin.flush()
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver of the browser has ended with {self._driver.wait(10)}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer.get("value")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        try:
            self._driver.wait(20)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
        self._driver.stdout.close()


class Page:
    """One page. Selectors are Playwright's: CSS, `text=...`, `role=...`."""

    def __init__(self, browser: Chromium, number: int) -> None:
        self._browser = browser
        self._number = number

    def call(self, method: str, *args: Any) -> Any:
        """Any method of Playwright's Page, e.g. `call("keyboard.press", "Escape")`."""
        return self._browser.ask("call", page=self._number, method=method, args=args)

    def goto(self, address: str) -> None:
        """Open an address."""
        self.call("goto", address, {"timeout": PATIENCE})

    def click(self, selector: str) -> None:
        """Click what is there or comes."""
        self.call("click", selector, {"timeout": PATIENCE})

    def press(self, key: str) -> None:
        """A key, or several at once: `Shift+Tab`."""
        self.call("keyboard.press", key)

    def see(self, selector: str, patience: int = PATIENCE) -> None:
        """Wait until it is visible."""
        self.call("waitForSelector", selector, {"state": "visible", "timeout": patience})

    def miss(self, selector: str, patience: int = PATIENCE) -> None:
        """Wait until it is gone or hidden."""
        self.call("waitForSelector", selector, {"state": "hidden", "timeout": patience})

    def until(self, expression: str, patience: int = PATIENCE) -> None:
        """Wait until this JavaScript is true."""
        self._browser.ask("until", page=self._number, expression=expression, patience=patience)

    def js(self, expression: str) -> Any:
        """What this JavaScript gives."""
        return self.call("evaluate", expression)

    def text(self, selector: str) -> str:
        """The text of the first that fits, as shown."""
        return str(self.call("innerText", selector, {"timeout": PATIENCE}))

    def count(self, selector: str) -> int:
        """How many fit this CSS selector."""
        return int(self.js(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def shot(self, name: str, *, whole: bool = False) -> Path:
        """Keep a picture among the artifacts."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self.call("screenshot", {"path": str(path), "fullPage": whole, "animations": "disabled"})
        return path

    def complaints(self) -> list[str]:
        """Console errors and warnings, exceptions, dialogs since the last time."""
        found: list[str] = self._browser.ask("complaints", page=self._number)
        return found

    def asked(self) -> list[str]:
        """Every address that the page has asked for."""
        found: list[str] = self._browser.ask("asked", page=self._number)
        return found

    def answer(self, address: str, **answer: Any) -> None:
        """Answer requests to addresses that begin so in the server's place: status, contentType, body.

        Without any of them the server answers again.
        """
        self._browser.ask("answer", page=self._number, address=address, answer=answer or None)

    def assert_accessible(self) -> None:
        """axe-core finds nothing serious or critical."""
        found = [
            each
            for each in self._browser.ask("axe", page=self._number)
            if each["impact"] in ("serious", "critical")
        ]
        assert not found, json.dumps(found, indent=1)

    def assert_fits(self) -> None:
        """Nothing makes the page wider than the window."""
        assert self.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0

    def close(self) -> None:
        """Close it."""
        self._browser.ask("close", page=self._number)
