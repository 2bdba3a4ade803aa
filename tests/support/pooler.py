"""PgBouncer before a database, for tests of what it takes away."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.server_urls import REQUIRED

PARAMETERS = "extra_float_digits,jit,lock_timeout,statement_timeout,idle_in_transaction_session_timeout"


@contextmanager
def pgbouncer(folder: Path, url: str, mode: str, *, lenient: bool = True) -> Iterator[str]:
    """The database by way of a PgBouncer of the test's own; answers its address.

    mode: `session` or `transaction`. lenient: it passes over the settings of a session that it does not know.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        if REQUIRED:
            pytest.fail("pgbouncer is not installed, and KILLSYNCD_TEST_REQUIRE_SERVERS=1", pytrace=False)
        pytest.skip("pgbouncer (Debian: pgbouncer) is not installed")
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={parts.hostname or '127.0.0.1'} port={parts.port or 5432} "
        f"user={parts.username or 'postgres'}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\nlogfile = {folder}/pgbouncer.log\n"
        + (f"ignore_startup_parameters = {PARAMETERS}\n" if lenient else "")
    )
    command = [program, str(config)]
    if os.geteuid() == 0:  # it does not run as root
        nobody = pwd.getpwnam("nobody")
        for each in (folder, config):
            os.chown(each, nobody.pw_uid, nobody.pw_gid)
        for parent in folder.parents:
            if "pytest-" in str(parent) and not parent.stat().st_mode & stat.S_IXOTH:
                parent.chmod(parent.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
        command[1:1] = ["-u", "nobody"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "pgbouncer.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield urlunsplit(parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(20)
