"""A simulator in a process of its own, for tests and benches."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from killsyncd.core.errors import BadInput, NotFound, Unavailable

from .levers import Levers

_PACKAGES = str(Path(__file__).parents[2])  # where killsyncd lies, installed or not


class RemoteLevers(Levers):
    """The levers of a simulator that runs elsewhere, over HTTP; blocking, one short connection a call."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @property
    def base_url(self) -> str:
        """`http://HOST:PORT`: base of the SSO and of ESI."""
        return f"http://{self.host}:{self.port}"

    def perform(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Raises BadInput or NotFound as the simulator says, Unavailable when it does not answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("POST", f"/_sim/{operation}", json.dumps(dict(arguments)))
            response = connection.getresponse()
            status, body = response.status, json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as problem:
            raise Unavailable(
                f"the simulator does not answer: {problem}", "Is it still running?"
            ) from problem
        finally:
            connection.close()
        if status == 200:
            return body
        raise (NotFound if status == 404 else BadInput)(body["error"])

    def wait_for(self, operation: str, holds: Any, timeout: float = 30.0, **arguments: Any) -> Any:
        """Ask again and again until `holds(answer)`; returns that answer. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self.perform(operation, arguments)
            if holds(answer):
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{operation} of the simulator did not get there in {timeout:g} s: {answer!r:.500}"
                )
            time.sleep(0.05)


class SimulatorProcess(RemoteLevers):
    """`killsyncd simulate` with the given arguments, as a context manager, `with` or `async with`.

    Arguments are those of the command line: `SimulatorProcess("--pilots", "3")`, or by name:
    `SimulatorProcess(pilots=3, no_limits=True, page_size=50)`. It ends when this process ends, however
    that happens.
    """

    def __init__(
        self,
        *arguments: str,
        start_timeout: float = 60.0,
        environ: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """environ: variables on top of this process's own."""
        super().__init__("127.0.0.1", 0)
        self._environ = dict(environ or {})
        self._arguments = [*arguments, *_words(options)]
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self.client_id = ""

    @property
    def pid(self) -> int:
        """Process id, while it runs."""
        if self._process is None:
            raise Unavailable("the simulator is not running", "Enter its context first.")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it listens. Raises Unavailable with what it said when it does not."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in stop()
        inherited = os.environ.get("PYTHONPATH", "")
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter, no shell
            [
                *(sys.executable, "-m", "killsyncd.simulator", "--json", "--until-stdin-closes"),
                *self._arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                **self._environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [_PACKAGES, inherited])),
            },
        )
        process = self._process
        timer = threading.Timer(self._start_timeout, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line.startswith(b"{"):
            process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            self.stop()
            raise Unavailable(f"the simulator did not start: {said[-2000:] or 'it said nothing'}")
        state = json.loads(line)
        self.port = int(state["base_url"].rpartition(":")[2])
        self.client_id = state["client_id"]
        return self

    def stop(self) -> None:
        """End it; SIGKILL after five seconds."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def _words(options: Mapping[str, Any]) -> list[str]:
    """`no_limits=True, page_size=50` as command line words; lists repeat the flag, None and False leave it
    out."""
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)):
            for entry in value:
                words += [flag, str(entry)]
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return words
