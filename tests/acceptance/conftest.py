"""Fixtures of the tests from outside; what they stand on is in tests/support."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.own_servers import PrivatePostgres, PrivateRabbit, missing
from tests.support.server_urls import REQUIRED
from tests.support.stage import Stage


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


@pytest.fixture
def postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL that the test may restart and kill."""
    _need_servers()
    with PrivatePostgres() as server:
        yield server


@pytest.fixture
def rabbit() -> Iterator[PrivateRabbit]:
    """A RabbitMQ that the test may restart and kill."""
    _need_servers()
    with PrivateRabbit() as server:
        yield server


def _need_servers() -> None:
    if lacking := missing():
        if REQUIRED:
            pytest.fail(lacking)
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ESI's specification and real killmails, beside the project or named."""
    named = os.environ.get("KILLSYNCD_TEST_SHARED")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (name it with KILLSYNCD_TEST_SHARED)")
    return folder
