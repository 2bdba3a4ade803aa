"""How the suite runs side by side; what tests stand on is in tests/support."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from killsyncd.core.logging import forget_allowances
from tests.support.side_by_side import InGroups, longest_first

# Tests start hundreds of interpreters, and without bytecode each of them compiles the whole project first.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# An example that takes long says something of the machine's load alone. In CI the same examples every time.
hypothesis.settings.register_profile("killsyncd", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("killsyncd")


@pytest.fixture(autouse=True)
def _what_a_failure_leaves_open() -> Iterator[None]:
    """A failed test leaves sockets and transports in its traceback, and warnings when they are collected.

    That is an error of this test, too, and not of whichever runs when it happens.
    """
    yield
    if hasattr(sys, "last_value"):  # pytest's, of the test that has just failed
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)
        gc.collect()


@pytest.fixture(autouse=True)
def _lines_of_each_test() -> None:
    """What another test's clients caused is not counted against this one's lines."""
    forget_allowances()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two a core: most tests wait for sockets, processes and databases."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InGroups | None:
    """Groups stay together."""
    return InGroups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A long test that starts last keeps one worker busy and the others idle."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items, int(config.workerinput["workercount"]))
