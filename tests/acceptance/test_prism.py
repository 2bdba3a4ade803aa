"""A whole sync with a validating proxy between daemon and EVE: nobody breaks ESI's own specification."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import QUICK, DaemonProcess, Stage, free_port, pilots_of, wait_for
from tests.support.mails import assert_whole, wait_home
from tests.support.proxy import Proxy

PRISM = Path(__file__).parents[1] / "node/prism/node_modules/.bin/prism"
REQUIRED = os.environ.get("KILLSYNCD_TEST_REQUIRE_NODE", "") == "1"

pytestmark = pytest.mark.node


def _left_out(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"{reason}, and KILLSYNCD_TEST_REQUIRE_NODE=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def specification(shared: Path, tmp_path: Path) -> Path:
    """ESI's specification; skips, or fails where nothing may be left out, without what it takes."""
    if shutil.which("node") is None:
        _left_out("Node.js is not installed (apt-get install nodejs npm)")
    if not PRISM.exists():
        _left_out("the validating proxy is not installed (npm ci --prefix tests/node/prism)")
    file = shared / "esi/openapi-subset.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    document = json.loads(file.read_text())
    for operations in document["paths"].values():
        for operation in operations.values():
            if any(each.get("name") == "If-None-Match" for each in operation["parameters"]):
                # The document has the question and leaves out its answer, which the proxy would take
                # for an error without a body. Nothing else is changed.
                operation["responses"]["304"] = {"description": "Not modified"}
    made = tmp_path / "openapi.json"
    made.write_text(json.dumps(document))
    return made


@contextmanager
def prism(specification: Path, eve: str, log: Path) -> Iterator[int]:
    """The proxy at work; gives its port. With --errors a violation becomes an error for the client."""
    port = free_port()
    words = [str(PRISM), "proxy", str(specification), eve, "--errors", "--host", "127.0.0.1"]
    with log.open("w") as said:
        process = subprocess.Popen(
            [*words, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            wait_for(lambda: "is listening" in log.read_text() or process.poll(), 60, log.read_text)
            yield port
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.slow
async def test_a_whole_sync_violates_nothing(stage: Stage, specification: Path) -> None:
    """First sync, background syncs with and without news, a full walk of unchanged pages, names."""
    eve = stage.eve(
        pilots=3,
        history=25,
        page_size=10,
        cache=3,
        status_cache=2,
        limit="char-killmail=600",
        bad_id=90_000_001,
    )
    log = stage.folder / "prism.log"
    seen = bytearray()

    def look(data: bytes) -> bytes:
        seen.extend(data)
        return data

    with prism(specification, eve.base_url, log) as port:
        async with Proxy("127.0.0.1", port) as tap:
            tap.to_client = look
            daemon = stage.daemon(
                eve, {**QUICK, "esi": {"base_url": f"http://127.0.0.1:{tap.port}"}}, start=False
            )
            await asyncio.to_thread(_sync, stage, daemon)
            assert await asyncio.to_thread(daemon.stop) == 0
        assert seen.count(b"HTTP/1.1 200") > 75, "everything went through the proxy"
        assert b"HTTP/1.1 304" in seen
        assert b"sl-violations" not in seen.lower()
        provoked = _provoke_a_violation(stage, port, log)
    wrong = [line for line in log.read_text().splitlines() if "error" in line or "warn" in line]
    assert [line for line in wrong if provoked not in line] == []


def _sync(stage: Stage, daemon: DaemonProcess) -> None:
    (eve,) = stage.eves
    pilots = pilots_of(eve)
    daemon.start()
    stage.log_in(daemon, eve)
    wait_home(daemon, eve, pilots)
    for _ in range(2):
        eve.add_mails(2, pilots, shared=True, loss=True)
        wait_home(daemon, eve, pilots)
    daemon.ctl("queue", "--force", "--full")
    wait_for(lambda: daemon.ctl("status")["queue"]["byPriority"].get("5") is None, 30)
    unnamed = "SELECT COUNT(*) FROM names WHERE name IS NULL AND attempts = 0"
    wait_for(lambda: daemon.value(unnamed) == 0, 30, "every id was asked for")
    assert_whole(daemon, eve, pilots)
    status = daemon.ctl("status")
    assert (status["syncing"], status["problems"]) == (True, [])


def _provoke_a_violation(stage: Stage, port: int, log: Path) -> str:
    """What this test looks for is what the proxy says of an answer that breaks the specification.

    Returns what its line in the proxy's log has and no other.
    """
    (eve,) = stage.eves
    mail = eve.mails()[0]
    eve.script("ids_as_strings", "esi.killmail")
    path = f"/killmails/{mail['killmail_id']}/{mail['killmail_hash']}"
    headers = {
        "User-Agent": "killsyncd-tests/1 (tests@killsyncd.invalid)",
        "X-Compatibility-Date": "2026-08-18",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert (answer.status, answer.headers["sl-violations"] is not None) == (500, True)
    wait_for(lambda: f"get {path} ✖  error" in log.read_text(), 10, log.read_text)
    return path
