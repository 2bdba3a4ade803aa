"""GraphQL of the running daemon, driven from outside by other people's programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import QUICK, Stage, pilots_of

NODE = Path(__file__).parents[1] / "node"
REQUIRED = os.environ.get("KILLSYNCD_TEST_REQUIRE_NODE", "") == "1"
NEW = """subscription($after: String) {
  newKillmail(after: $after) { id feedCursor fresh victim { shipType { id } } }
}"""

pytestmark = pytest.mark.node


@pytest.fixture
def node() -> str:
    """Node.js, with the packages of tests/node."""
    found = shutil.which("node")
    if found is None:
        return _left_out("Node.js is not installed (apt-get install nodejs npm)")
    if not (NODE / "node_modules" / "graphql-ws").is_dir():
        return _left_out("its npm packages are not installed (npm ci --prefix tests/node)")
    return found


def _left_out(reason: str) -> str:
    if REQUIRED:
        pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_NODE=1", pytrace=False)
    pytest.skip(reason)


@contextmanager
def script(node: str, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script of tests/node that prints JSON, line by line."""
    command = [node, str(NODE / name), *arguments]
    with subprocess.Popen(command, cwd=NODE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str]) -> Any:
    """The next line."""
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, f"it ended with {process.wait(10)}"
    return json.loads(text)


def test_the_whole_audit_against_the_running_daemon(stage: Stage, node: str) -> None:
    daemon = stage.daemon(stage.eve(pilots=1, history=0))
    with script(node, "audit.mjs", f"{daemon.url}/graphql") as process:
        assert read(process) == {"counts": {"MUST": 13, "SHOULD": 23, "MAY": 25}, "failed": []}


def test_a_subscriber_misses_nothing_while_the_daemon_is_killed(stage: Stage, node: str) -> None:
    """History, news, SIGKILL, what comes meanwhile, news again: each mail once, in the order of storage."""
    eve = stage.eve(pilots=1, history=40, cache=2, limit="char-killmail=600")
    daemon = stage.daemon(eve, QUICK)
    start = daemon.graphql("{ status { feedCursor } }")["status"]["feedCursor"]
    count = 40 + 3 + 4
    url = f"{daemon.url}/graphql".replace("http", "ws", 1)
    (pilot,) = pilots_of(eve)
    with script(node, "subscribe.mjs", url, NEW, json.dumps({"after": start}), str(count)) as process:
        stage.log_in(daemon, eve, pilot)
        seen = [read(process)["data"]["newKillmail"] for _ in range(40)]
        eve.add_mails(3, [pilot])
        seen += [read(process)["data"]["newKillmail"] for _ in range(3)]
        daemon.kill()
        eve.add_mails(4, [pilot])
        daemon.start()
        seen += [read(process)["data"]["newKillmail"] for _ in range(4)]
        assert process.wait(30) == 0
    with daemon.rows() as rows:
        stored = [row[0] for row in rows.execute("SELECT killmail_id FROM killmails ORDER BY feed_position")]
    assert [int(mail["id"]) for mail in seen] == stored
    assert [mail["fresh"] for mail in seen[-7:]] == [True] * 7
