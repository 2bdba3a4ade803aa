"""A PostgreSQL and a RabbitMQ of a test's own, which it may restart and kill as it likes.

The servers that other tests share must not be touched, so these run in folders and on
ports of their own, from Debian's packages. So do those of CI, which leaves the machine's own as it found
them: `python -m tests.support.own_servers` starts both, prints their addresses, a line each, and ends and
removes them when its standard input ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.daemon import free_port, wait_for


def missing() -> str:
    """What is not installed, or empty."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "PostgreSQL's programs are not installed (apt-get install postgresql)"
    if not Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        return "RabbitMQ is not installed (apt-get install rabbitmq-server)"
    return ""


class _Server:
    """A server process in a group of its own."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        # Not below pytest's folder, which the server's own user cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix=f"killsyncd-{name}-"))
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environ(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ(),
                cwd=self.folder,
                start_new_session=True,
            )
        wait_for(self.answers, 60.0, lambda: (self.folder / "server.log").read_text()[-2000:])

    def answers(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the whole group; what does not go by itself is killed."""
        process = self._process
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._process = None
        wait_for(lambda: not self.answers(), 20.0, "the server still answers")

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop it, by this signal, and start it again a moment later."""
        self.stop(number)
        time.sleep(0.2)
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class PrivatePostgres(_Server):
    """`url`: of its database `postgres`; everybody on loopback is let in."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        # initdb refuses to run as root.
        self._as = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        )
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        subprocess.run(
            [
                *self._as,
                *(str(self._programs / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"),
                *("-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )

    def _command(self) -> list[str]:
        data, port = str(self.folder / "data"), str(self.port)
        program = str(self._programs / "postgres")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        # It is processes that are killed here, never the machine: what was written is there.
        settings += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        return [*self._as, program, "-D", data, "-p", port, *settings]

    def answers(self) -> bool:
        """Whether it takes connections and not only says that it is starting."""
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0


class PrivateRabbit(_Server):
    """`url`: of its vhost `/`, for guest, whose password is guest."""

    def __init__(self) -> None:
        super().__init__("rabbit")
        self.url = f"amqp://guest@127.0.0.1:{self.port}/"
        self._distribution, self._names = free_port(), free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        (self.folder / "plugins").write_text("[].\n")

    def _command(self) -> list[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def start(self) -> None:
        """Start it, with a name server of its own: Erlang's would be left behind."""
        self._epmd = self._epmd or subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._names)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        super().start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def _environ(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names),
            "RABBITMQ_NODENAME": f"killsyncd{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }


def main() -> int:
    """See the module."""
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with PrivatePostgres() as postgres, PrivateRabbit() as rabbit:
        print(postgres.url)
        print(rabbit.url.replace("guest@", "guest:guest@"), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
