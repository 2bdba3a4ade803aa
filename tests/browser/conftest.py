"""Fixtures of the tests in a real browser; daemon and EVE come from tests/support."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import Chromium, Page, need_browser
from tests.support.stage import Stage


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Chromium, one process for all tests; every page has a profile of its own."""
    executable = need_browser()
    with Chromium(executable, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def open_page(browser: Chromium) -> Iterator[Callable[..., Page]]:
    """Opens pages; in the end none may have complained about anything."""
    pages: list[Page] = []

    def opened(**options: Any) -> Page:
        pages.append(browser.open(**options))
        return pages[-1]

    yield opened
    complaints = [each for page in pages for each in page.complaints()]
    for page in pages:
        page.close()
    assert complaints == [], "the console is not empty"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage of the test's own."""
    with ExitStack() as stack:
        made = Stage(tmp_path, stack)
        try:
            yield made
            made.end()
        finally:
            made.abandon()
