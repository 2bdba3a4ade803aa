"""`killsyncd demo`, watched for twenty minutes of its time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from killsyncd.cli.demo_world import FASTER
from tests.support.daemon import ROOT, free_port, wait_for

SPEED = 15.0
MINUTES = 20.0
ROUNDS = int(MINUTES * 60.0 / (600.0 / FASTER))
"""Of the producer in twenty minutes of a demo at speed 1, where it comes every 20 s."""

QUESTION = """{ status { lastProducerRun pendingDetails syncing feedCursor
    problems { code reason } waiting { code reason } budgets { group limit remaining windowSeconds } } }"""


@contextmanager
def demo(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The demo, as somebody types it, to its end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KILLSYNCD_")}
    with (folder / "demo.log").open("w") as log:
        words = [
            "demo",
            "--port",
            str(port),
            "--pilots",
            "2",
            "--speed",
            f"{SPEED:g}",
            "--state",
            str(folder / "s"),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "killsyncd", *words], stdout=log, stderr=log, env=environ, cwd=ROOT
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, (folder / "demo.log").read_text()


def ask(port: int) -> dict[str, Any]:
    body = json.dumps({"query": QUESTION}).encode()
    request = Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["data"]["status"]
        return found


@pytest.mark.slow(90)
@pytest.mark.timeout(300)
def test_it_goes_on_for_twenty_minutes(tmp_path: Path) -> None:
    """Not the clock but the rounds are counted: a pilot's 30 tokens were gone after some eighteen of them."""
    port, runs, dry = free_port(), set[str](), set[str]()
    grown: list[int] = []

    def watched() -> bool:
        try:
            status = ask(port)
        except OSError:
            return False
        if status["lastProducerRun"] and status["lastProducerRun"] not in runs:
            runs.add(status["lastProducerRun"])
            grown.append(int(status["feedCursor"].rpartition(":")[2]))
        dry.update(each["reason"] for each in status["waiting"] if each["code"] in ("budget", "blocked"))
        return len(runs) >= ROUNDS

    with demo(tmp_path, port) as process:
        wait_for(
            watched, 240, lambda: f"{ROUNDS} rounds; {len(runs)} so far, {process.poll()}, {sorted(dry)}"
        )
    assert not dry
    late = grown[len(grown) * 3 // 4 :]
    assert late[-1] > late[0], "nothing new in the last five minutes"


def test_a_taken_port_says_what_was_typed(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        def refused(**environ: str) -> str:
            ended = subprocess.run(
                [sys.executable, "-m", "killsyncd", "demo", "--port", port],
                capture_output=True,
                text=True,
                env={**os.environ, **environ},
                cwd=ROOT,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 1
            return ended.stderr

        assert "killsyncd demo --port N" in refused()
        assert 'make demo DEMO_ARGS="--port N"' in refused(KILLSYNCD_DEMO_FROM_MAKE="1")
    assert "KILLSYNCD_DEMO_FROM_MAKE=1" in (ROOT / "Makefile").read_text()
