"""How the suite runs side by side; what tests stand on is in tests/support."""

from __future__ import annotations

import os
import sys

import hypothesis
import pytest

# Tests start hundreds of interpreters, and without bytecode each of them compiles the whole project first.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# An example that takes long says something of the machine's load alone.
hypothesis.settings.register_profile("killsyncd", deadline=None)
hypothesis.settings.load_profile("killsyncd")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two a core: most tests wait for sockets, processes and databases."""
    return 2 * len(os.sched_getaffinity(0))
