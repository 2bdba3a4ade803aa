"""PostgreSQL and RabbitMQ for tests: where they are, and what is done where they are not.

A test that needs a server is left out with a word why; with KILLSYNCD_TEST_REQUIRE_SERVERS=1
it fails instead, so that CI cannot leave it out unseen.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from urllib.parse import urlsplit, urlunsplit

import aiormq
import asyncpg
import pytest

POSTGRES_URL = os.environ.get("KILLSYNCD_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
AMQP_URL = os.environ.get("KILLSYNCD_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
REQUIRED = os.environ.get("KILLSYNCD_TEST_REQUIRE_SERVERS", "") == "1"

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that nobody else on these servers uses."""
    return f"{prefix}_{os.getpid()}_{next(_numbers)}_{os.urandom(3).hex()}"


def left_out(what: str, url: str, error: BaseException) -> None:
    """Skip the test, or fail it where servers are required."""
    where = urlsplit(url)
    reason = f"{what} does not answer at {where.hostname}:{where.port}: {type(error).__name__}"
    if REQUIRED:
        pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_SERVERS=1", pytrace=False)
    pytest.skip(reason)


async def _administer(statement: str) -> None:
    connection = await asyncpg.connect(POSTGRES_URL, timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def create_database(template: str | None = None) -> str:
    """A new database, empty or as `template` stands; answers its address. Skips without a server."""
    name = unique("killsyncd_test")
    copied = f" TEMPLATE {urlsplit(template).path.strip('/')}" if template else ""
    try:
        await _administer(f"CREATE DATABASE {name}{copied}")
    except (TimeoutError, OSError, asyncpg.CannotConnectNowError) as error:
        left_out("PostgreSQL", POSTGRES_URL, error)
    return urlunsplit(urlsplit(POSTGRES_URL)._replace(path=f"/{name}"))


async def drop_database(url: str) -> None:
    """Drop a database that create_database made, whoever is still connected."""
    await _administer(f"DROP DATABASE IF EXISTS {urlsplit(url).path.strip('/')} WITH (FORCE)")


async def need_amqp() -> str:
    """The broker's address. Skips without one."""
    try:
        connection = await asyncio.wait_for(aiormq.connect(AMQP_URL), 5)
    except (TimeoutError, OSError, aiormq.exceptions.AMQPError) as error:
        left_out("RabbitMQ", AMQP_URL, error)
        raise
    await connection.close()
    return AMQP_URL
