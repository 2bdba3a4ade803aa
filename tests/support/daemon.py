"""`killsyncd run` as its users run it: a process, a configuration file, signals, sockets."""

from __future__ import annotations

import errno
import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from killsyncd.simulator import CLIENT_ID

ROOT = Path(__file__).parents[2]
PATIENCE = float(
    os.environ.get("KILLSYNCD_TEST_PATIENCE", 3.0 if "PYTEST_XDIST_WORKER" in os.environ else 1.0)
)
"""Beside other tests everything takes longer, and on a busy machine."""


# Below those that the kernel gives to connections (from 32768 on Linux), so that none of them takes a port
# between its choice and its use. Each of pytest's workers has a thousand of its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
_PORTS = itertools.count(os.getpid())


def free_port() -> int:
    """A port that nobody listens on, and that this process has not named lately."""
    while True:
        port = 12_000 + 1000 * _WORKER + next(_PORTS) % 1000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


class DaemonProcess:
    """A daemon of its own in a folder of its own, against an EVE at `eve`.

    settings: sections of the configuration that differ from the test's usual ones. webhooks: `[[webhooks]]`.
    """

    def __init__(
        self,
        folder: Path,
        eve: str,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        webhooks: Sequence[Mapping[str, Any]] = (),
        client_id: str = CLIENT_ID,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.eve = eve
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "killsyncd.toml"
        self.log = folder / "daemon.log"
        self.database = folder / "killsyncd.db"
        self.environ = {
            key: value for key, value in os.environ.items() if not key.startswith(("KILLSYNCD_", "XDG_"))
        } | {"HOME": str(folder), "PYTHONPATH": str(ROOT), **(environ or {})}
        sections: dict[str, dict[str, Any]] = {
            "sso": {
                "base_url": eve,
                "client_id": client_id,
                "callback_url": f"{self.url}/auth/callback",
            },
            "esi": {"base_url": eve, "contact": "tests@killsyncd.invalid"},
            "database": {"url": f"sqlite:///{self.database}"},
            "api": {"listen": f"127.0.0.1:{self.port}"},
            "control": {"socket": str(folder / "killsyncd.sock")},
            "security": {"key_file": str(folder / "killsyncd.key")},
            "static_data": {"url": f"{eve}/static-data/tranquility"},
            "prices": {"history_url": f"{eve}/market-history"},
            "zkillboard": {"api_url": f"{eve}/zkillboard/api", "stream_url": f"{eve}/r2z2"},
            "history": {"everef_url": f"{eve}/everef/killmails", "zkillboard_url": f"{eve}/r2z2/history"},
            "log": {"format": "json"},
        }
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        self.config.write_text(_toml(sections) + _tables("webhooks", webhooks))
        self.process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self, *, wait: bool = True, timeout: float = 30.0) -> Self:
        """Start it; wait: until it is ready. Raises RuntimeError with the end of its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "killsyncd", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=self.folder,
            )
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Until `/readyz` says so."""

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
            try:
                return self.get("/readyz")[0] == 200
            except OSError:
                return False

        wait_for(ready, timeout, lambda: f"the daemon is not ready:\n{self.tail()}")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40.0) -> int:
        """End it by a signal; answers its exit code."""
        process = self.process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"the daemon did not end in {timeout} s:\n{self.tail()}") from None
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None, "the daemon is not running"
        return self.process.pid

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    # From outside

    def command(
        self, *words: str, timeout: float = 60.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`killsyncd WORDS --config ...`, as an operator types it."""
        return subprocess.run(
            [sys.executable, "-m", "killsyncd", *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            env=self.environ,
            cwd=self.folder,
            input=stdin,
            check=False,
        )

    def ctl(self, *words: str, timeout: float = 60.0) -> Any:
        """`killsyncd ctl WORDS --json`, parsed."""
        done = self.command("ctl", *words, "--json", timeout=timeout)
        if done.returncode not in (0, 1) or not done.stdout.strip():
            raise RuntimeError(f"ctl {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """GET over HTTP: status and body."""
        return self.request("GET", path, None, headers)

    def request(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Any request over HTTP: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer; raises on errors."""
        body = json.dumps({"query": query, "variables": variables})
        status, text = self.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(text)
        if status != 200 or answer.get("errors"):
            raise RuntimeError(f"GraphQL answered {status}: {text[:2000]}")
        return answer["data"]

    @contextmanager
    def rows(self) -> Iterator[sqlite3.Connection]:
        """The database, read only, beside the daemon."""
        connection = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()

    def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        with self.rows() as connection:
            row = connection.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def stored(self) -> int:
        """How many killmails are in the database."""
        return int(self.value("SELECT COUNT(*) FROM killmails"))

    def pending(self) -> int:
        """How many are listed and not stored."""
        return int(self.value("SELECT COUNT(*) FROM refs WHERE state = 'pending'"))

    def wait_stored(self, count: int, timeout: float = 60.0) -> None:
        """Until so many are stored."""
        wait_for(
            lambda: self.stored() >= count,
            timeout,
            lambda: f"{self.stored()} of {count} stored, {self.pending()} pending:\n{self.tail()}",
        )

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log, parsed; lines that are no JSON as {"text": ...}."""
        found: list[dict[str, Any]] = []
        for line in self.log.read_text("utf-8", "replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"text": line})
        return found


def wait_for(
    holds: Callable[[], Any], timeout: float, why: Callable[[], str] | str = "", every: float = 0.05
) -> Any:
    """Ask until it holds; answers what it said. Raises TimeoutError with `why`.

    timeout: seconds, for a test that runs alone. every: seconds between two questions, more where they are
    dear: a command that is started over and over takes the machine from what is waited for.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        asked = time.monotonic()
        answer = holds()
        if answer:
            return answer
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(why() if callable(why) else why)
        time.sleep(max(every, min(1.0, 2.0 * (now - asked))))


def _tables(name: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """An array of tables."""
    return "".join(
        f"[[{name}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in each.items())
        for each in tables
    )


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
