"""What scripts inside the booted machine share. Standard library and the project only; runs as root there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

sys.path.insert(0, "/opt/killsyncd")

EVE = "http://127.0.0.1:7421"
EVE_UNIT = f"""\
[Unit]
Description=A simulated EVE
DefaultDependencies=no

[Service]
ExecStart={sys.executable} -m killsyncd.simulator --port 7421 --pilots 3 --history 20 --auto-approve
Environment=PYTHONPATH={os.environ["PYTHONPATH"]} LD_LIBRARY_PATH={os.environ.get("LD_LIBRARY_PATH", "")}
# {EVE}
"""

SETUP = """\
set -e
install -m 755 dist/killsyncd systemd/killsyncd-maintain /usr/local/bin/
install -D -m 644 systemd/killsyncd.sysusers /etc/sysusers.d/killsyncd.conf
systemd-sysusers
install -m 644 systemd/killsyncd.service /etc/systemd/system/killsyncd.service
install -D -m 644 systemd/killsyncd.toml /etc/killsyncd/killsyncd.toml
systemctl daemon-reload
"""


def sh(command: str, *, stdin: str | None = None, timeout: float = 90.0) -> dict[str, Any]:
    """Run a command; its exit code and what it wrote."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, input=stdin, timeout=timeout, check=False
    )
    return {"command": command, "code": done.returncode, "out": done.stdout, "err": done.stderr}


def typed(command: str, *, timeout: float = 120.0) -> dict[str, Any]:
    """What the owner of the checkout types, logged in anew; asked whether to go on, the answer is yes."""
    done = subprocess.run(
        ["runuser", "--login", "me", "--command", f"set -o pipefail; cd killsyncd && {command}"],
        capture_output=True,
        text=True,
        input="y\n",
        timeout=timeout,
        check=False,
    )
    return {"command": command, "code": done.returncode, "out": done.stdout, "err": done.stderr}


def wait_for(holds: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
    """Ask until it holds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def start_eve() -> None:
    """Start the simulator as a service of its own, and wait until it answers."""
    Path("/etc/systemd/system/eve.service").write_text(EVE_UNIT)
    assert sh("systemctl daemon-reload && systemctl start eve")["code"] == 0
    wait_for(_answers, "the simulator")


def _answers() -> bool:
    try:
        with urlopen(f"{EVE}/_sim/state", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def client() -> str:
    """The client id that the simulator knows."""
    from killsyncd.simulator import CLIENT_ID

    return CLIENT_ID


def graphql(query: str) -> Any:
    """The data of an answer of the service."""
    body = json.dumps({"query": query}).encode()
    request = Request("http://127.0.0.1:7420/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def configure(**more: Mapping[str, object]) -> None:
    """Fill in the service's configuration: what docs/install.md asks for, and whose EVE it is."""
    path = Path("/etc/killsyncd/killsyncd.toml")
    text = path.read_text().replace('client_id = ""', f'client_id = "{client()}"\nbase_url = "{EVE}"')
    text = text.replace('contact = ""', f'contact = "you@example.com"\nbase_url = "{EVE}"')
    for section, values in {"static_data": {"enabled": False}, **more}.items():
        text += f"\n[{section}]\n" + "".join(
            f"{key} = {json.dumps(value)}\n" for key, value in values.items()
        )
    path.write_text(text)


def show(*names: str) -> dict[str, str]:
    """Properties of the service."""
    out = sh(f"systemctl show killsyncd --property={','.join(names)}")["out"]
    return dict(line.split("=", 1) for line in out.splitlines())


def log_in(character_id: int) -> str:
    """Log a simulated pilot in with a browser's steps; the page in the end."""
    from tests.support.login_browser import log_in as browse

    return browse("http://127.0.0.1:7420", EVE, character_id)


def lever(operation: str, **arguments: Any) -> Any:
    """Ask the simulator."""
    from killsyncd.simulator.process import RemoteLevers

    return RemoteLevers("127.0.0.1", 7421).perform(operation, arguments)


def pilots() -> list[int]:
    """The simulated ones."""
    return [each["character_id"] for each in lever("pilots")]


def left() -> list[str]:
    """Everything that bears our name, the checkout and the reader's own files aside."""
    found = sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /opt -o -path /proof"
        " -o -path /home/me/killsyncd \\) -prune -o -iname '*killsyncd*' -print; getent group killsyncd"
    )["out"]
    return sorted(each for each in found.splitlines() if not each.startswith(("/run/", "/tmp/")))


def main(work: Callable[[dict[str, Any]], None]) -> None:
    """Run a script's work on a result that is written down whatever happens."""
    result: dict[str, Any] = {}
    try:
        work(result)
    except BaseException:
        result["failed"] = traceback.format_exc()
    finally:
        result["journal"] = sh("journalctl --no-pager --output=cat --unit=killsyncd")["out"]
        Path("/proof/result.json").write_text(json.dumps(result))
